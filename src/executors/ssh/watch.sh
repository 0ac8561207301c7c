# What an attempt printed from byte cw_from on, and where it stands. Says `state WORD` in the first line; after `exit` the
# note follows in 2048 bytes; after that, the output from the last whole block before cw_from on.
# Set before: cw_dir, cw_attempt, cw_from, cw_block (4096), cw_blocks, cw_ticks (tenths of a second it may wait).

cw_is_alive() {
    cw_pid='' cw_start='' cw_boot=''
    while IFS='=' read -r cw_key cw_value; do
        case $cw_key in
        pid) cw_pid=$cw_value ;;
        start) cw_start=$cw_value ;;
        boot) cw_boot=$cw_value ;;
        esac
    done <"$cw_dir/started"
    read -r cw_now </proc/sys/kernel/random/boot_id
    [ "$cw_now" = "$cw_boot" ] || return 2
    [ -r "/proc/$cw_pid/stat" ] || return 1
    read -r cw_line <"/proc/$cw_pid/stat" || return 1
    cw_line=${cw_line##*) }
    # shellcheck disable=SC2086
    set -- $cw_line
    # A zombie has ended, and only nobody has asked how.
    [ "$1" != Z ] || return 1
    shift 19
    [ "$1" = "$cw_start" ]
}

# In the shell's own words: a look starts as few programs as can be, for there are ten a second.
cw_has_ended() {
    {
        while read -r cw_line; do
            [ "$cw_line" != end=1 ] || return 0
        done <"$cw_dir/exit"
    } 2>/dev/null
    return 1
}

cw_has_grown() {
    [ -s "$cw_dir/out" ] || return 1
    [ "$cw_from" -gt 0 ] || return 0
    [ "$(dd if="$cw_dir/out" bs=1 skip="$cw_from" count=1 2>/dev/null | wc -c)" -gt 0 ]
}

cw_show() {
    printf 'state %s\n' "$1"
    [ "$1" != exit ] || cat "$cw_dir/exit"
    [ ! -s "$cw_dir/out" ] || dd if="$cw_dir/out" bs="$cw_block" skip="$((cw_from / cw_block))" count="$cw_blocks" 2>/dev/null
    exit 0
}

# Ends what a supervisor that was killed left behind, its own helpers among it.
cw_end_rest() {
    for cw_turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        cw_found=
        for cw_file in $(grep -ls -e "CLAWHAND_ATTEMPT=$cw_attempt" -e "CLAWHAND_SUPERVISOR=$cw_attempt" \
            /proc/[0-9]*/environ 2>/dev/null); do
            cw_file=${cw_file#/proc/}
            cw_found="$cw_found ${cw_file%%/*}"
        done
        [ -n "$cw_found" ] || return 0
        # shellcheck disable=SC2086
        kill -s KILL $cw_found 2>/dev/null
        sleep 0.1 2>/dev/null || sleep 1
    done
    return 1
}

cw_look() {
    ! cw_has_ended || cw_show exit
    if [ ! -d "$cw_dir" ]; then cw_show gone; fi
    ! cw_has_grown || cw_show running
    if [ ! -s "$cw_dir/started" ]; then cw_show never; fi
    cw_is_alive
    case $? in
    0) return 0 ;;
    2) cw_show restarted ;;
    esac
    ! cw_has_ended || cw_show exit
    cw_end_rest || cw_show remains
    cw_show lost
}

# Whether whoever asks is still a child of this process.
cw_is_below() {
    read -r cw_line </proc/self/stat
    cw_line=${cw_line##*) }
    cw_line=${cw_line#* }
    [ "${cw_line%% *}" = "$1" ]
}

cw_watch() {
    cw_look
    [ "$cw_ticks" -gt 0 ] || cw_show running
    read -r cw_me cw_rest </proc/self/stat
    trap : USR1
    (
        cw_tick=0
        while [ "$cw_tick" -lt "$cw_ticks" ]; do
            sleep 0.1 2>/dev/null || { sleep 1 && cw_tick=$((cw_tick + 9)); }
            cw_tick=$((cw_tick + 1))
            ! cw_has_grown || break
        done
        # Said until it is heard: it may come before anybody listens. Once nobody can, the number may be a stranger's.
        while cw_is_below "$cw_me" && kill -s USR1 "$cw_me" 2>/dev/null; do sleep 0.1 2>/dev/null || sleep 1; done
    ) >/dev/null 2>&1 &
    cw_poller=$!
    # Nobody writes there: it ends when the supervisor does.
    { read -r cw_nothing <"$cw_dir/alive"; } 2>/dev/null
    kill "$cw_poller" 2>/dev/null
    cw_look
    cw_show running
}
