#!/usr/bin/env bash
# The inside of the test cluster: one node and the parts that rule it. tests/run/kubernetes.sh starts this in mounts and
# processes of its own, so that when it ends, nothing of it goes on and no mount is left.
#
#   node.sh FOLDER PROGRAM PORT    FOLDER: all state; PROGRAM: made of main.go; PORT: the API server's, with three more after it
#
# A line `stop PART`, `kill PART` or `start PART` into FOLDER/control ends a part (asked to, or with no chance to say good-bye)
# or starts it again; FOLDER/run/PART is there while it runs.
set -euo pipefail
folder=$1 program=$2 port=$3
own=clawhand$port
net=10.$((64 + port % 128))
address=$net.0.1
mkdir -p "$folder"/{run,log,pki,cni}
cd "$folder"

# --- what parts leave at places that they can't be talked out of goes with these mounts ---------------------------
for place in /run/netns /run/containerd /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers; do
    mkdir -p "$place"
    mount -t tmpfs none "$place"
done
mount --make-rshared /

# --- one certificate for whoever serves and for whoever rules ------------------------------------------------------
openssl req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -days 30 -subj /CN=clawhand-test 2>/dev/null
openssl genrsa -out pki/accounts.key 2048 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout pki/one.key -out pki/one.csr -subj /O=system:masters/CN=admin 2>/dev/null
openssl x509 -req -in pki/one.csr -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 30 -out pki/one.crt 2>/dev/null \
    -extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"
        echo "subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$address,IP:10.97.0.1")
cat >admin.conf <<END
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$port", certificate-authority-data: $(base64 -w0 pki/ca.crt)}}]
users: [{name: admin, user: {client-certificate-data: $(base64 -w0 pki/one.crt), client-key-data: $(base64 -w0 pki/one.key)}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
END

# --- the node's own parts ------------------------------------------------------------------------------------------
ip link show "$own" >/dev/null 2>&1 || ip link add "$own" type bridge
ip address replace "$address/17" dev "$own"
ip link set "$own" up
cat >cni/10-test.conflist <<END
{"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "bridge", "bridge": "$own", "isGateway": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "$net.0.0/17"}]]}}]}
END
cat >containerd.toml <<END
version = 2
root = "$folder/containerd"
state = "$folder/containerd-state"
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/clawhand-test/pause:1"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$folder/cni"
END
# A node within a node: limits hold, and another kubelet of this machine doesn't see these pods.
groups=/$own
for controller in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do
    [ -e "$controller" ] && mkdir -p "${controller%/*}$groups" 2>/dev/null
done
if [ -e "/sys/fs/cgroup$groups/cgroup.subtree_control" ]; then
    for name in cpu cpuset memory pids; do
        echo "+$name" >/sys/fs/cgroup/cgroup.subtree_control
        echo "+$name" >"/sys/fs/cgroup$groups/cgroup.subtree_control"
    done
fi
for file in cpuset.cpus cpuset.mems; do
    [ -e "/sys/fs/cgroup/cpuset$groups/$file" ] && cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset$groups/$file"
done
cat >kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
port: $((port + 1))
healthzPort: 0
containerRuntimeEndpoint: unix://$folder/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $groups
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $folder/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $folder/pki/one.crt
tlsPrivateKeyFile: $folder/pki/one.key
resolvConf: /dev/null
nodeStatusUpdateFrequency: 2s
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
END

# --- starting and stopping -----------------------------------------------------------------------------------------
declare -A COMMAND PID=()
COMMAND[etcd]="$program etcd --name one --data-dir etcd --unsafe-no-fsync
    --listen-client-urls http://127.0.0.1:$((port + 2)) --advertise-client-urls http://127.0.0.1:$((port + 2))
    --listen-peer-urls http://127.0.0.1:$((port + 3)) --initial-advertise-peer-urls http://127.0.0.1:$((port + 3))
    --initial-cluster one=http://127.0.0.1:$((port + 3))"
COMMAND[containerd]="containerd --config containerd.toml"
COMMAND[apiserver]="$program apiserver --etcd-servers http://127.0.0.1:$((port + 2)) --secure-port $port
    --bind-address 127.0.0.1 --advertise-address $address --service-cluster-ip-range 10.97.0.0/16
    --authorization-mode RBAC --client-ca-file pki/ca.crt --tls-cert-file pki/one.crt --tls-private-key-file pki/one.key
    --kubelet-client-certificate pki/one.crt --kubelet-client-key pki/one.key --kubelet-certificate-authority pki/ca.crt
    --kubelet-preferred-address-types InternalIP --service-account-issuer https://kubernetes.default.svc
    --service-account-key-file pki/accounts.key --service-account-signing-key-file pki/accounts.key"
COMMAND[controllers]="$program controllers --kubeconfig admin.conf --secure-port 0 --leader-elect=false
    --use-service-account-credentials --service-account-private-key-file pki/accounts.key --root-ca-file pki/ca.crt
    --node-monitor-grace-period 20s"
COMMAND[scheduler]="$program scheduler --kubeconfig admin.conf --secure-port 0 --leader-elect=false"
COMMAND[kubelet]="$program kubelet --kubeconfig admin.conf --config kubelet.yaml --root-dir $folder/kubelet
    --hostname-override test-node --node-ip $address"

start() {
    # Words of a command have no spaces in them, so they are split here.
    ${COMMAND[$1]} >>"log/$1.log" 2>&1 </dev/null &
    PID[$1]=$!
    : >"run/$1"
}

# stop PART SIGNAL
stop() {
    kill -s "$2" "${PID[$1]}" && wait "${PID[$1]}" || true
    rm -f "run/$1"
}

# await WHAT COMMAND...: a minute is plenty for each part, also on a machine that has other things to do.
await() {
    local what=$1 until=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || { echo "$what does not come up" >&2 && exit 1; }
        sleep 0.1
    done
}
kubectl() { "$program" kubectl --kubeconfig "$folder/admin.conf" --cache-dir "$folder/kubectl" "$@"; }

start etcd
start containerd
start apiserver
await containerd ctr --connect-timeout 1s -a containerd.sock version
for image in "${@:4}"; do ctr -a containerd.sock -n k8s.io images import "$image" >&2; done
await "the API server" kubectl get --raw /readyz
start controllers
start scheduler
start kubelet
await "the node" sh -c "'$program' kubectl --kubeconfig admin.conf get node test-node -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].status}' | grep True"
await "the service account" kubectl get serviceaccount default

mkfifo control
touch ready
# Open for writing too, so that one who has written and closed it doesn't end this.
while read -r order part <>control; do
    [ -n "${COMMAND[$part]:-}" ] || continue
    case $order in
    start) [ -e "run/$part" ] || start "$part" ;;
    stop) stop "$part" TERM ;;
    kill) stop "$part" KILL ;;
    esac
done
