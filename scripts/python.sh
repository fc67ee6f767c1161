#!/usr/bin/env bash
# The Python client: builds and installs its wheel, checks types, and runs its
# tests, the examples and docs/python.md against a real server. SENDGATE_BIN
# names the server; without it the release build is used.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [ -z "${SENDGATE_BIN:-}" ]; then
    cargo build --release --locked
    SENDGATE_BIN="$CARGO_TARGET_DIR/release/sendgate"
fi
export SENDGATE_BIN

# Beside the target directory, so that it is filled once a machine.
venv="$(dirname "$CARGO_TARGET_DIR")/python-client"
python="$venv/bin/python"
[ -x "$python" ] || python3 -m venv "$venv"
install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# What building the wheel takes, as pyproject.toml says. It stays in the venv,
# because pip's isolated builds would unpack it again each time.
requires="$("$python" -c '
import re
text = open("clients/python/pyproject.toml", encoding="utf-8").read()
print(*re.findall("\"(.*?)\"", re.search(r"^requires = \[(.*)\]$", text, re.M)[1]), sep="\n")
')"
mapfile -t requires <<<"$requires"
install "${requires[@]}"
install --no-build-isolation './clients/python[test]'

# The installed package is what is checked and tested: it has the messages, and
# a file that the wheel forgets is missed.
"$python" -m mypy --config-file clients/python/pyproject.toml -p sendgate
MYPYPATH=examples:clients/python/tests "$python" -m mypy --config-file clients/python/pyproject.toml \
    examples/*.py clients/python/tests/*.py clients/python/bench.py clients/python/hatch_build.py
"$python" -m pytest --quiet -p no:cacheprovider clients/python
