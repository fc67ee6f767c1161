#!/usr/bin/env bash
# Runs the unit tests of the engine and the domain, where the unsafe code is,
# under valgrind's memcheck (docs/unsafe.md): a minute.
#
#   scripts/memcheck.sh [PATH-OF-THE-UNIT-TEST-BINARY]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

binary="${1:-}"
if [ -z "$binary" ]; then
    binary="$(cargo test --release --lib --locked --no-run --package sendgate \
        --message-format=json-render-diagnostics | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["lib"]:
        print(message["executable"])
')"
fi

# Left out: what goes through all of Unicode, all heads of numbers, or millions
# of entries. memcheck is some thirty times slower, and these reach no memory
# that the others do not. And one that replaces a part of a plane as if it were
# damaged: what is damaged cannot be freed, so it is left behind on purpose.
left_out=(
    --skip reading_a_canonical_address_changes_nothing
    --skip the_short_cut_knows_no_other_heads
    --skip entries_take_at_most_32_bytes
    --skip a_part_put_back_is_as_it_was
)
# Property tests without a number of their own: a few cases each.
export PROPTEST_CASES=12
# Turns are given fairly: else a thread that spins may keep another from its own.
exec valgrind --quiet --error-exitcode=9 --fair-sched=yes --child-silent-after-fork=yes --leak-check=full \
    --errors-for-leak-kinds=definite --show-leak-kinds=definite \
    "$binary" --test-threads 1 "${left_out[@]}" engine:: domain::
