//! The kubernetes executor beside a Job that anybody could make, watched until its condition Complete.

use std::sync::Arc;

use clawhand::app::system_clock;
use clawhand::config::Environment;
use clawhand::domain::target::KubernetesBlock;
use clawhand::executors::{Executor, KubernetesExecutor, KubernetesPool};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::conditions::is_job_completed;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;

use crate::rounds::{Rounds, slice};
use crate::step;
use crate::table::{Goal, Table};

const ROUNDS: usize = 3;
/// At once, and how many in a round.
const CLIENTS: [(usize, usize); 2] = [(1, 2), (4, 4)];
const NAMESPACE: &str = "clawhand-limits";

/// Measures `true` in a pod: as a bare Job, and as an execution.
pub async fn measure(environment: &Environment) -> anyhow::Result<()> {
    let named = ("CLAWHAND_TEST_KUBECONFIG", "CLAWHAND_TEST_IMAGE");
    let (Some(kubeconfig), Some(image)) = (environment.get(named.0), environment.get(named.1)) else {
        println!(
            "left out: kubernetes, because {} and {} are not set; see tests/run.sh bench",
            named.0, named.1
        );
        return Ok(());
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let namespace = NamespaceOfOurs::make(client.clone()).await?;
    let block = KubernetesBlock {
        kubeconfig: Some(kubeconfig.to_owned()),
        namespace: NAMESPACE.to_owned(),
        image: image.to_owned(),
        pull_policy: Some("IfNotPresent".to_owned()),
        ..KubernetesBlock::default()
    };
    let scratch = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
    let pool = Arc::new(KubernetesPool::default());
    let executor = KubernetesExecutor::new(block, pool, scratch.path().to_owned(), system_clock());
    let executor: Arc<dyn Executor> = Arc::new(executor);
    let measured = measure_in(&client, image, &executor).await;
    namespace.remove().await?;
    measured
}

async fn measure_in(client: &Client, image: &str, executor: &Arc<dyn Executor>) -> anyhow::Result<()> {
    let mut table = Table::new("kubernetes executor: one step, `true`");
    for (clients, calls) in CLIENTS {
        let mut rounds: [Rounds; 4] = Default::default();
        for round in 0..ROUNDS {
            let (shared, image) = (client.clone(), image.to_owned());
            let name = move |at: usize| format!("bare-{clients}-{round}-{at}");
            let (jobs, named) = (shared.clone(), name);
            let picture = image.clone();
            let bare = slice(clients, calls, move |_, at| {
                complete(jobs.clone(), named(at), picture.clone())
            });
            rounds[0].add(bare.await?);
            let bare = slice(clients, calls, move |_, at| {
                running(shared.clone(), format!("{}-pod", name(at)), image.clone())
            });
            rounds[1].add(bare.await?);
            clear(client).await?;
            rounds[2].add(step::attempts(executor, clients, calls).await?);
            rounds[3].add(step::executions(executor, clients, calls).await?);
        }
        let [complete, running, attempt, whole] = &rounds;
        let what = "executor: start, observe to the end; bare: a Job's condition Complete";
        table.add(step::line(
            what,
            clients,
            [attempt, complete],
            Goal::AtMost(0.0, " ms more"),
        ));
        let what = "executor: prepare, start, observe, clean up; bare: the same";
        table.add(step::line(what, clients, [whole, complete], Goal::None));
        let goal = Goal::AtMost(200.0, " ms more");
        let what = "executor: start, observe to the end; bare: a Job's pod is past Pending";
        table.add(step::line(what, clients, [attempt, running], goal));
    }
    table.print();
    Ok(())
}

/// A Job that anybody could make.
async fn make(client: &Client, name: &str, image: String) -> anyhow::Result<()> {
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 64_917, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "step", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["true"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}},
    }))?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

/// From nothing to the condition Complete.
async fn complete(client: Client, name: String, image: String) -> anyhow::Result<()> {
    make(&client, &name, image).await?;
    let jobs: Api<Job> = Api::namespaced(client, NAMESPACE);
    await_condition(jobs, &name, is_job_completed()).await?;
    Ok(())
}

/// From nothing to a pod that runs, or did already.
async fn running(client: Client, name: String, image: String) -> anyhow::Result<()> {
    use futures_util::TryStreamExt as _;
    use kube::runtime::{WatchStreamExt as _, watcher};
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let of_the_job = watcher::Config::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
    make(&client, &name, image).await?;
    let mut seen = std::pin::pin!(watcher(pods, of_the_job).applied_objects());
    while let Some(pod) = seen.try_next().await? {
        let phase = pod.status.and_then(|status| status.phase);
        if phase.is_some_and(|phase| phase != "Pending") {
            return Ok(());
        }
    }
    anyhow::bail!("the watch ended")
}

/// Nothing of one slice is to be a burden of the next.
async fn clear(client: &Client) -> anyhow::Result<()> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let all = ListParams::default();
    jobs.delete_collection(&DeleteParams::foreground(), &all).await?;
    for job in jobs.list(&all).await? {
        let uid = job.uid().unwrap_or_default();
        let deleted = kube::runtime::conditions::is_deleted(&uid);
        await_condition(jobs.clone(), &job.name_any(), deleted).await?;
    }
    Ok(())
}

/// A namespace with Pod Security's level `restricted` enforced.
struct NamespaceOfOurs(Api<Namespace>);

impl NamespaceOfOurs {
    async fn make(client: Client) -> anyhow::Result<Self> {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"metadata": {"name": NAMESPACE, "labels": labels}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(namespace)?)
            .await?;
        // Pods are refused until it has its account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, NAMESPACE);
        let is_there = |account: Option<&ServiceAccount>| account.is_some();
        await_condition(accounts, "default", is_there).await?;
        Ok(Self(namespaces))
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.0.delete(NAMESPACE, &DeleteParams::background()).await?;
        Ok(())
    }
}
