# Stages: each runs one command with its output in a file, prints one line, and is counted. Sourced by tests/run.sh.

PASSED=0 FAILED=0 SKIPPED=0 STAGE=0
RUNNING=""    # the process group of the stage that runs now
AT_EXIT=()    # functions that end what was started, last first
MARK="$$-$RANDOM$RANDOM"

# say WORD NAME TEXT: one line of the report.
say() { printf '%-9s %-22s %s\n' "$1" "$2" "$3"; }

# leave_out NAME REASON: a part that cannot run here. It is no success: it is counted as skipped, and fails a CI run.
leave_out() {
    say "left out" "$1" "$2"
    if [ "${CI:-}" = true ]; then FAILED=$((FAILED + 1)); else SKIPPED=$((SKIPPED + 1)); fi
}

# run NAME COMMAND...: runs it in a process group of its own. Leaves RC, LOG and TOOK behind.
run() {
    local name=$1 began=$EPOCHREALTIME
    shift
    STAGE=$((STAGE + 1))
    LOG=$(printf '%s/%02d-%s.log' "$LOGS" "$STAGE" "$name")
    [ -t 1 ] && printf '%-9s %s\r' "..." "$name"
    set -m
    # Descriptor 9 keeps the S3 server alive; nothing else may hold it.
    (
        export CLAWHAND_TEST_RUN=$MARK
        "$@"
    ) >"$LOG" 2>&1 </dev/null 9>&- &
    RUNNING=$!
    set +m
    wait "$RUNNING"
    RC=$?
    RUNNING=""
    TOOK=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')
}

# check NAME COMMAND...: something that is right or wrong and has no tests to count.
check() {
    run "$@"
    if [ "$RC" = 0 ]; then
        say ok "$1" "$TOOK"
    else
        FAILED=$((FAILED + 1))
        say FAILED "$1" "$TOOK"
        show_log
    fi
}

# suite NAME COMMAND...: tests. They are counted from the log; a suite that ran none has failed.
suite() {
    local passed failed skipped
    run "$@"
    read -r passed failed skipped < <(count_tests "$LOG")
    if [ "$RC" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    if [ "$failed" != 0 ]; then
        say FAILED "$1" "$TOOK, $passed passed, $failed failed, $skipped skipped"
        show_log
    elif [ "$passed" = 0 ]; then
        FAILED=$((FAILED + 1))
        say FAILED "$1" "$TOOK, ran no test"
        show_log
    else
        say ok "$1" "$TOOK, $passed passed, $skipped skipped"
    fi
}

# count_tests LOG: "passed failed skipped", summed over cargo's result lines and the last plain closing line.
count_tests() {
    awk '
        /^test result: / { p += $4; f += $6; s += $8 }
        /^([A-Za-z_-]+: )?[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ {
            sub(/^[A-Za-z_-]+: /, ""); lp = $1; lf = $3; ls = $5
        }
        END { print p + lp + 0, f + lf + 0, s + ls + 0 }
    ' "$1"
}

# show_log: what a reader of the failure needs: what failed, what it said, and the end.
show_log() {
    {
        grep -E '^test .* FAILED$' "$LOG" | head -n 40
        grep -E -A 6 "^(error|thread '.*' .*panicked at)" "$LOG" | grep -vE '^ +([0-9]+|at) ?' | head -n 160
        echo
        tail -n 40 "$LOG"
    } | sed 's/^/    | /'
    printf '    the whole log: %s\n' "${LOG#"$PWD"/}"
}

# end_process PID [SIGNAL]: ends one child of ours and waits for it.
end_process() {
    kill -"${2:-TERM}" "$1" 2>/dev/null && wait "$1" 2>/dev/null
}

# end_leftovers: every process of a stage carries this run's mark. One that is still there after the stages is a fault
# of the program under test; it is named, ended, and counted.
end_leftovers() {
    local pids="" pid deadline=$((SECONDS + 5))
    while pids=$(marked_processes) && [ -n "$pids" ] && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.2; done
    for pid in $pids; do
        FAILED=$((FAILED + 1))
        say FAILED leftover "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-120)"
        kill -KILL "$pid" 2>/dev/null
    done
}

marked_processes() {
    local entry
    for entry in $(grep -lsaz "^CLAWHAND_TEST_RUN=$MARK\$" /proc/[0-9]*/environ 2>/dev/null); do
        entry=${entry#/proc/}
        printf '%s\n' "${entry%/environ}"
    done
}

# finish: runs at exit, however the run ends.
finish() {
    local i
    trap '' INT TERM
    if [ -n "$RUNNING" ]; then
        kill -TERM -- "-$RUNNING" 2>/dev/null
        wait "$RUNNING" 2>/dev/null
        FAILED=$((FAILED + 1))
        say FAILED interrupted "the stage that was running was ended"
    fi
    end_leftovers
    for ((i = ${#AT_EXIT[@]} - 1; i >= 0; i--)); do "${AT_EXIT[i]}"; done
    printf '%s\n' "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    if [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]; then exit 0; else exit 1; fi
}
