# Sourced by the other scripts: one place, one toolchain, one target directory.
#
# The target directory lies outside the clone, so that RocksDB is compiled once
# a machine and not once a clone.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sendgate/target}"
case ":$PATH:" in
    *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
    *) export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" ;;
esac
