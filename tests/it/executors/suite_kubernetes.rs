//! A Kubernetes cluster keeps the contract, asked as an account with no more than the smallest role of docs/TARGETS.md, in a
//! namespace that enforces Pod Security's level `restricted`.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::kubernetes::{cluster, rights};
use super::suite::keeps_the_contract;

/// What the stories themselves look at they see as who rules the cluster.
async fn with_the_smallest_role() -> Option<cluster::InNamespace> {
    let mut system = cluster::namespace().await?;
    let kubeconfig = system.account("smallest", json!(rights::documented())).await;
    system.block.kubeconfig = Some(kubeconfig.display().to_string());
    Some(system)
}

keeps_the_contract!(with_the_smallest_role());

/// Else the stories above would prove nothing of the role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_for_more_than_the_role_allows() {
    let Some(system) = with_the_smallest_role().await else {
        return;
    };
    let kubeconfig = system.block.kubeconfig.as_deref().expect("is set");
    let client = cluster::client(std::path::Path::new(kubeconfig)).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &system.name);
    let pods: Api<Pod> = Api::namespaced(client, &system.name);
    pods.list(&ListParams::default()).await.expect("may list pods");
    let refused = [
        secrets.list(&ListParams::default()).await.expect_err("reads secrets"),
        pods.get("any").await.expect_err("gets a pod"),
    ];
    // Not even who rules the cluster makes a pod here that is less than restricted.
    let pod = json!({"metadata": {"name": "root"}, "spec": {"containers": [{"name": "step", "image": "any"}]}});
    let pod = serde_json::from_value(pod).expect("a pod");
    let unsafe_pod = system.pods().create(&PostParams::default(), &pod).await;
    for error in refused.into_iter().chain([unsafe_pod.expect_err("makes a pod")]) {
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 403),
            "{error}"
        );
    }
}
