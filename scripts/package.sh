#!/usr/bin/env bash
# Makes the Debian package of what is built in the target directory, and builds it
# first if it must. Prints where the package is.
#
#   scripts/package.sh [FOLDER]    the package goes into FOLDER; by default into
#                                  the target directory, under debian/
#
# PACKAGE_NO_BUILD=1 takes the binary as it is.
set -euo pipefail
out="$(realpath -m "${1:-.}")"
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ $# -gt 0 ] || out="$CARGO_TARGET_DIR/debian"

if ! cargo deb --version >/dev/null 2>&1; then
    echo "package: cargo-deb is not installed: cargo install cargo-deb --version '^3' --locked" >&2
    exit 1
fi
if [ -z "${PACKAGE_NO_BUILD:-}" ]; then
    cargo build --release --locked --bin sendgate
fi

release="$CARGO_TARGET_DIR/release"
completions="$release/completions"
mkdir -p "$completions" "$out"
"$release/sendgate" completions bash >"$completions/sendgate.bash"
"$release/sendgate" completions zsh >"$completions/_sendgate"
"$release/sendgate" completions fish >"$completions/sendgate.fish"
cargo deb --no-build --locked --quiet --output "$out"
ls "$out"/sendgate_*.deb
