#!/usr/bin/env bash
# Runs the Python example of the README, as it stands there, against a server.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
source scripts/server.sh

cargo build --release --locked --workspace
sendgate="$CARGO_TARGET_DIR/release/sendgate"

venv="$(dirname "$CARGO_TARGET_DIR")/python"
if ! "$venv/bin/python" -c 'import grpc, grpc_tools' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check grpcio grpcio-tools
fi

work="$(mktemp -d)"
trap 'stop_server KILL; rm -rf "$work"' EXIT

"$venv/bin/python" -m grpc_tools.protoc -Iproto --python_out="$work" --grpc_python_out="$work" \
    proto/sendgate/v1/*.proto
awk '/^```python$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md \
    >"$work/filter_list.py"

start_server
"$sendgate" record +905321234567 --granted --brand main --channel sms --purpose marketing \
    --type individual --at 2024-01-01 >/dev/null
printf '%s\n' '0533 765 43 21' '0532 123 45 67' 'no number' >"$work/numbers.txt"

cd "$work"
found="$("$venv/bin/python" filter_list.py "${SENDGATE_ENDPOINT#http://}" numbers.txt)"
expected="0532 123 45 67"
if [ "$found" != "$expected" ]; then
    printf 'the example of the README printed:\n%s\nexpected:\n%s\n' "$found" "$expected" >&2
    exit 1
fi
echo "the example of the README works"
