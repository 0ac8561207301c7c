//! A target that is a namespace of a Kubernetes cluster.

use std::collections::BTreeMap;
use std::time::Duration;

/// How steps run in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesBlock {
    /// Where the kubeconfig is on clawhand's machine; without it clawhand runs in the cluster and uses its own account.
    pub kubeconfig: Option<String>,
    /// The context of the kubeconfig; without it, the current one.
    pub context: Option<String>,
    /// Where everything is made.
    pub namespace: String,
    /// The account that pods run as; without it, the namespace's default one.
    pub service_account: Option<String>,
    /// Whether the account's token is put into the pod, so that steps can use the cluster's API.
    pub service_account_token: bool,
    /// What steps run in: needs a POSIX shell.
    pub image: String,
    /// What keeps the workspace: needs a shell and tar. Without it, `image` does it.
    pub helper_image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`; without it, as the cluster has it.
    pub pull_policy: Option<String>,
    /// The names of secrets with the keys to registries.
    pub image_pull_secrets: Vec<String>,
    /// What a step is promised and what it may use at most.
    pub resources: Resources,
    /// What a node must be labelled with.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that don't keep pods away.
    pub tolerations: Vec<Toleration>,
    /// The number of the user and group that steps run as; never 0.
    pub user: i64,
    /// The value of PATH for steps; without it, the usual system folders.
    pub path: Option<String>,
    /// The most that the workspace may hold, in the cluster's own notation.
    pub workspace_size: Option<String>,
    /// How long a pod may take until it runs: scheduling and pulling images.
    pub start_timeout: Duration,
    /// How long the workspace is kept after a step, for a clawhand that is away.
    pub keep: Duration,
    /// What is laid over the template of every pod.
    pub pod: serde_json::Value,
}

/// Quantities in the cluster's own notation, such as `500m` and `1Gi`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// The processor time that is promised.
    pub cpu: Option<String>,
    /// The most processor time.
    pub cpu_limit: Option<String>,
    /// The memory that is promised.
    pub memory: Option<String>,
    /// The most memory; a step that uses more is ended.
    pub memory_limit: Option<String>,
}

/// A taint that is tolerated, in the cluster's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Which taint; without it, every one.
    pub key: Option<String>,
    /// `Equal` or `Exists`.
    pub operator: Option<String>,
    /// The taint's value.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without it, every one.
    pub effect: Option<String>,
}

impl Default for KubernetesBlock {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "default".to_owned(),
            service_account: None,
            service_account_token: false,
            image: String::new(),
            helper_image: None,
            pull_policy: None,
            image_pull_secrets: Vec::new(),
            resources: Resources::default(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            user: 64_917,
            path: None,
            workspace_size: None,
            start_timeout: Duration::from_secs(5 * 60),
            keep: Duration::from_secs(60 * 60),
            pod: serde_json::Value::Null,
        }
    }
}

impl KubernetesBlock {
    /// The image that keeps the workspace.
    pub fn helper(&self) -> &str {
        self.helper_image.as_deref().unwrap_or(&self.image)
    }

    pub(super) fn private_texts(&self) -> Vec<String> {
        let mut texts = vec![self.image.clone()];
        texts.extend(self.kubeconfig.clone());
        texts.extend(self.helper_image.clone());
        texts.extend(self.image_pull_secrets.iter().cloned());
        texts.extend(self.node_selector.values().filter(|value| value.len() > 5).cloned());
        // Words that everybody uses must stay readable; an address in the cluster tells the namespace all the same.
        let names = [&self.context, &self.service_account].into_iter().flatten();
        texts.extend(names.filter(|name| is_telling(name)).cloned());
        texts.push(format!("{}.svc", self.namespace));
        texts.extend(is_telling(&self.namespace).then(|| self.namespace.clone()));
        texts
    }
}

/// Whether a name is one that somebody gave, and no word that a program may print for its own reasons.
fn is_telling(name: &str) -> bool {
    !matches!(
        name,
        "default"
            | "dev"
            | "development"
            | "test"
            | "testing"
            | "tests"
            | "staging"
            | "prod"
            | "production"
            | "ci"
            | "build"
    )
}
