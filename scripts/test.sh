#!/usr/bin/env bash
# Format, lints, tests, documentation, the README's example, and what the hot
# loops cost in instructions and allocations. Everything in the release profile,
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
run cargo test --release --workspace --locked
run env RUSTDOCFLAGS=-Dwarnings cargo doc --release --no-deps --workspace --locked
run scripts/readme-python.sh
run cargo bench --bench instructions --bench allocations --locked
printf '\ntest: passed\n'
