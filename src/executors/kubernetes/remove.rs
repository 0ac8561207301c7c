//! Taking an execution out of the cluster: its Jobs, and with them their pods and secrets.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::KubernetesExecutor;
use super::access::asked;
use super::objects::{ATTEMPT, EXECUTION, MANAGED, PROBE};
use crate::domain::ExecutionId;
use crate::executors::contract::ExecutorError;

/// A node that takes longer to end a pod than this after its grace is not there.
const GONE_MAX: Duration = Duration::from_secs(30);

impl KubernetesExecutor {
    /// Deletes all of an execution and sees it gone.
    pub(super) async fn remove(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        let access = self.access().await?;
        let jobs = access.jobs_of(execution).await?;
        for job in &jobs {
            access.delete_job(job).await?;
            if let Some(attempt) = job.labels().get(ATTEMPT).and_then(|attempt| attempt.parse().ok()) {
                self.pool.forget(attempt);
            }
        }
        let within = jobs.iter().map(grace).max().unwrap_or_default() + GONE_MAX;
        let selector = format!("{EXECUTION}={execution}");
        let gone = access.until_pods_within(&selector, within, |pods| pods.is_empty().then_some(()));
        match gone.await? {
            Some(()) => {
                self.pool.learned.forget(execution);
                Ok(())
            }
            None => Err(ExecutorError::Unreachable(
                "a node doesn't end the pods of an execution".to_owned(),
            )),
        }
    }

    /// The executions of which there are Jobs.
    pub(super) async fn executions(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        let access = self.access().await?;
        let params = ListParams::default().labels(&format!("{}={},!{PROBE}", MANAGED.0, MANAGED.1));
        let jobs = asked("list the jobs", access.jobs.list(&params)).await?.items;
        let ids = jobs.iter().filter_map(|job| job.labels().get(EXECUTION)?.parse().ok());
        Ok(ids.collect::<BTreeSet<_>>().into_iter().collect())
    }
}

fn grace(job: &Job) -> Duration {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let seconds = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
