# A private Docker daemon for the tests, beside whatever runs on this machine: its own socket, folders and images, no
# bridge and no firewall rules. Sourced by tests/run.sh.

DOCKER_PID="" DOCKER_HOME=""

start_docker() {
    local log=$LOGS/docker.log busybox python
    if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
        leave_out docker "needs root and dockerd; install docker.io"
        return
    fi
    DOCKER_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-docker.XXXXXX")
    AT_EXIT+=(stop_docker)
    if ! busybox=$(busybox_image 2>>"$log") || ! python=$(python_image 2>>"$log"); then
        leave_out docker "the test images can't be made (busybox-static, debootstrap); see ${log#"$PWD"/}"
        return
    fi
    run_docker >>"$log" 2>&1 </dev/null 9>&- &
    DOCKER_PID=$!
    while ! docker_client version >/dev/null 2>&1; do
        if ! kill -0 "$DOCKER_PID" 2>/dev/null; then
            leave_out docker "the daemon does not start; see ${log#"$PWD"/}"
            return
        fi
        sleep 0.05
    done
    if ! docker_client load -q -i "$busybox" >>"$log" 2>&1 || ! docker_client load -q -i "$python" >>"$log" 2>&1; then
        leave_out docker "the test images can't be loaded; see ${log#"$PWD"/}"
        return
    fi
    touch "$DOCKER_HOME/up"
    # The pid file lets a test stop the daemon for a while, or end it. It is this daemon's and nobody else's.
    export CLAWHAND_TEST_DOCKER=unix://$DOCKER_HOME/docker.sock CLAWHAND_TEST_DOCKER_PID=$DOCKER_HOME/pid
    export CLAWHAND_TEST_IMAGE=$BUSYBOX_IMAGE CLAWHAND_TEST_PYTHON_IMAGE=$PYTHON_IMAGE
    say ready docker "$(docker_client version --format '{{.Server.Version}}') as a private daemon"
}

# run_docker: the daemon, in mounts of its own, so that none of its mounts is left when it is gone, and so that it does not
# find a containerd of this machine. It dies with this script. Ended by anybody else it is started again, but not while
# there is a file `away` beside its pid file.
run_docker() {
    export DOCKER_HOME
    echo "{}" >"$DOCKER_HOME/daemon.json"
    exec setpriv --pdeathsig TERM unshare --mount --propagation private sh -c '
        mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd || exit 1
        trap "over=1; kill \$daemon" TERM
        while [ -z "$over" ]; do
            setpriv --pdeathsig TERM \
                dockerd --data-root "$DOCKER_HOME/data" --exec-root "$DOCKER_HOME/exec" --pidfile "$DOCKER_HOME/pid" \
                --host "unix://$DOCKER_HOME/docker.sock" --group root --bridge none --iptables=false --ip6tables=false \
                --ip-forward=false --ip-masq=false --live-restore --config-file "$DOCKER_HOME/daemon.json" &
            daemon=$!
            until wait "$daemon" || ! kill -0 "$daemon" 2>/dev/null; do :; done
            # One that never came up stays down.
            [ -e "$DOCKER_HOME/up" ] || exit 1
            while [ -e "$DOCKER_HOME/away" ] && [ -z "$over" ]; do sleep 0.1; done
        done'
}

docker_client() { docker --host "unix://$DOCKER_HOME/docker.sock" "$@"; }

stop_docker() {
    local container
    if [ -n "$DOCKER_PID" ] && kill -0 "$DOCKER_PID" 2>/dev/null; then
        # With live-restore the daemon leaves containers running when it ends.
        for container in $(docker_client ps -q 2>/dev/null); do docker_client kill "$container" >/dev/null 2>&1; done
        end_process "$DOCKER_PID"
        # A daemon that was killed while it made a container forgets what it had begun with.
        for container in $(pgrep -f -- "^[^ ]*containerd-shim[^ ]* .* -address $DOCKER_HOME/"); do kill "$container"; done
    fi
    [ -n "$DOCKER_HOME" ] && rm -rf "$DOCKER_HOME"
}
