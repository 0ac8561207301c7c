//! The cluster that tests/run.sh starts, or one that somebody names; a namespace in it for each test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawhand::domain::target::KubernetesBlock;
use clawhand::domain::{Clock, ExecutionId, UnixMs};
use clawhand::executors::{Executor, Handle, KubernetesExecutor, KubernetesPool};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, NodeCondition, Pod, Secret, ServiceAccount};
use kube::api::{AttachParams, DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::super::left_out;
use super::super::suite::System;

/// Whoever ends a part of the cluster has it alone.
static CLUSTER: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The node of the cluster that tests/run.sh starts.
pub const NODE: &str = "test-node";

/// A namespace with Pod Security's level `restricted` enforced, thrown away at the end.
pub struct InNamespace {
    pub client: Client,
    pub name: String,
    pub block: KubernetesBlock,
    scratch: tempfile::TempDir,
    pub kubeconfig: PathBuf,
    shared: Option<OwnedRwLockReadGuard<()>>,
}

/// A namespace, unless there is no cluster, which is said.
pub async fn namespace() -> Option<InNamespace> {
    let shared = CLUSTER.clone().read_owned().await;
    let mut found = make().await?;
    found.shared = Some(shared);
    Some(found)
}

/// A cluster of which parts can be ended and started again, and nobody else uses it meanwhile.
pub struct Breakable {
    pub namespace: InNamespace,
    folder: PathBuf,
    ended: Mutex<BTreeSet<String>>,
    _alone: OwnedRwLockWriteGuard<()>,
}

impl Breakable {
    /// Nothing, if somebody else's cluster is used.
    pub async fn new() -> Option<Self> {
        let alone = CLUSTER.clone().write_owned().await;
        let namespace = make().await?;
        let Some(folder) = crate::executors::variable("CLAWHAND_TEST_CLUSTER") else {
            left_out(
                "outages of a cluster",
                "its parts can't be ended (CLAWHAND_TEST_CLUSTER)",
            );
            return None;
        };
        Some(Self {
            namespace,
            folder: folder.into(),
            ended: Mutex::default(),
            _alone: alone,
        })
    }

    /// `stop` asks a part to end, `kill` doesn't ask.
    pub async fn end(&self, how: &str, part: &str) {
        self.ended.lock().expect("no panic").insert(part.to_owned());
        self.tell(how, part);
        self.until(part, false).await;
    }

    pub async fn start(&self, part: &str) {
        self.tell("start", part);
        self.until(part, true).await;
        self.ended.lock().expect("no panic").remove(part);
    }

    /// Waits until the node takes pods.
    pub async fn node_ready(&self) {
        let nodes: Api<Node> = Api::all(self.namespace.client.clone());
        let is_ready = |node: Option<&Node>| {
            let status = node.and_then(|node| node.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_ref());
            let is_tainted = node.is_some_and(|node| {
                let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
                taints.into_iter().any(|taint| taint.effect != "PreferNoSchedule")
            });
            let ready = |condition: &NodeCondition| condition.type_ == "Ready" && condition.status == "True";
            !is_tainted && conditions.is_some_and(|conditions| conditions.iter().any(ready))
        };
        kube::runtime::wait::await_condition(nodes, NODE, is_ready)
            .await
            .expect("has a node");
    }

    fn tell(&self, order: &str, part: &str) {
        std::fs::write(self.folder.join("control"), format!("{order} {part}\n")).expect("tells the node");
    }

    async fn until(&self, part: &str, is_there: bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while self.folder.join("run").join(part).exists() != is_there {
            ticks.tick().await;
        }
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        // Whatever became of the test, the others need the cluster.
        for part in self.ended.lock().expect("no panic").iter() {
            self.tell("start", part);
        }
    }
}

async fn make() -> Option<InNamespace> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(kubeconfig) = crate::executors::variable("CLAWHAND_TEST_KUBECONFIG") else {
        left_out("kubernetes", "no cluster (CLAWHAND_TEST_KUBECONFIG)");
        return None;
    };
    let kubeconfig = PathBuf::from(kubeconfig);
    let client = client(&kubeconfig).await;
    let name = format!("clawhand-{}", ExecutionId::random().to_string().replace('_', "-"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(namespace).expect("is a namespace");
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .expect("makes a namespace");
    // Pods are refused until it has its account.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    let condition = |account: Option<&ServiceAccount>| account.is_some();
    kube::runtime::wait::await_condition(accounts, "default", condition)
        .await
        .expect("has an account");
    let block = KubernetesBlock {
        kubeconfig: Some(kubeconfig.display().to_string()),
        namespace: name.clone(),
        image: image("CLAWHAND_TEST_IMAGE", "clawhand-test/busybox:1"),
        pull_policy: Some("IfNotPresent".to_owned()),
        ..KubernetesBlock::default()
    };
    let scratch = tempfile::tempdir().expect("makes a folder");
    Some(InNamespace {
        client,
        name,
        block,
        scratch,
        kubeconfig,
        shared: None,
    })
}

/// A Debian with Python.
pub fn python_image() -> String {
    image("CLAWHAND_TEST_PYTHON_IMAGE", "clawhand-test/python:1")
}

fn image(variable: &str, default: &str) -> String {
    crate::executors::variable(variable).unwrap_or_else(|| default.to_owned())
}

/// Who the kubeconfig names.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("reads the kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .expect("a configuration");
    Client::try_from(config).expect("a client")
}

impl InNamespace {
    /// With another block than the namespace's own.
    pub fn executor_of(&self, block: KubernetesBlock) -> Arc<KubernetesExecutor> {
        let now = Clock::new(|| UnixMs(0));
        let scratch = self.scratch.path().to_owned();
        Arc::new(KubernetesExecutor::new(
            block,
            Arc::new(KubernetesPool::default()),
            scratch,
            now,
        ))
    }

    /// A kubeconfig of a service account's, with `rules` in a role of the namespace.
    pub async fn account(&self, name: &str, rules: serde_json::Value) -> PathBuf {
        use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
        let post = PostParams::default();
        let meta = json!({"name": name});
        let account = serde_json::from_value(json!({"metadata": meta})).expect("an account");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        accounts.create(&post, &account).await.expect("makes an account");
        let role = serde_json::from_value(json!({"metadata": meta, "rules": &rules})).expect("a role");
        let roles: Api<Role> = Api::namespaced(self.client.clone(), &self.name);
        roles.create(&post, &role).await.expect("makes a role");
        let binding = serde_json::from_value(json!({"metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.name}]}));
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.name);
        bindings
            .create(&post, &binding.expect("a binding"))
            .await
            .expect("binds the role");
        self.until_allowed(name, &rules).await;
        let request = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}));
        let token = accounts
            .create_token_request(name, &post, &request.expect("a request"))
            .await
            .expect("a token");
        self.kubeconfig_with(name, &token.status.expect("has a status").token)
    }

    /// Returns once the cluster knows what it just was told: a role counts some moments after it is bound.
    async fn until_allowed(&self, name: &str, rules: &serde_json::Value) {
        let Some(rule) = rules.as_array().and_then(|rules| rules.last()) else {
            return;
        };
        let resource = rule["resources"][0].as_str().expect("names a resource");
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = serde_json::from_value(json!({"spec": {
            "user": format!("system:serviceaccount:{}:{name}", self.name),
            "resourceAttributes": {"namespace": self.name, "group": rule["apiGroups"][0], "resource": resource,
                "subresource": subresource, "verb": rule["verbs"][0]}}}));
        let review: SubjectAccessReview = review.expect("a question");
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let answer = reviews.create(&PostParams::default(), &review).await.expect("answers");
            if answer.status.is_some_and(|status| status.allowed) {
                return;
            }
        }
    }

    fn kubeconfig_with(&self, name: &str, token: &str) -> PathBuf {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("reads the kubeconfig");
        let server = kubeconfig.clusters[0]
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.server.clone());
        self.kubeconfig_of(name, &server.expect("names a server"), token)
    }

    /// A kubeconfig with another server or token than the test's own.
    pub fn kubeconfig_of(&self, name: &str, server: &str, token: &str) -> PathBuf {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("reads the kubeconfig");
        let cluster = kubeconfig.clusters[0].cluster.as_ref().expect("has a cluster");
        let authority = &cluster.certificate_authority_data;
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        let path = self.scratch.path().join(format!("{name}.conf"));
        // JSON is YAML.
        std::fs::write(&path, text.to_string()).expect("writes");
        path
    }

    pub fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The pod of an attempt.
    pub async fn pod(&self, handle: &Handle) -> Option<Pod> {
        let params = ListParams::default().labels(&format!("io.clawhand/attempt={}", handle.attempt));
        self.pods().list(&params).await.expect("lists").items.into_iter().next()
    }

    /// What a script says in the step's own container.
    pub async fn in_step(&self, handle: &Handle, script: &str) -> String {
        let Some(pod) = self.pod(handle).await else {
            return String::new();
        };
        let params = AttachParams::default().container("step");
        let Ok(mut process) = self.pods().exec(&pod.name_any(), ["sh", "-c", script], &params).await else {
            return String::new();
        };
        let mut said = String::new();
        process
            .stdout()
            .expect("has an output")
            .read_to_string(&mut said)
            .await
            .expect("reads");
        said
    }
}

impl Drop for InNamespace {
    fn drop(&mut self) {
        let (client, name) = (self.client.clone(), self.name.clone());
        // The runtime of the test may be ending, so the wish is sent from one of its own.
        let sent = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let kubeconfig = crate::executors::variable("CLAWHAND_TEST_KUBECONFIG").expect("was there");
                drop(client);
                let namespaces: Api<Namespace> = Api::all(super::cluster::client(Path::new(&kubeconfig)).await);
                let params = DeleteParams::background();
                let deleted = namespaces.delete(&name, &params);
                let _ = tokio::time::timeout(Duration::from_secs(10), deleted).await;
            });
        });
        let _ = sent.join();
    }
}

#[async_trait]
impl System for InNamespace {
    fn executor(&self) -> Arc<dyn Executor> {
        self.executor_of(self.block.clone())
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let script = format!("grep -ls 'CLAWHAND_ATTEMPT={}' /proc/[0-9]*/environ", handle.attempt);
        let found = self.in_step(handle, &script).await;
        found.lines().map(str::to_owned).collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        let params = ListParams::default().labels(&format!("io.clawhand/execution={execution}"));
        let jobs = self.jobs().list(&params).await.expect("lists").items;
        let pods = self.pods().list(&params).await.expect("lists").items;
        // The cluster collects these in its own time once their owner is gone.
        let owned = |secret: &Secret| {
            jobs.iter()
                .any(|job| secret.owner_references()[0].uid == job.uid().unwrap_or_default())
        };
        let secrets = self.secrets().list(&params).await.expect("lists").items;
        let secrets = secrets
            .iter()
            .filter(|secret| owned(secret))
            .map(kube::ResourceExt::name_any);
        let names = jobs.iter().map(kube::ResourceExt::name_any);
        names
            .chain(pods.iter().map(kube::ResourceExt::name_any))
            .chain(secrets)
            .collect()
    }

    async fn in_sight(&self, handle: &Handle) -> String {
        let params = ListParams::default().labels(&format!("io.clawhand/attempt={}", handle.attempt));
        let jobs = self.jobs().list(&params).await.expect("lists").items;
        let pods = self.pods().list(&params).await.expect("lists").items;
        let lines = self.in_step(handle, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
        let files = self
            .in_step(handle, "find /clawhand /clawhand-job -type f -exec grep -Hs . {} +")
            .await;
        format!("{}\n{}\n{lines}\n{files}", json!(jobs), json!(pods))
    }
}
