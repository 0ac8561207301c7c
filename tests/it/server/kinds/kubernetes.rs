//! A namespace of a Kubernetes cluster, with all that becomes of its pods while a test runs.

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota, Service};
use kube::api::{AttachParams, ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};

use super::site::{Hear, Site, Watched};
use crate::executors::kubernetes::cluster::{InNamespace, namespace};
use crate::server::gate::must;

/// The account that pods run as.
const ACCOUNT: &str = "storyteller-5";

pub struct Pods {
    pub namespace: InNamespace,
    /// `attempt EXECUTION POD` and `inputs EXECUTION POD` of pods, `step EXECUTION POD` of steps' containers that came to
    /// run, and `id WORD` of everything that has an id, a name or an address.
    pub seen: Watched,
    pub image: String,
    kubeconfig: String,
}

impl Pods {
    pub async fn find() -> Option<Self> {
        let namespace = namespace().await?;
        namespace.account(ACCOUNT, serde_json::json!([])).await;
        let pods = namespace.pods();
        let seen = Watched::new(|hear| async move {
            let mut events = std::pin::pin!(watcher::watcher(pods, watcher::Config::default()));
            loop {
                match events.try_next().await {
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => note(&hear, &pod),
                    Ok(None) => return,
                    // It goes on by itself.
                    _ => {}
                }
            }
        });
        let kubeconfig = crate::executors::variable("CLAWHAND_TEST_KUBECONFIG").expect("was there");
        let image = crate::executors::variable("CLAWHAND_TEST_IMAGE").expect("an image with a shell");
        Some(Self {
            namespace,
            seen,
            image,
            kubeconfig,
        })
    }

    pub fn tables_with(&self, namespace: &str, image: &str) -> String {
        let helper = &self.image;
        format!(
            "[executor]\nkind = \"kubernetes\"\nkubeconfig = {:?}\nnamespace = {namespace:?}\nimage = {image:?}\n\
             helper_image = {helper:?}\npull_policy = \"Never\"\nservice_account = {ACCOUNT:?}\n",
            self.kubeconfig
        )
    }

    /// From now on nothing can be made in the namespace.
    pub async fn forbid_jobs(&self) {
        let quota = serde_json::json!({"metadata": {"name": "nothing"}, "spec": {"hard": {"count/jobs.batch": "0"}}});
        let quota = serde_json::from_value(quota).expect("is a quota");
        let quotas: Api<ResourceQuota> = Api::namespaced(self.namespace.client.clone(), &self.namespace.name);
        quotas.create(&PostParams::default(), &quota).await.expect("makes it");
    }

    /// Where the API is, as `HOST:PORT`.
    fn server(&self) -> String {
        let config = std::fs::read_to_string(&self.kubeconfig).expect("reads");
        let server = config.split("https://").nth(1).expect("an address");
        let is_part = |c: &char| c.is_ascii_alphanumeric() || ".:-".contains(*c);
        server.chars().take_while(is_part).collect()
    }

    /// Everything that tells where it is.
    pub async fn private(&self) -> Vec<String> {
        let server = self.server();
        let mut private = vec![
            self.kubeconfig.clone(),
            self.namespace.name.clone(),
            self.image.clone(),
            ACCOUNT.to_owned(),
            "/clawhand/".into(),
            "clawhand-att".into(),
            "io.clawhand".into(),
        ];
        private.extend(server.rsplit_once(':').map(|(_, port)| format!(":{port}")));
        private.push(server);
        let nodes: Api<Node> = Api::all(self.namespace.client.clone());
        for node in nodes.list(&ListParams::default()).await.expect("lists").items {
            private.push(node.name_any());
            let addresses = node
                .status
                .into_iter()
                .flat_map(|status| status.addresses.unwrap_or_default());
            private.extend(addresses.map(|address| address.address));
        }
        let ids = self.seen.all();
        let ids = ids.iter().filter_map(|heard| heard.strip_prefix("id "));
        private.extend(ids.filter(|id| !id.is_empty()).map(str::to_owned));
        // Where a pod finds the API.
        let services: Api<Service> = Api::namespaced(self.namespace.client.clone(), "default");
        let service = services.get("kubernetes").await.expect("is there");
        private.push(service.spec.and_then(|spec| spec.cluster_ip).expect("has an address"));
        private
    }
}

fn note(hear: &Hear, pod: &Pod) {
    let execution = pod.labels().get("io.clawhand/execution").cloned().unwrap_or_default();
    let is_attempt = pod.labels().contains_key("io.clawhand/attempt");
    let name = pod.name_any();
    hear.add(format!(
        "{} {execution} {name}",
        if is_attempt { "attempt" } else { "inputs" }
    ));
    hear.add(format!("id {name}"));
    // The Job has the name without the last part.
    hear.add(format!("id {}", name.rsplit_once('-').map_or("", |(job, _)| job)));
    let uid = pod.uid().unwrap_or_default();
    hear.add(format!("id {}", uid.replace('-', "_")));
    hear.add(format!("id {uid}"));
    let Some(status) = &pod.status else { return };
    for address in [&status.pod_ip, &status.host_ip].into_iter().flatten() {
        hear.add(format!("id {address}"));
    }
    for container in status.container_statuses.iter().flatten() {
        let bare = |id: &str| id.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        for id in [
            bare(container.container_id.as_deref().unwrap_or_default()),
            bare(&container.image_id),
        ] {
            hear.add(format!("id {}", id.get(..12).filter(|_| id.len() == 64).unwrap_or("")));
        }
        let has_run = container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
        if container.name == "step" && has_run {
            hear.add(format!("step {execution} {name} {}", container.restart_count));
        }
    }
}

#[async_trait]
impl Site for Pods {
    fn tables(&self) -> String {
        self.tables_with(&self.namespace.name, &self.image)
    }

    async fn open_gate(&self, execution: &str) {
        let heard = self.seen.all();
        let start = format!("step {execution} ");
        let pod = heard
            .iter()
            .find_map(|heard| heard.strip_prefix(&start)?.split(' ').next());
        let params = AttachParams::default().container("keep");
        let script = ["sh", "-c", "cd /clawhand/work && echo go >gate"];
        let pods = self.namespace.pods();
        let mut process = pods
            .exec(pod.expect("a step runs"), script, &params)
            .await
            .expect("runs");
        let status = process.take_status().expect("has one");
        let status = must("a step reads from its gate", status).await.expect("is told");
        assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
    }

    async fn begun(&self, execution: &str) -> usize {
        self.seen.count(&format!("step {execution}"))
    }
}
