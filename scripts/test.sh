#!/usr/bin/env bash
# Format, lints, tests, the unsafe code under memcheck, documentation, licences
# and sources of dependencies, the README's example, the Python client, and what
# the hot loops cost in instructions and allocations. All in the release profile,
# so that RocksDB is compiled once.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
scripts/setup.sh

run() {
    printf '\n== %s\n' "$*"
    "$@"
}

run cargo fmt --all --check
run cargo clippy --release --workspace --all-targets --locked -- -D warnings
# Building it too would take as long as all else: before a release, also
# `cargo test --release --features otel --test it otel::`.
run cargo clippy --release --all-targets --features otel --locked -- -D warnings
run cargo test --release --workspace --locked
run env RUSTDOCFLAGS=-Dwarnings cargo doc --release --no-deps --workspace --locked
run scripts/memcheck.sh
if cargo deny --version >/dev/null 2>&1; then
    run cargo deny --workspace --locked check bans licenses sources
else
    echo "test: cargo-deny is not installed: licences, bans and sources are not checked" >&2
fi
run scripts/readme-python.sh
run scripts/python.sh
run cargo bench --bench instructions --bench allocations --locked
printf '\ntest: passed\n'
