#!/usr/bin/env bash
# The main job on a million people: load consents, filter a list, honour a
# withdrawal, survive SIGKILL. Needs nothing but this script.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
scripts/setup.sh
source scripts/server.sh

people=1000000
rows=2000000

work="$(mktemp -d)"
trap 'stop_server KILL; rm -rf "$work"' EXIT

step() { printf '\n== %s\n' "$*"; }
fail() {
    echo "demo: FAILED: $*" >&2
    exit 1
}

step "Build (RocksDB takes some 25 minutes, once a machine)"
cargo build --release --locked --workspace
sendgate="$CARGO_TARGET_DIR/release/sendgate"
export SENDGATE_BRAND=main

# Filters the list into $work/$1-permitted.csv and $work/$1-suppressed.csv.
filter_list() {
    "$sendgate" filter "$work/list.csv" --column phone --channel sms --purpose marketing \
        --permitted "$work/$1-permitted.csv" --suppressed "$work/$1-suppressed.csv"
}

step "Start a server in a temporary folder"
start_server
echo "listening at $SENDGATE_ENDPOINT"

step "Generate consents of $people people (İYS daily form) and a list of $rows rows"
"$sendgate" generate consents --people "$people" --seed 1 --out "$work/consents.csv"
"$sendgate" generate recipients --people "$people" --rows "$rows" --seed 1 --out "$work/list.csv"
head -n 4 "$work/consents.csv" "$work/list.csv"

step "Import the consents"
code=0
"$sendgate" import "$work/consents.csv" --rejects "$work/rejects.csv" || code=$?
# Some generated addresses are garbage on purpose: code 4 says that rows were rejected.
[ "$code" -eq 4 ] || fail "the import ended with code $code, expected 4"
head -n 4 "$work/rejects.csv"

step "Filter the list for SMS marketing"
filter_list first
head -n 4 "$work/first-permitted.csv" "$work/first-suppressed.csv"
[ "$(wc -l <"$work/first-permitted.csv")" -gt 1 ] || fail "nobody is permitted"

contact="$(sed -n 2p "$work/first-permitted.csv" | cut -d , -f 2)"
step "The first permitted contact, $contact, says STOP"
check() { "$sendgate" check "$contact" --channel sms --purpose marketing; }
check || fail "the contact was in the permitted file"
"$sendgate" record "$contact" --withdrawn --channel sms --source demo
code=0
check || code=$?
[ "$code" -eq 5 ] || fail "check ended with code $code, expected 5 (suppressed)"

step "Why? Who said what, and what decided"
code=0
"$sendgate" explain "$contact" --channel sms --purpose marketing || code=$?
[ "$code" -eq 5 ] || fail "explain ended with code $code, expected 5 (suppressed)"

step "How many may be written to, without a list"
"$sendgate" reach --kind phone

step "Bounces from SES and opt-outs from Mailchimp"
printf '%s\n' 'bounced@example.com,BOUNCE' 'angry@example.com, COMPLAINT' >"$work/ses.csv"
printf '%s\n' 'Email Address,First Name,OPTIN_TIME,UNSUB_TIME' \
    'gone@example.com,Ayşe,2024-03-01 10:00:00,2025-05-02 09:30:00' >"$work/mailchimp.csv"
for file in ses mailchimp; do
    "$sendgate" import "$work/$file.csv"
done
for address in bounced@example.com angry@example.com gone@example.com; do
    code=0
    "$sendgate" check "$address" --kind email --channel email --purpose marketing || code=$?
    [ "$code" -eq 5 ] || fail "$address is not suppressed"
done

step "The next filter suppresses them"
filter_list second
grep --fixed-strings "$contact" "$work/second-suppressed.csv" | head -n 1
diff "$work/first-permitted.csv" "$work/second-permitted.csv" >"$work/difference" &&
    fail "the withdrawal changed nothing"
echo "rows that are no longer permitted:"
sed -n 's/^< /  /p' "$work/difference"
! grep --quiet '^>' "$work/difference" || fail "somebody became permitted"

step "Kill the server with SIGKILL and start it again"
stop_server KILL
start_server
echo "ready again"
filter_list third
cmp "$work/second-permitted.csv" "$work/third-permitted.csv" || fail "permitted rows differ"
cmp "$work/second-suppressed.csv" "$work/third-suppressed.csv" || fail "suppressed rows differ"
echo "the same verdicts on all $rows rows"

step "Stop"
stop_server
echo "demo: passed"
