# Ends what still runs of an execution and removes its folder. Says `done`.
# Set before: cw_run. With the functions of watch.sh.

cw_end_attempt() {
    cw_attempt=${cw_dir##*/}
    [ -s "$cw_dir/started" ] || return 0
    if cw_is_alive; then
        if ! cw_has_ended; then
            printf 0 >"$cw_dir/cancel"
            [ ! -p "$cw_dir/events" ] || printf 'cancel 0\n' 1<>"$cw_dir/events"
        fi
        # One that has told the end takes a moment to be gone.
        cw_turn=0
        while [ "$cw_turn" -lt 100 ] && cw_is_alive; do
            sleep 0.1 2>/dev/null || sleep 1
            cw_turn=$((cw_turn + 1))
        done
        ! cw_is_alive || kill -s KILL "$cw_pid" 2>/dev/null
    elif cw_has_ended; then
        return 0
    fi
    cw_end_rest
}

cw_clean_up() {
    [ -d "$cw_run" ] || {
        echo "done"
        return 0
    }
    for cw_dir in "$cw_run"/attempts/*; do
        [ ! -d "$cw_dir" ] || cw_end_attempt || {
            echo "processes of an attempt can't be ended" >&2
            return 1
        }
    done
    # A supervisor that has told the end takes a moment to be gone, and could still be writing.
    for cw_turn in 1 2 3 4 5; do
        rm -rf "$cw_run" 2>/dev/null && break
        # The work may have taken its own folders' permissions away.
        chmod -R u+rwx "$cw_run" 2>/dev/null
        sleep 0.1 2>/dev/null || sleep 1
    done
    [ ! -e "$cw_run" ] || rm -rf "$cw_run" || return 1
    echo "done"
}
