//! What the cluster calls what is of an execution: pods, nodes, ids and addresses. A step finds most of them in /proc and
//! in files that the cluster lays into its container, and callers must not.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::KubernetesExecutor;
use super::access::Access;
use crate::domain::ExecutionId;
use crate::executors::contract::ExecutorError;

/// Says what a container of the pod sees of the cluster. The step's own sees the same, but for its id.
pub(super) const TELL: &str = "cat /proc/self/mountinfo /proc/self/cgroup /etc/hosts /etc/resolv.conf 2>/dev/null\n\
    env | grep '^KUBERNETES_' || :\n";

impl KubernetesExecutor {
    /// Learns all that there is to know of a pod before anything that it printed is shown.
    pub(super) async fn learn_of(
        &self,
        access: &Access,
        execution: ExecutionId,
        pod: &Pod,
    ) -> Result<(), ExecutorError> {
        self.learn_status(execution, pod);
        let name = pod.name_any();
        if !self.pool.learned.knows(execution, &told(&name)) {
            let said = access.run(&name, TELL).await?.well("look around in the pod")?;
            self.learn_told(execution, &name, &said.stdout);
        }
        Ok(())
    }

    /// What the cluster says of a pod.
    fn learn_status(&self, execution: ExecutionId, pod: &Pod) {
        let learned = &self.pool.learned;
        learned.add(execution, &pod.name_any(), "[pod]");
        let uid = pod.uid().unwrap_or_default();
        for uid in [uid.replace('-', "_"), uid] {
            // With and without what control groups put before it.
            learned.add(execution, &uid, "[pod]");
            learned.add(execution, &format!("pod{uid}"), "[pod]");
            for class in ["besteffort", "burstable"] {
                learned.add(execution, &format!("kubepods-{class}-pod{uid}"), "[pod]");
            }
            learned.add(execution, &format!("kubepods-pod{uid}"), "[pod]");
        }
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
            learned.add(execution, node, "[node]");
        }
        let Some(status) = &pod.status else { return };
        let of_pod = status.pod_ips.iter().flatten().map(|address| &address.ip);
        let of_node = status.host_ips.iter().flatten().map(|address| &address.ip);
        for address in of_pod.chain(of_node) {
            learned.add(execution, address, "[address]");
        }
        for address in [&status.pod_ip, &status.host_ip].into_iter().flatten() {
            learned.add(execution, address, "[address]");
        }
        for container in status.container_statuses.iter().flatten() {
            let id = container.container_id.as_deref().unwrap_or_default();
            learned.add_id(execution, id, "[container]");
            learned.add_id(execution, &container.image_id, "[image]");
        }
    }

    /// What [`TELL`] said in a pod: ids, addresses and domains.
    pub(super) fn learn_told(&self, execution: ExecutionId, pod: &str, said: &[u8]) {
        let learned = &self.pool.learned;
        let said = String::from_utf8_lossy(said);
        for word in said.split(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
            if word.len() >= 32 {
                learned.add_id(execution, word, "[container]");
            } else if word.parse::<std::net::Ipv4Addr>().is_ok() {
                learned.add(execution, word, "[address]");
            }
        }
        let domains = said.lines().filter_map(|line| line.strip_prefix("search "));
        for domain in domains.flat_map(str::split_whitespace) {
            // The cluster's own are the same everywhere.
            if domain.contains('.') && !domain.ends_with("cluster.local") {
                learned.add(execution, domain, "[domain]");
            }
        }
        learned.add(execution, &told(pod), "[pod]");
    }
}

/// Stands for a pod that was asked.
fn told(pod: &str) -> String {
    format!("{pod}/told")
}
