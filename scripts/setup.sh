#!/usr/bin/env bash
# Installs what building and testing sendgate needs: a C++ compiler and libclang
# for RocksDB, curl, Python for its client and the example in the README, openssl
# for the certificates of tests, valgrind to count instructions and to check
# memory, a Rust toolchain, cargo-deny, and promtool for metrics and alert rules.
# Does nothing where all is there.
#
#   scripts/setup.sh --peers    also what `loadtest compare` holds sendgate against
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

peers=no
case "$*" in
    "") ;;
    --peers) peers=yes ;;
    *)
        echo "setup: usage: scripts/setup.sh [--peers]" >&2
        exit 2
        ;;
esac

say() { echo "setup: $*"; }
have() { command -v "$1" >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# The library itself, not libclang-cpp, which LLVM's tools bring along; and the
# compiler's own headers, which it reads.
have_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang[.-][s0-9]*' >/dev/null &&
        compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

missing_packages() {
    have c++ && have make || echo build-essential
    [ -n "${LIBCLANG_PATH:-}" ] || have_libclang || echo libclang-dev
    have curl || echo curl
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    have python3 || echo python3
    have valgrind || echo valgrind
    have openssl || echo openssl
    have python3 && python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

# Servers that comparisons start by themselves: they need none that runs.
missing_peers() {
    have redis-server || echo redis-server
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
}

install_packages() {
    if ! have apt-get; then
        say "this is no Debian; please install what Debian calls: $*" >&2
        exit 1
    fi
    say "installing by apt: $*"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# Out of Debian's package prometheus, which would also start a server: so the
# package is not installed, and the one program is taken from it.
fetch_promtool() {
    local folder
    folder="$(mktemp -d)"
    (cd "$folder" && apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb .) &&
        install -D "$folder/usr/bin/promtool" "$cache/bin/promtool"
    local fetched=$?
    rm -r "$folder"
    return "$fetched"
}

# Whether there is a toolchain at least as new as Cargo.toml asks for.
rust_is_new_enough() {
    have cargo && have rustc || return 1
    local needed found
    needed="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
    found="$(rustc --version | cut -d ' ' -f 2)"
    [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ]
}

install_rust() {
    if have rustup; then
        say "updating the Rust toolchain by rustup"
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
        rustup default stable
    else
        say "installing a Rust toolchain by rustup"
        curl --proto '=https' --tlsv1.2 --fail --silent --show-error https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --component clippy --component rustfmt
    fi
}

did=nothing
mapfile -t packages < <(
    missing_packages
    if [ "$peers" = yes ]; then missing_peers; fi
)
if [ "${#packages[@]}" -gt 0 ]; then
    install_packages "${packages[@]}"
    did=something
fi
if ! have promtool; then
    if ! have apt-get; then
        say "this is no Debian; please install promtool, which is part of Prometheus" >&2
        exit 1
    fi
    say "taking promtool from Debian's package prometheus"
    as_root apt-get update -q
    fetch_promtool
    did=something
fi
if ! rust_is_new_enough; then
    install_rust
    did=something
fi
if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
    say "adding clippy and rustfmt"
    rustup component add clippy rustfmt
    did=something
fi
# Unoptimised: it runs for seconds and takes two minutes to compile, in a folder
# of its own. Without a network to fetch it from, the tests go on without it.
if ! cargo deny --version >/dev/null 2>&1; then
    say "installing cargo-deny"
    if env -u CARGO_TARGET_DIR cargo install cargo-deny --version '^0.20' --locked --debug --quiet; then
        did=something
    else
        say "cargo-deny could not be installed; licences and sources will not be checked" >&2
    fi
fi
if [ "$did" = nothing ]; then say "all is there"; else say "done"; fi
