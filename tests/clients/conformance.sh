#!/usr/bin/env bash
# The official conformance suite: every scenario that 2026-07-28 and 2025-11-25 require.
#
#   conformance.sh            starts CLAWHAND_CONFORMANCE_BIN (built with the feature `conformance`), without sessions for
#                             2026-07-28 and with sessions for 2025-11-25, four of whose scenarios need them
#   conformance.sh URL [URL]  uses servers that run already: for 2026-07-28, and for 2025-11-25
#
# The suite can't send a key, so the server must be one on loopback without keys. One line for each set, then
# 'N passed, N failed, N skipped' in required scenarios; ends with 1 when one failed.

set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$(dirname "$HERE")")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-conformance.XXXXXX")
SERVER=""
PASSED=0 FAILED=0

end_server() {
    [ -n "$SERVER" ] && kill "$SERVER" 2>/dev/null && wait "$SERVER" 2>/dev/null
    SERVER=""
}
trap 'end_server; rm -rf "$WORK"' EXIT

free_port() {
    node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

# start CALL: starts the program as program.json says under CALL; sets URL.
start() {
    local port data word settings=() words=()
    port=$(free_port) && data=$(mktemp -d "$WORK/data.XXXXXX") || return 1
    while IFS= read -r word; do
        word=${word//"{port}"/$port}
        word=${word//"{data}"/$data}
        case "$word" in
        env:*) settings+=("${word#env:}") ;;
        *) words+=("$word") ;;
        esac
    done < <(node -e '
        const calls = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
        for (const [name, value] of Object.entries(calls.env)) console.log(`env:${name}=${value}`);
        for (const word of calls[process.argv[2]]) console.log(word);' \
        "${CLAWHAND_PROGRAM:-$HERE/program.json}" "$1")
    (cd "$ROOT" && exec env "${settings[@]}" "$CLAWHAND_CONFORMANCE_BIN" "${words[@]}") >"$data/serve.log" 2>&1 </dev/null &
    SERVER=$!
    URL=http://127.0.0.1:$port/mcp
    for _ in $(seq 600); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 0
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.05
    done
    echo "the server did not start:"
    tail -n 20 "$data/serve.log"
    return 1
}

# requirements SET URL: runs the scenarios of SET, counts those that are required.
requirements() {
    local out=$WORK/$1.txt status passed failed
    conformance server --url "$2" --requirements "$1" -o "$WORK/$1" >"$out" 2>&1
    status=$?
    # Scenarios that are run without being required are listed again after the line 'Not scored'.
    sed -n '/^=== SUMMARY ===/,$p' "$out" >"$out.summary"
    sed -n 's/^  [✓✗] \([^ ]*\) (.*/\1/p' "$out.summary" >"$out.unscored"
    sed -n '/^=== SUMMARY/,/^Total/s/^\([✓✗]\) \([^:]*\): .*/\1 \2/p' "$out.summary" >"$out.scenarios"
    passed=$(grep '^✓' "$out.scenarios" | cut -d' ' -f2 | grep -cvxFf "$out.unscored")
    failed=$(grep '^✗' "$out.scenarios" | cut -d' ' -f2 | grep -vxFf "$out.unscored" | paste -sd' ')
    set -- "$1" "$2" $failed
    if [ "$status" != 0 ] && [ $# = 2 ]; then
        tail -n 20 "$out"
        set -- "$1" "$2" "the-suite-itself"
    fi
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + $# - 2))
    echo "conformance $1: $passed required scenarios passed, $(($# - 2)) failed${3:+: ${*:3}}"
}

if [ $# -gt 0 ]; then
    requirements 2026-07-28 "$1"
    requirements 2025-11-25 "${2:-$1}"
else
    for pair in "2026-07-28 serve" "2025-11-25 serve_sessions"; do
        if start "${pair#* }"; then requirements "${pair% *}" "$URL"; else FAILED=$((FAILED + 1)); fi
        end_server
    done
fi
echo "$PASSED passed, $FAILED failed, 0 skipped"
[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
