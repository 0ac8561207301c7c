# A Kubernetes cluster for the tests: one node, made of Go modules and Debian's packages, private to this run. Sourced by
# tests/run.sh. tests/cluster/README.md tells what is in it.
#
# CLAWHAND_TEST_KUBECONFIG   a kubeconfig that rules a cluster of yours, on whose nodes the images of images.sh are

KUBERNETES_PID="" KUBERNETES_HOME="" KUBERNETES_PORT="" KUBERNETES_BUILD=""

kubernetes_missing() {
    local name
    for name in go containerd runc ip openssl unshare setpriv; do command -v "$name" >/dev/null || echo "$name"; done
    [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
}

# kubernetes_program: where the program of the cluster is once it is built.
kubernetes_program() {
    printf '%s/kubernetes-%s\n' "$CACHE" "$(cat tests/cluster/{main.go,go.mod,go.sum} | sha256sum | cut -c1-16)"
}

# prepare_kubernetes: builds the program while cargo compiles; the first time on a machine that takes minutes.
prepare_kubernetes() {
    [ -z "${CLAWHAND_TEST_KUBECONFIG:-}" ] && [ -z "$(kubernetes_missing)" ] || return
    [ -x "$(kubernetes_program)" ] && return
    build_kubernetes >"$LOGS/kubernetes-build.log" 2>&1 </dev/null 9>&- &
    KUBERNETES_BUILD=$!
}

build_kubernetes() {
    local program release version=k8s.io/component-base/version
    program=$(kubernetes_program)
    cd tests/cluster || return
    release=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) || return
    CGO_ENABLED=0 nice go build -trimpath -o "$program.new" -ldflags "-s -w -X $version.gitVersion=$release \
        -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$release")" . || return
    rm -f "${program%-*}"-????????????????
    mv "$program.new" "$program"
}

start_kubernetes() {
    local log=$LOGS/kubernetes.log missing program
    if [ -n "${CLAWHAND_TEST_KUBECONFIG:-}" ]; then
        say ready kubernetes "the cluster of CLAWHAND_TEST_KUBECONFIG"
        return
    fi
    missing=$(kubernetes_missing | tr '\n' ' ')
    if [ "$(id -u)" != 0 ] || [ -n "$missing" ]; then
        leave_out kubernetes "needs root and ${missing:-nothing else}"
        return
    fi
    program=$(kubernetes_program)
    [ -z "$KUBERNETES_BUILD" ] || wait "$KUBERNETES_BUILD"
    KUBERNETES_BUILD=""
    if [ ! -x "$program" ]; then
        leave_out kubernetes "its program is not built; see target/test-logs/kubernetes-build.log"
        return
    fi
    KUBERNETES_HOME=$(mktemp -d "${TMPDIR:-/tmp}/clawhand-kube.XXXXXX")
    AT_EXIT+=(stop_kubernetes)
    if ! run_kubernetes "$program" >"$log" 2>&1; then
        leave_out kubernetes "the cluster does not start; see ${log#"$PWD"/} and $KUBERNETES_HOME/log"
        return
    fi
    export CLAWHAND_TEST_KUBECONFIG=$KUBERNETES_HOME/admin.conf
    # Through this a test ends a part of the cluster and starts it again.
    export CLAWHAND_TEST_CLUSTER=$KUBERNETES_HOME
    export CLAWHAND_TEST_IMAGE=$BUSYBOX_IMAGE CLAWHAND_TEST_PYTHON_IMAGE=$PYTHON_IMAGE
    say ready kubernetes "$("$program" kubectl version --client 2>/dev/null | awk '/Client/ { print $3 }'), one node"
}

# run_kubernetes PROGRAM: starts the node and waits until it is ready.
run_kubernetes() {
    local busybox python pause
    busybox=$(busybox_image) && python=$(python_image) && pause=$(pause_image "$busybox") || return
    KUBERNETES_PORT=$((20000 + RANDOM % 12000))
    # Everything of the cluster is in a process namespace, which ends with this script.
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        tests/cluster/node.sh "$KUBERNETES_HOME" "$1" "$KUBERNETES_PORT" "$busybox" "$python" "$pause" \
        </dev/null 9>&- &
    KUBERNETES_PID=$!
    until [ -e "$KUBERNETES_HOME/ready" ]; do
        kill -0 "$KUBERNETES_PID" 2>/dev/null || return
        sleep 0.1
    done
}

# pause_image BUSYBOX: the same image with a command that waits, for the container that holds a pod's namespaces.
pause_image() {
    local file=$CACHE/images/pause-$IMAGES_VERSION.tar work
    [ -s "$file" ] && printf '%s\n' "$file" && return
    work=$(mktemp -d "$CACHE/images/making.XXXXXX") || return
    tar -C "$work" -xf "$1" &&
        sed -i 's#"Cmd":\["/bin/sh"\]#"Cmd":["/bin/sleep","2147483647"]#; s#clawhand-test/busybox:1#clawhand-test/pause:1#' \
            "$work"/*.json &&
        tar -C "$work" -cf "$work/image" manifest.json $(cd "$work" && ls -- *.json | grep -v '^manifest') layer.tar &&
        mv "$work/image" "$file" && printf '%s\n' "$file"
    rm -rf "$work"
}

stop_kubernetes() {
    [ -n "$KUBERNETES_BUILD" ] && end_process "$KUBERNETES_BUILD"
    # The first process of a namespace takes all others with it, also those that containerd left to themselves.
    [ -n "$KUBERNETES_PID" ] && end_process "$KUBERNETES_PID" KILL
    if [ -n "$KUBERNETES_PORT" ]; then
        ip link delete "clawhand$KUBERNETES_PORT" 2>/dev/null
        find /sys/fs/cgroup -depth -type d -path "*/clawhand$KUBERNETES_PORT*" -exec rmdir {} + 2>/dev/null
    fi
    [ -n "$KUBERNETES_HOME" ] && rm -rf "$KUBERNETES_HOME"
}
