# Makes the folders of an execution, unless work was done there already. Says `found` or `made`, and after it what the
# host is called: the name that it gives itself, the two ends of the connection, its addresses.
# Set before: cw_root, cw_run, cw_probe (yes for a probe).

cw_called() {
    # shellcheck disable=SC2086
    set -- ${SSH_CONNECTION-}
    echo "$cw_word $(uname -n) ${1-} ${3-} $(hostname -I 2>/dev/null)"
}

cw_prepare() {
    umask 077
    if [ -L "$cw_root" ] || [ ! -d "$cw_root" ]; then
        mkdir -p "$cw_root" || return 1
    fi
    # In a folder that everybody may write to, somebody else may have been first.
    if [ -L "$cw_root" ] || [ ! -O "$cw_root" ]; then
        echo "$cw_root is not this user's own folder" >&2
        return 1
    fi
    for cw_file in "$cw_run"/attempts/*/started; do
        [ ! -s "$cw_file" ] || {
            cw_word=found
            cw_called
            return 0
        }
    done
    mkdir -p "$cw_run/attempts" || return 1
    [ "$cw_probe" != yes ] || printf '' >"$cw_run/probe" || return 1
    for cw_file in work home tmp; do
        [ ! -e "$cw_run/$cw_file" ] || rm -rf "$cw_run/${cw_file:?}" || return 1
        mkdir "$cw_run/$cw_file" || return 1
    done
    cw_word=made
    cw_called
}
