# Runs one attempt to its end in plain POSIX sh: dash, busybox ash and bash alike. docs/decisions/posix-supervisor.md has
# the reasons. What the job sets before: the cw_ variables and functions that job.rs writes. Everything else is here.
#
# S, this shell       reads events, one a line, from a FIFO that it holds open itself; decides; writes the notes.
# R, the reader       takes the output from another FIFO, bounds it, says `out DROPPED` at its end.
# M, the starter      starts the work in a session of its own, waits for it, says `exit CODE`.
# a timer             says `timeout`, and ends the work itself should S be gone.
#
# Where not one process more is to be had, the shell that wanted it ends: R and a timer say so, S takes the work along.
#
# M comes about through `setsid setsid`, of which the second one forks and returns at once: a shell makes what it starts
# by `&` ignore INT and QUIT for good, and the work must not inherit that.

cw_say() {
    [ "$cw_output" = stdout ] || printf '%s\n' "$1"
}

# Nothing was started, and nothing will be.
cw_refuse() {
    printf '%s\n' "$1"
    exit 125
}

# Milliseconds since boot, which no clock that is set changes.
cw_clock() {
    read -r cw_now cw_rest </proc/uptime
    cw_part=1${cw_now#*.}
    cw_now=$((${cw_now%.*} * 1000 + (cw_part - 100) * 10))
}

# cw_seconds MILLISECONDS: for sleep, rounded up where it knows whole seconds only.
cw_seconds() {
    cw_time=$(($1 / 1000))
    [ "$(($1 % 1000))" -gt 0 ] || return 0
    if [ -z "$cw_fractions" ]; then
        cw_fractions=no
        sleep 0.001 2>/dev/null && cw_fractions=yes
    fi
    if [ "$cw_fractions" = no ]; then
        cw_time=$((cw_time + 1))
        return 0
    fi
    cw_part=$((1000 + $1 % 1000))
    cw_time=$cw_time.${cw_part#1}
}

cw_nap() {
    cw_seconds "$1"
    sleep "$cw_time"
}

# cw_later MILLISECONDS EVENT: says it then, unless all is over before.
cw_later() {
    cw_seconds "$1"
    (
        exec 6>&-
        cw_sleep='' cw_stop=''
        # Told to stop before it knows its sleep it stops when it does: no sleep stays behind.
        # KILL, of which not even one hears too little that is only being made.
        trap 'cw_stop=1; [ -z "$cw_sleep" ] || { kill -s KILL "$cw_sleep" 2>/dev/null; exit 0; }' TERM
        # Told before the trap was there, some shells never hear of it.
        [ ! -e "$cw_dir/over" ] || exit 0
        cw_event=$2
        trap 'read -r cw_own cw_rest </proc/self/stat; printf "again %s %s\n" "$cw_own" "$cw_event" >&4' EXIT
        sleep "$cw_time" 4>&- &
        cw_sleep=$!
        trap - EXIT
        [ -z "$cw_stop" ] || {
            kill -s KILL "$cw_sleep" 2>/dev/null
            exit 0
        }
        wait "$cw_sleep"
        cw_sleep=''
        if [ "$2" = timeout ]; then cw_say_timeout; else printf '%s\n' "$2" >&4; fi
    ) &
    cw_timers="$cw_timers $!"
}

# The field at which a process started, by which it can't be taken for a later one of the same number.
cw_born() {
    cw_birth=
    [ -r "/proc/$1/stat" ] || return 1
    read -r cw_line <"/proc/$1/stat" || return 1
    cw_line=${cw_line##*) }
    # shellcheck disable=SC2086
    set -- $cw_line
    shift 19
    cw_birth=$1
}

# Whether a process is this shell's own, and alive.
cw_is_child() {
    { read -r cw_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    cw_line=${cw_line##*) }
    case $cw_line in [ZX]*) return 1 ;; esac
    cw_line=${cw_line#* }
    [ "${cw_line%% *}" = "$cw_me" ]
}

# The living processes of the work: those that bear its mark, and those of its session. A session's number is its first
# process's, and nobody else's while anyone is in it; later it may come to be a stranger's.
cw_find() {
    cw_found=
    cw_count=0
    cw_number=${cw_session:--}
    ! cw_born "$cw_number" || [ "$cw_birth" = "$cw_session_birth" ] || cw_number=-
    for cw_file in $(grep -ls -e "CLAWHAND_ATTEMPT=$cw_attempt" -e ") [^ZX] [0-9]* [0-9]* $cw_number " \
        /proc/[0-9]*/environ /proc/[0-9]*/stat 2>/dev/null); do
        cw_file=${cw_file#/proc/}
        cw_file=${cw_file%%/*}
        case " $cw_found " in
        *" $cw_file "*) ;;
        *)
            cw_found="$cw_found $cw_file"
            cw_count=$((cw_count + 1))
            ;;
        esac
    done
    [ "$cw_count" -gt 0 ]
}

# cw_signal NAME: to whom cw_find found.
cw_signal() {
    # shellcheck disable=SC2086
    [ -z "$cw_found" ] || kill -s "$1" $cw_found 2>/dev/null
}

# Stopped first, they can't go on making new ones while the others are being killed.
cw_kill() {
    cw_signal STOP
    [ "$cw_number" = - ] || [ -n "$cw_over" ] || kill -s KILL -- "-$cw_number" 2>/dev/null
    cw_find && cw_signal KILL
}

# ---- R

# cw_copy SIZE COUNT: passes on at most COUNT reads, each as it comes. dd never reads more than it passes on.
cw_copy() {
    if [ "$cw_tells" = yes ]; then
        cw_stats=$(LC_ALL=C dd bs="$1" count="$2" 2>&1 >&3 3>&- 4>&-)
        cw_status=$?
        cw_understand "$cw_stats"
    else
        cw_bytes=$(cw_count_through dd bs="$1" count="$2")
        cw_status=$?
        # How many reads that were is not told; only nothing is the end.
        cw_reads=$2
        [ "$cw_bytes" -gt 0 ] || cw_reads=0
    fi
}

# How many bytes dd passed on, and in how many reads. One that was ended before it could say so says nothing.
cw_understand() {
    cw_reads=0 cw_bytes=
    case $1 in
    *" records out"*) ;;
    *) return ;;
    esac
    cw_reads=${1%" records in"*}
    cw_reads=${cw_reads##*[!0-9+]}
    cw_reads=$((${cw_reads%+*} + ${cw_reads#*+}))
    cw_bytes=${1##*"records out"}
    cw_bytes=${cw_bytes#"${cw_bytes%%[0-9]*}"}
    cw_bytes=${cw_bytes%%[!0-9]*}
}

# Counts what a command writes on its way to descriptor 3, for a dd that tells blocks only.
cw_count_through() {
    exec 4>&-
    wc -c <"$cw_dir/count" 3>&- &
    "$@" 2>/dev/null 3>&- | tee "$cw_dir/count" >&3
    cw_status=$?
    wait
    return "$cw_status"
}

cw_read() {
    exec 3>&1 6>&-
    trap 'printf "out lost\n" >&4' EXIT
    cw_understand "$(LC_ALL=C dd bs=1 count=0 2>&1 </dev/null)"
    cw_tells=yes
    [ -n "$cw_bytes" ] || cw_tells=no
    cw_left=$cw_head
    while [ "$cw_left" -gt 0 ]; do
        cw_size=65536
        [ "$cw_left" -ge 65536 ] || cw_size=$cw_left
        cw_copy "$cw_size" "$((cw_left / cw_size))"
        if [ "$cw_status" = 0 ] && [ "$cw_reads" -lt "$((cw_left / cw_size))" ]; then
            cw_has_read 0
            return
        fi
        cw_left=$((cw_left - ${cw_bytes:-0}))
        # Nothing may follow a gap unnoticed: when the disk is full, what comes later counts as the end.
        [ "$cw_status" = 0 ] || break
    done
    cw_read_end
    cw_has_read "$cw_dropped"
}

cw_has_read() {
    trap - EXIT
    printf 'out %s\n' "$1" >&4
}

# Of what is too much, the end.
cw_read_end() {
    # Whatever becomes of the file, the work must not be held up by a pipe that nobody reads.
    if [ "$cw_tells" = yes ]; then
        cw_stats=$({ LC_ALL=C dd bs=65536 2>&5 5>&- 4>&- 3>&- | cw_keep_end; } 5>&1) || exit 1
        cw_understand "$cw_stats"
    else
        cw_bytes=$({ cw_count_through dd bs=65536 3>&1 >&5 | cw_keep_end; } 5>&1) || exit 1
    fi
    # A block that a full disk did not take was read and is lost; that it was a whole one is the best guess. A dd that
    # was ended had none.
    cw_gap=0
    case $cw_left:$cw_status in
    0:* | *:138 | *:143) ;;
    *) cw_gap=65536 ;;
    esac
    [ -n "$cw_bytes" ] || [ "$cw_tail" = 0 ] || cw_bytes=$(($(wc -c <"$cw_dir/tail")))
    cw_kept=${cw_bytes:=0}
    [ "$cw_kept" -le "$cw_tail" ] || cw_kept=$cw_tail
    cw_dropped=$((cw_bytes - cw_kept + cw_gap))
    if [ "$cw_dropped" -gt 0 ]; then
        printf '\n[... %s bytes of output left out ...]\n' "$cw_dropped" >&3 || {
            cw_dropped=$((cw_dropped + cw_kept))
            return
        }
    fi
    [ "$cw_kept" = 0 ] || cat "$cw_dir/tail" >&3 || cw_dropped=$((cw_dropped + cw_kept))
    [ "$cw_tail" = 0 ] || rm -f "$cw_dir/tail"
}

cw_keep_end() {
    exec 3>&- 4>&- 5>&-
    if [ "$cw_tail" = 0 ]; then
        cat >/dev/null
    else
        tail -c "$cw_tail" >"$cw_dir/tail" || cat >/dev/null
    fi
}

# The processes below R.
cw_below_reader() {
    cw_kin=
    cw_next=$cw_reader
    while [ -n "$cw_next" ]; do
        cw_turn=$cw_next
        cw_next=
        for cw_one in $cw_turn; do
            for cw_file in $(grep -ls -e ") [^ZX] $cw_one " /proc/[0-9]*/stat 2>/dev/null); do
                cw_file=${cw_file#/proc/}
                cw_next="$cw_next ${cw_file%%/*}"
            done
        done
        cw_kin="$cw_kin$cw_next"
    done
}

# Nothing that bears the mark is left, and still somebody holds the pipe. Whoever put off the mark and left the session
# is found by that and ended. If it is out of reach, the reader's dd is told to say how far it came, and ended.
cw_cut() {
    cw_below_reader
    cw_count=0
    cw_ended=
    for cw_holder in /proc/[0-9]*/fd/*; do
        [ "$cw_holder" -ef "$cw_dir/pipe" ] || continue
        cw_holder=${cw_holder#/proc/}
        cw_holder=${cw_holder%%/*}
        # One may hold it more than once.
        case " $cw_me $cw_reader $cw_kin $cw_ended " in
        *" $cw_holder "*) continue ;;
        esac
        # The reader may have come to start another dd since.
        cw_below_reader
        case " $cw_kin " in
        *" $cw_holder "*) continue ;;
        esac
        kill -s KILL "$cw_holder" 2>/dev/null || continue
        cw_ended="$cw_ended $cw_holder"
        cw_count=$((cw_count + 1))
    done
    cw_leftovers=$((cw_leftovers + cw_count))
    [ "$cw_count" = 0 ] || return 0
    cw_one=
    for cw_file in $cw_kin; do
        [ ! "/proc/$cw_file/fd/0" -ef "$cw_dir/pipe" ] || cw_one=$cw_file
    done
    [ -n "$cw_one" ] || return 0
    # One that doesn't sleep has something to read, or its end: it waits for its turn on a busy machine.
    { read -r cw_line <"/proc/$cw_one/stat"; } 2>/dev/null || return 0
    cw_line=${cw_line##*) }
    [ "${cw_line%% *}" = S ] || return 0
    kill -s USR1 "$cw_one" 2>/dev/null
    cw_nap 100
    kill -s TERM "$cw_one" 2>/dev/null
}

# ---- M

# Why the program can't be executed, found out beforehand: afterwards it could not be told from what the program says.
cw_check() {
    cw_code=126
    cw_place=$cw_work${cw_cwd:+/$cw_cwd}
    [ -d "$cw_place" ] && [ -x "$cw_place" ] || {
        cw_error="failed to enter the folder $cw_shown_cwd of the workspace"
        return 1
    }
    cw_program=
    case $1 in
    /*) cw_try "$1" ;;
    */*) cw_try "$cw_work/$1" ;;
    *)
        cw_ifs=$IFS
        IFS=:
        set -f
        for cw_entry in $cw_path; do
            case $cw_entry in
            /*) cw_try "$cw_entry/$1" && break ;;
            esac
        done
        set +f
        IFS=$cw_ifs
        ;;
    esac
    if [ -z "$cw_program" ]; then
        [ -n "$cw_error" ] && return 1
        cw_code=127
        cw_error="$cw_shown_program: not found"
        return 1
    fi
    cw_error=
    cw_check_first_line
}

# A program that is there and may not be executed is told only if there is no other.
cw_try() {
    [ -e "$1" ] || return 1
    if [ -f "$1" ] && [ -x "$1" ]; then
        cw_program=$1
        return 0
    fi
    cw_error="$cw_shown_program: Permission denied"
    return 1
}

cw_check_first_line() {
    [ -r "$cw_program" ] || return 0
    IFS= read -r cw_line <"$cw_program" || :
    case $cw_line in
    '#!'*) ;;
    *) return 0 ;;
    esac
    cw_line=${cw_line#??}
    cw_line=${cw_line#"${cw_line%%[!	 ]*}"}
    cw_line=${cw_line%%[	 ]*}
    case $cw_line in
    /*) ;;
    *) return 0 ;;
    esac
    [ ! -x "$cw_line" ] || return 0
    [ -e "$cw_line" ] || cw_code=127
    cw_error="$cw_shown_program: its interpreter can't be executed"
    return 1
}

# Nothing is inherited.
cw_forget() {
    cw_ifs=$IFS
    IFS='
'
    set -f
    for cw_line in $(export -p); do
        cw_line=${cw_line#export }
        cw_line=${cw_line#declare -x }
        cw_line=${cw_line%%=*}
        case $cw_line in
        '' | [0-9]* | *[!A-Za-z0-9_]* | BASHOPTS | SHELLOPTS | UID | EUID | PPID | IFS) ;;
        *) unset "$cw_line" ;;
        esac
    done
    set +f
    IFS=$cw_ifs
}

# What M does. In its own words, because it is a shell of its own: its arguments are setsid, the attempt, the limits of
# file size, memory and processes, and then the program.
cw_starter='
trap "printf \"exit %s\\n\" \"\$?\" >&4" EXIT
# What this shell itself has to say of its child ("Killed") is no output of the work.
exec 3>&2 2>/dev/null
(
    trap - EXIT
    cw_setsid=$1 CLAWHAND_ATTEMPT=$2
    export CLAWHAND_ATTEMPT
    ulimit -c 0 2>/dev/null
    [ -z "$3" ] || ulimit -f "$3" 2>/dev/null
    [ -z "$5" ] || ulimit -u "$5" 2>/dev/null || ulimit -p "$5" 2>/dev/null
    [ -z "$4" ] || ulimit -v "$4" 2>/dev/null
    shift 5
    umask 022
    read -r cw_pid cw_rest </proc/self/stat
    printf "pid %s\n" "$cw_pid" >&4
    exec 2>&3 3>&- 4>&-
    exec "$cw_setsid" "$@"
)
exit "$?"
'

# With the program and its arguments, the variables that no shell can set in front.
cw_enter() {
    cw_forget
    cd "$cw_place" || exit 1
    cw_environment
    ! command -v cw_secrets >/dev/null || cw_secrets
    exec "$cw_setsid" "$cw_setsid" "$cw_sh" -c "$cw_starter" sh "$cw_setsid" "$cw_attempt" \
        "$cw_fsize" "$cw_as" "$cw_nproc" "$@"
}

# ---- S

# The attempt is whose folder it is, and only one can make it. Two that start the same one at once both hear of it when
# the first has said who it is.
cw_take() {
    umask 077
    if mkdir "$cw_dir" 2>/dev/null; then
        return
    fi
    [ -d "$cw_dir" ] || {
        cw_why=$(mkdir "$cw_dir" 2>&1) && return
        case $cw_why in
        *"o space"* | *"uota"*) cw_refuse "full: $cw_why" ;;
        esac
        cw_refuse "refused: $cw_why"
    }
    for cw_turn in 1 2 3 4 5 6 7 8 9 10; do
        if [ -s "$cw_dir/started" ]; then
            cw_say already
            exit 0
        fi
        cw_nap 200
    done
    # Whoever made the folder died before it said anything, or still might: without the folder it can't.
    mv "$cw_dir" "$cw_dir.abandoned.$cw_me" 2>/dev/null || cw_refuse "refused: the attempt is being started elsewhere"
    if [ -s "$cw_dir.abandoned.$cw_me/started" ]; then
        mv "$cw_dir.abandoned.$cw_me" "$cw_dir"
        cw_say already
        exit 0
    fi
    mkdir "$cw_dir" 2>/dev/null || cw_refuse "refused: the attempt is being started elsewhere"
}

# The room for the exit note is taken now: a disk that the work fills must not keep its end from being told. A note
# counts when its last line is there.
cw_begin() {
    cw_take
    cw_setsid=$(command -v setsid) || cw_refuse "refused: there is no setsid"
    cw_env=$(command -v env) || cw_refuse "refused: there is no env"
    cw_sh=$(command -v sh) || cw_refuse "refused: there is no sh"
    for cw_tool in cat dd grep mkfifo mv rm sleep tail tee wc; do
        command -v "$cw_tool" >/dev/null || cw_refuse "refused: there is no $cw_tool"
    done
    # Not `:`, of which a failed redirection ends the shell.
    printf '%2048s' '' >"$cw_dir/exit" && printf '' >"$cw_dir/log" && printf '' >"$cw_dir/out" ||
        cw_refuse "full: no room for the notes"
    mkfifo "$cw_dir/events" "$cw_dir/pipe" "$cw_dir/alive" "$cw_dir/count" || cw_refuse "full: no room for the pipes"
    exec 4<>"$cw_dir/events" 6<>"$cw_dir/alive"
    cw_born "$cw_me"
    cw_my_birth=$cw_birth
    read -r cw_boot </proc/sys/kernel/random/boot_id
    printf 'pid=%s\nstart=%s\nboot=%s\nend=1\n' "$cw_me" "$cw_my_birth" "$cw_boot" >"$cw_dir/started" ||
        cw_refuse "full: no room for the notes"
    # So that not even a crash of the system lets it be started a second time. Where work goes with the system's end, or
    # with this dd, it can't be had.
    [ "$cw_output" = stdout ] || dd of="$cw_dir/started" conv=notrunc,fsync count=0 </dev/null 2>/dev/null || :
    cw_clock
    cw_began=$cw_now
}

# Should this shell be gone by then, the timer ends the work itself.
cw_say_timeout() {
    if cw_born "$cw_me" && [ "$cw_birth" = "$cw_my_birth" ]; then
        printf 'timeout\n' >&4
        return
    fi
    [ ! -s "$cw_dir/child" ] || read -r cw_session cw_session_birth <"$cw_dir/child"
    cw_find && cw_signal TERM && cw_nap "$cw_grace"
    while cw_find; do
        cw_kill
        cw_nap 100
    done
}

# cw_ask_end MILLISECONDS: TERM to all of it, KILL to whoever is there after that time.
cw_ask_end() {
    cw_clock
    cw_find
    cw_signal TERM
    cw_until=$((cw_now + $1))
    cw_phase=ending
    cw_later "$1" tick
}

cw_heard() {
    case $1 in
    pid)
        cw_born "$2"
        cw_session=$2 cw_session_birth=$cw_birth
        printf '%s %s\n' "$2" "$cw_birth" >"$cw_dir/child"
        # What was to end before it was known.
        [ "$cw_phase" != ending ] || { cw_find && cw_signal TERM; }
        ;;
    exit)
        cw_over=1
        cw_code=$2
        # M had no process for it.
        [ -n "$cw_session" ] || cw_code=126 cw_error="$cw_shown_program: it could not be started"
        ;;
    out)
        cw_drained=1
        cw_dropped=$2
        # M holds the pipe until it has told the end: else it is lost, and with it how the work ended. With R it is the
        # output that is lost.
        case $cw_over:$2 in
        :* | *:lost)
            cw_lost=1 cw_over=1
            cw_ask_end 0
            ;;
        esac
        ;;
    timeout)
        [ -n "$cw_over$cw_cancelled" ] || {
            cw_timed_out=1
            cw_ask_end "$cw_grace"
        }
        ;;
    cancel)
        [ -n "$cw_over" ] || {
            [ -n "$cw_timed_out" ] || cw_cancelled=1
            cw_clock
            cw_soon=${2:-$cw_grace}
            if [ "$cw_phase" = run ]; then
                cw_ask_end "$cw_soon"
            elif [ "$cw_phase" = ending ] && [ "$((cw_now + cw_soon))" -lt "$cw_until" ]; then
                cw_until=$((cw_now + cw_soon))
                cw_later "$cw_soon" tick
            fi
        }
        ;;
    esac
}

# cw_try_again TIMER EVENT: when a timer could not sleep.
cw_try_again() {
    # Until then it is counted.
    wait "$1"
    cw_clock
    cw_due=${cw_until:-0}
    [ "$2" != timeout ] || cw_due=$((cw_began + cw_timeout))
    if [ "$cw_now" -lt "$cw_due" ]; then cw_later "$((cw_due - cw_now))" "$2"; else printf '%s\n' "$2" >&4; fi
}

# Where it stands after an event. False when all is over.
cw_go_on() {
    cw_clock
    case $cw_phase in
    run)
        [ -n "$cw_over" ] || return 0
        if cw_find; then
            # Those who are left get a moment to end by themselves.
            cw_phase=linger
            cw_until=$((cw_now + 200))
            cw_later 50 tick
            return 0
        fi
        ;;
    linger)
        if cw_find; then
            if [ "$cw_now" -lt "$cw_until" ]; then
                cw_later 50 tick
            else
                cw_leftovers=$cw_count
                cw_moment=1000
                [ "$cw_grace" -ge 1000 ] || cw_moment=$cw_grace
                cw_ask_end "$cw_moment"
            fi
            return 0
        fi
        ;;
    ending)
        if [ "$cw_now" -ge "$cw_until" ]; then
            cw_phase=killing
            cw_find
            cw_kill
            cw_later 30 tick
            return 0
        fi
        [ -n "$cw_over" ] || return 0
        if cw_find; then
            cw_later 100 tick
            return 0
        fi
        ;;
    killing)
        if cw_find || { [ -z "$cw_over" ] && [ -z "$cw_drained" ]; }; then
            cw_kill
            cw_rounds=$((cw_rounds + 1))
            if [ "$cw_rounds" -lt 50 ]; then cw_later 30 tick; else cw_later 1000 tick; fi
            return 0
        fi
        ;;
    drain)
        [ -z "$cw_drained" ] || return 1
        if [ -z "$cw_until" ]; then
            cw_until=$((cw_now + 1000))
            cw_later 1010 tick
            return 0
        fi
        [ "$cw_now" -ge "$cw_until" ] || return 0
        # Somebody ended R. Whatever it may have said before is heard first.
        cw_is_child "$cw_reader" || printf 'out lost\n' >&4
        cw_cut
        cw_until=$((cw_now + 1000))
        cw_later 1010 tick
        return 0
        ;;
    esac
    [ -z "$cw_drained" ] || return 1
    # What R has to say is mostly said already and only not heard yet: then no timer is needed.
    cw_phase=drain
    cw_until=
    printf 'tick\n' >&4
    return 0
}

cw_run() {
    # A name with a slash in it is relative to the workspace, wherever the step stands.
    case $1 in
    /*) ;;
    */*)
        [ -z "$cw_cwd" ] || {
            cw_first=$cw_work/$1
            shift
            set -- "$cw_first" "$@"
        }
        ;;
    esac
    cw_phase=run
    cw_rounds=0
    trap cw_last EXIT
    if [ "$cw_output" = stdout ]; then
        (cw_read) <"$cw_dir/pipe" &
    else
        (cw_read) <"$cw_dir/pipe" >>"$cw_dir/out" &
    fi
    cw_reader=$!
    (
        exec 6>&-
        cw_odd "$@"
    ) >"$cw_dir/pipe" 2>&1 || {
        cw_error="$cw_shown_program: it could not be started"
        printf 'exit 126\n' >&4
    }
    cw_later "$cw_timeout" timeout
    while cw_word= cw_first=; do
        read -r cw_word cw_first cw_rest <&4 || :
        case $cw_word in
        '') continue ;;
        again)
            cw_try_again "$cw_first" "$cw_rest"
            continue
            ;;
        esac
        cw_heard "$cw_word" "$cw_first"
        cw_go_on || break
    done
}

# When this shell ends before all is over. What it kills first makes room for what it needs to find the others.
cw_last() {
    cw_born "$cw_session" && [ "$cw_birth" = "$cw_session_birth" ] && kill -s KILL -- "-$cw_session" 2>/dev/null
    while cw_find; do
        cw_kill
        # A process that waits for a disk takes its time.
        cw_nap 30
    done
}

cw_end() {
    trap - EXIT
    [ -z "$cw_lost" ] || exit 1
    cw_clock
    printf '%s=%s\n' code "$cw_code" timed_out "${cw_timed_out:-0}" cancelled "${cw_cancelled:-0}" \
        leftovers "$cw_leftovers" dropped "$cw_dropped" duration_ms "$((cw_now - cw_began))" \
        exec_error "$cw_error" end 1 1<>"$cw_dir/exit"
    # Whoever waits for the end wakes up by this.
    exec 6>&-
    printf '' >"$cw_dir/over"
    for cw_one in $cw_timers; do
        # One that is over may have left its number to a stranger.
        ! cw_is_child "$cw_one" || kill -s TERM "$cw_one" 2>/dev/null
    done
    wait
}

cw_supervise() {
    [ -z "${BASH_VERSION-}" ] || set -o posix
    unset CLAWHAND_SECRETS
    cw_fractions='' cw_timers='' cw_place='' cw_lost='' cw_session_birth=''
    cw_over='' cw_code='' cw_error='' cw_until='' cw_session='' cw_timed_out='' cw_cancelled='' cw_drained='' cw_term=''
    cw_leftovers=0 cw_dropped=0
    read -r cw_me cw_rest </proc/self/stat || cw_refuse "refused: there is no /proc"
    # Handlers and not '': what a shell ignores, its children ignore.
    trap 'cw_term=1; { printf "cancel\n" >&4; } 2>/dev/null' TERM INT
    trap : HUP PIPE USR1
    cd /
    cw_begin
    if [ "$cw_output" = stdout ]; then
        exec </dev/null 2>>"$cw_dir/log"
    else
        cw_say started
        exec </dev/null >/dev/null 2>>"$cw_dir/log"
    fi
    # Whoever cancels writes the note first and the event second; here it is the other way round, so one of them is seen.
    if [ -e "$cw_dir/cancel" ] || [ -n "$cw_term" ]; then
        cw_cancelled=1
    elif cw_check "$@"; then
        cw_code=''
        cw_run "$@"
    fi
    cw_end
    exit 0
}
