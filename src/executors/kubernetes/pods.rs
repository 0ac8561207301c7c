//! What a pod's status means: whether it comes, is up, can't come, or is over, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt as _;
use kube::runtime::watcher;

use super::access::{Access, failed};
use super::objects::{KEEP, STEP};
use crate::executors::contract::ExecutorError;

/// Why a pod doesn't come up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hindrance {
    /// For whoever asks.
    pub words: String,
    /// For the operator: the cluster's own words.
    pub detail: String,
}

impl Hindrance {
    pub(super) fn new(words: &str, detail: impl Into<String>) -> Self {
        Self {
            words: words.to_owned(),
            detail: detail.into(),
        }
    }
}

/// Where a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may still come up; what holds it up for now.
    Coming(Option<Hindrance>),
    /// All of its containers run.
    Up,
    /// It won't come up.
    Hindered(Hindrance),
    /// Its volume is out of reach for good.
    Over(Over),
}

/// Why a pod is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The cluster's own bound on its time.
    Deadline,
    /// In words: evicted, its node lost, deleted.
    Because(String),
}

pub(super) const PULL: &str = "the image could not be pulled";
pub(super) const NO_NODE: &str = "no node takes it";
pub(super) const NO_POD: &str = "the cluster did not make its pod";
pub(super) const NO_CONTAINER: &str = "its container could not be started";

/// Where a pod stands; none at all may still come.
pub(super) fn standing(pod: Option<&Pod>) -> Standing {
    let Some(pod) = pod else {
        return Standing::Coming(Some(Hindrance::new(
            NO_POD,
            "there is no pod; look at the events of the job",
        )));
    };
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    if phase == "Failed" || phase == "Succeeded" || pod.metadata.deletion_timestamp.is_some() {
        return over(pod);
    }
    let mut passing = None;
    for name in [STEP, KEEP] {
        match state(pod, name).as_ref().and_then(container) {
            Some((hindrance, Lasts::ForGood)) => return Standing::Hindered(hindrance),
            Some((hindrance, Lasts::Perhaps)) => passing = Some(hindrance),
            None => {}
        }
    }
    let wanted = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let statuses = status.container_statuses.unwrap_or_default();
    let running = statuses
        .iter()
        .filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    if running.count() == wanted {
        return Standing::Up;
    }
    let unscheduled = status.conditions.unwrap_or_default().into_iter();
    let unscheduled = unscheduled.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let hindrance = unscheduled
        .map(|condition| Hindrance::new(NO_NODE, condition.message.unwrap_or_default()))
        .next();
    let slow = || Hindrance::new(NO_CONTAINER, "its containers did not come up in time");
    Standing::Coming(Some(passing.or(hindrance).unwrap_or_else(slow)))
}

fn over(pod: &Pod) -> Standing {
    let status = pod.status.clone().unwrap_or_default();
    let reason = status.reason.unwrap_or_default();
    let because = |words: &str| Standing::Over(Over::Because(words.to_owned()));
    match reason.as_str() {
        "DeadlineExceeded" => Standing::Over(Over::Deadline),
        "Evicted" => because("it was evicted from its node"),
        "NodeLost" | "Terminated" | "NodeShutdown" | "Shutdown" => because("its node was lost"),
        _ if disrupted(pod) => because("the cluster took its pod away"),
        _ if pod.metadata.deletion_timestamp.is_some() => because("its pod was deleted"),
        _ => because("its pod ended"),
    }
}

/// Whether the cluster says of a pod that it took it away, for whatever reason.
fn disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
}

/// Whether what keeps a container from running may pass.
enum Lasts {
    ForGood,
    Perhaps,
}

/// What keeps a container from running.
fn container(state: &ContainerState) -> Option<(Hindrance, Lasts)> {
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        let detail = format!("{reason}: {}", waiting.message.clone().unwrap_or_default());
        return match reason.as_str() {
            "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
                Some((Hindrance::new(PULL, detail), Lasts::ForGood))
            }
            "ErrImagePull" => Some((Hindrance::new(PULL, detail), Lasts::Perhaps)),
            "CreateContainerError" | "RunContainerError" => {
                Some((Hindrance::new(NO_CONTAINER, detail), Lasts::ForGood))
            }
            // Its secret may only just have been made.
            "CreateContainerConfigError" => Some((Hindrance::new(NO_CONTAINER, detail), Lasts::Perhaps)),
            _ => None,
        };
    }
    let ended = state.terminated.as_ref()?;
    let detail = ended.message.clone().or(ended.reason.clone()).unwrap_or_default();
    let detail = format!("{detail} (exit code {})", ended.exit_code);
    Some((Hindrance::new(NO_CONTAINER, detail), Lasts::ForGood))
}

/// The state of one of a pod's containers.
pub(super) fn state(pod: &Pod, name: &str) -> Option<ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == name)?.state.clone()
}

/// The selector of the pods of a Job.
pub(super) fn of_job(name: &str) -> String {
    format!("batch.kubernetes.io/job-name={name}")
}

impl Access {
    /// Waits until `decide` has something to say of the pods that a selector finds. Restarts of the API server and lost
    /// watches are survived.
    pub(super) async fn until_pods<T>(
        &self,
        selector: &str,
        mut decide: impl FnMut(&BTreeMap<String, Pod>) -> Option<T>,
    ) -> Result<T, ExecutorError> {
        let config = watcher::Config::default().labels(selector);
        let mut events = std::pin::pin!(watcher::watcher(self.pods.clone(), config));
        let mut pods = BTreeMap::new();
        let mut is_all = false;
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Err(ExecutorError::Unreachable("the watch of pods ended".to_owned())),
                // It lists anew by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => continue,
                Err(error) => return Err(unwatched(&error)),
            };
            match event {
                watcher::Event::Init => (pods, is_all) = (BTreeMap::new(), false),
                watcher::Event::InitDone => is_all = true,
                watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                    pods.insert(pod.name_any(), pod);
                }
                watcher::Event::Delete(pod) => {
                    pods.remove(&pod.name_any());
                }
            }
            if let Some(decided) = is_all.then(|| decide(&pods)).flatten() {
                return Ok(decided);
            }
        }
    }

    /// The same, for a while at most.
    pub(super) async fn until_pods_within<T>(
        &self,
        selector: &str,
        within: Duration,
        decide: impl FnMut(&BTreeMap<String, Pod>) -> Option<T>,
    ) -> Result<Option<T>, ExecutorError> {
        match tokio::time::timeout(within, self.until_pods(selector, decide)).await {
            Ok(decided) => decided.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The pod of a Job as it is now.
    pub(super) async fn pod_of(&self, job: &str) -> Result<Option<Pod>, ExecutorError> {
        let params = kube::api::ListParams::default().labels(&of_job(job));
        let pods = super::access::asked("list the pods", self.pods.list(&params)).await?;
        Ok(newest(pods.items))
    }
}

/// There is one; should there ever be more, the one that lives.
fn newest(pods: Vec<Pod>) -> Option<Pod> {
    pods.into_iter()
        .min_by_key(|pod| pod.metadata.deletion_timestamp.is_some())
}

fn unwatched(error: &watcher::Error) -> ExecutorError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => failed("watch the pods", error),
        other => ExecutorError::Unreachable(format!("failed to watch the pods: {other}")),
    }
}
