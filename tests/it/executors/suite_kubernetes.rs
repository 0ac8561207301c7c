//! A Kubernetes cluster keeps the contract, asked as an account with no more than the smallest role of docs/TARGETS.md, in a
//! namespace that enforces Pod Security's level `restricted`.

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
