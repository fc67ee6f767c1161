# Sourced by the other scripts: one place, one toolchain, one target directory.
#
# The target directory lies outside the clone, so that RocksDB is compiled once
# a machine and not once a clone.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/sendgate"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
# Tools that setup.sh keeps here alone; those of the system come first.
export PATH="$PATH:$cache/bin"
case ":$PATH:" in
    *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
    *) export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" ;;
esac
