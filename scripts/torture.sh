#!/usr/bin/env bash
# Injects faults into the real server for as long as asked, and prints a table:
# the fault, how many trials, how many failures, and with none in n the bound 3/n
# (at 95 % confidence a single trial fails no more often than that).
#
#   scripts/torture.sh --minutes 30 [--seed 1] [--binary PATH]
#
# Every test takes its turn, and those of the ledger several. Without --seed each
# takes one by chance and prints it. With --binary a compiled tests/faults is
# run instead of building one.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

minutes= seed= binary=
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --minutes) minutes=$2 ;;
        --seed) seed=$2 ;;
        --binary) binary=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[[ $minutes =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]*$ ]] || usage

if [ -z "$binary" ]; then
    scripts/setup.sh
    # The whole workspace, so that RocksDB is not compiled a second time.
    binary="$(cargo test --release --workspace --locked --test faults --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/faults-[^"]*\)".*/\1/p')"
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
report="$work/report"
touch "$report"
mapfile -t tests < <("$binary" --list --format terse | sed -n 's/: test$//p')

# How many shares of the time a test gets.
share() {
    case $1 in
        eio::*) echo 4 ;;
        kill::* | power::* | flip::damage*) echo 3 ;;
        *) echo 1 ;;
    esac
}

end=$((SECONDS + minutes * 60))
round=0
while [ $((end - SECONDS)) -gt $((round * 60)) ]; do
    shares=0
    for test in "${tests[@]}"; do shares=$((shares + $(share "$test"))); done
    for test in "${tests[@]}"; do
        mine="$(share "$test")"
        left=$((end - SECONDS))
        seconds=$((left > 0 ? left * mine / shares : 0))
        shares=$((shares - mine))
        printf '%s: %s s\n' "$test" "$seconds" >&2
        code=0
        rows="$(wc -l <"$report")"
        # A panic's own words are what is shown of a failure.
        env RUST_BACKTRACE=0 SENDGATE_TORTURE_SECONDS="$seconds" SENDGATE_TORTURE_REPORT="$report" \
            ${seed:+SENDGATE_TEST_SEED=$((seed + round))} \
            "$binary" --exact "$test" --nocapture >"$work/log" 2>&1 || code=$?
        if [ "$code" -ne 0 ]; then
            tail -n 40 "$work/log" >&2
            [ "$(wc -l <"$report")" -gt "$rows" ] ||
                printf '?\t%s\t0\t1\t\t\tended with code %s\n' "$test" "$code" >>"$report"
        fi
    done
    round=$((round + 1))
done

awk -F'\t' '
    {
        key = $1 "\t" $2
        if (!(key in trials)) order[++count] = key
        trials[key] += $3
        failures[key] += $4
        if ($5 != "") caught[key] = $5
        seeds[key] = seeds[key] (seeds[key] == "" ? "" : " ") $6
        if ($7 != "") notes[key] = $7
        failed += $4
    }
    END {
        print "| fault | what | trials | failures | bound | control caught | of the last round | seeds |"
        print "|---|---|---|---|---|---|---|---|"
        for (i = 1; i <= count; i++) {
            key = order[i]
            split(key, name, "\t")
            bound = failures[key] || !trials[key] ? "" : sprintf("%.2g", 3 / trials[key])
            printf "| %s | %s | %d | %d | %s | %s | %s | %s |\n", name[1], name[2], trials[key], \
                failures[key], bound, caught[key], notes[key], seeds[key]
        }
        exit failed > 0
    }
' < <(sort -s -t "$(printf '\t')" -k1,1V "$report")
