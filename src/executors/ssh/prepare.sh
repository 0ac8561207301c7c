# Makes the folders of an execution, unless work was done there already. Says `found` or `made`.
# Set before: cw_root, cw_run, cw_probe (yes for a probe).

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
            echo found
            return 0
        }
    done
    mkdir -p "$cw_run/attempts" || return 1
    [ "$cw_probe" != yes ] || printf '' >"$cw_run/probe" || return 1
    for cw_file in work home tmp; do
        [ ! -e "$cw_run/$cw_file" ] || rm -rf "$cw_run/${cw_file:?}" || return 1
        mkdir "$cw_run/$cw_file" || return 1
    done
    echo made
}
