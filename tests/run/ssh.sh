# What the tests of the ssh executor need beside the sshd's that they start themselves: users with the login shells dash,
# bash and busybox, and a folder in which every tool is busybox's. Sourced by tests/run.sh.

SSH_HOME="" SSH_USERS=()

start_ssh() {
    local name shell
    if [ "$(id -u)" != 0 ]; then
        leave_out ssh "users can only be made by root"
        return
    fi
    for name in sshd ssh ssh-keygen busybox useradd; do
        command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] ||
            { leave_out ssh "there is no $name; install openssh-server, busybox-static and passwd" && return; }
    done
    mkdir -p /run/sshd
    SSH_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-ssh.XXXXXX")
    AT_EXIT+=(stop_ssh)
    chmod 755 "$SSH_HOME"
    mkdir "$SSH_HOME/busybox" "$SSH_HOME/bash"
    "$(command -v busybox)" --install -s "$SSH_HOME/busybox"
    ln -s "$(command -v bash)" "$SSH_HOME/bash/sh"
    for name in dash bash busybox; do
        shell=$(command -v "$name")
        [ "$name" = busybox ] && shell=$SSH_HOME/busybox/sh
        # Not locked, and nothing that a password could be.
        useradd --create-home --base-dir "$SSH_HOME" --shell "$shell" "cwt-$name" >>"$LOGS/ssh.log" 2>&1 &&
            usermod -p '*' "cwt-$name" || { leave_out ssh "useradd failed; see target/test-logs/ssh.log" && return; }
        SSH_USERS+=("cwt-$name")
    done
    export CLAWHAND_TEST_SSH=$SSH_HOME
    say ready ssh "$(ssh -V 2>&1 | cut -d, -f1), users with dash, bash and busybox"
}

stop_ssh() {
    local name
    for name in "${SSH_USERS[@]}"; do
        userdel "$name" >>"$LOGS/ssh.log" 2>&1
    done
    [ -n "$SSH_HOME" ] && rm -rf "$SSH_HOME"
}
