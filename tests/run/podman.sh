# A private podman for the tests, as a second daemon that speaks Docker's API: its own folders, storage and socket, and no
# network. Sourced by tests/run.sh.

PODMAN_PID="" PODMAN_HOME=""

start_podman() {
    local log=$LOGS/podman.log busybox name
    if [ "$(id -u)" != 0 ]; then
        leave_out podman "containers of root's need root"
        return
    fi
    # Its containers are made by runc: crun refuses machines that have both versions of control groups.
    for name in podman conmon runc; do
        command -v "$name" >/dev/null || { leave_out podman "there is no $name; install podman and runc" && return; }
    done
    PODMAN_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-podman.XXXXXX")
    AT_EXIT+=(stop_podman)
    if ! busybox=$(busybox_image 2>>"$log") || ! podman_files; then
        leave_out podman "its image can't be made; see ${log#"$PWD"/}"
        return
    fi
    run_podman >>"$log" 2>&1 </dev/null 9>&- &
    PODMAN_PID=$!
    while ! podman_client version >/dev/null 2>&1; do
        if ! kill -0 "$PODMAN_PID" 2>/dev/null; then
            leave_out podman "its service does not start; see ${log#"$PWD"/}"
            return
        fi
        sleep 0.05
    done
    # What it can't do on a machine it can't do in tests: an old podman on a new kernel, a machine in a container.
    if ! podman_client load -q -i "$busybox" >>"$log" 2>&1 ||
        ! podman_client run --rm --network none "$BUSYBOX_IMAGE" true >>"$log" 2>&1; then
        leave_out podman "it runs no container here; see ${log#"$PWD"/}"
        return
    fi
    export CLAWHAND_TEST_PODMAN=unix://$PODMAN_HOME/podman.sock CLAWHAND_TEST_IMAGE=$BUSYBOX_IMAGE
    say ready podman "$(podman_client version --format '{{.Server.Version}}') as a private service"
}

# podman_files: what it reads instead of the machine's own configuration.
podman_files() {
    # Limits are asked for that this script's user may ask for, or nothing starts where root is not all of root.
    cat >"$PODMAN_HOME/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(podman_processes)"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
END
    cat >"$PODMAN_HOME/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$PODMAN_HOME/data"
runroot = "$PODMAN_HOME/run"
END
    # No image comes from anywhere but this machine.
    mkdir -p "$PODMAN_HOME/tmp" && : >"$PODMAN_HOME/registries.conf"
}

# podman_processes: it gives itself no more than the machine has numbers for.
podman_processes() {
    local most all
    most=$(ulimit -Hu)
    all=$(cat /proc/sys/kernel/pid_max)
    [ "$most" != unlimited ] && [ "$most" -lt "$all" ] || most=$all
    printf '%s:%s\n' "$most" "$most"
}

# run_podman: the service, in mounts of its own, so that none of its mounts is left when it is gone. It dies with this script.
run_podman() {
    export PODMAN_HOME TMPDIR=$PODMAN_HOME/tmp CONTAINERS_CONF=$PODMAN_HOME/containers.conf
    export CONTAINERS_STORAGE_CONF=$PODMAN_HOME/storage.conf CONTAINERS_REGISTRIES_CONF=$PODMAN_HOME/registries.conf
    exec setpriv --pdeathsig TERM unshare --mount --propagation private \
        podman --tmpdir "$PODMAN_HOME/libpod" --network-config-dir "$PODMAN_HOME/net" system service --time 0 "unix://$PODMAN_HOME/podman.sock"
}

podman_client() { podman --url "unix://$PODMAN_HOME/podman.sock" "$@"; }

stop_podman() {
    if [ -n "$PODMAN_PID" ] && kill -0 "$PODMAN_PID" 2>/dev/null; then
        podman_client rm --all --force --time 0 >/dev/null 2>&1
        end_process "$PODMAN_PID"
    fi
    # Where its containers were counted; of another podman's, which has some, nothing goes.
    find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} + 2>/dev/null
    [ -n "$PODMAN_HOME" ] && rm -rf "$PODMAN_HOME"
}
