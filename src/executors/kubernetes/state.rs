//! How far an attempt came, written on its Job. A change holds only if nobody else changed the Job in between, so two
//! processes of clawhand can't take an attempt two ways.

use std::fmt;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::access::{Access, asked, found, is_conflict};
use super::pods::Hindrance;
use crate::executors::contract::ExecutorError;

const STATE: &str = "io.clawhand/state";
const WHY: &str = "io.clawhand/why";
const DETAIL: &str = "io.clawhand/detail";
/// Changes of a Job's status come in bursts, and each makes a patch of ours fail once.
const TRIES: u32 = 20;

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its pod is not yet there, or waits for its workspace.
    New,
    /// The step may have begun.
    Released,
    /// Its end is known. Of the pod that holds the inputs: they are laid.
    Ended,
    /// It was never released and never will be.
    Withdrawn,
    /// The same, because somebody cancelled.
    Cancelled,
}

impl State {
    const ALL: [Self; 5] = [Self::New, Self::Released, Self::Ended, Self::Withdrawn, Self::Cancelled];

    /// Of a Job.
    pub(super) fn of(job: &Job) -> Self {
        let word = job.annotations().get(STATE).map_or("new", String::as_str);
        Self::ALL
            .into_iter()
            .find(|state| state.to_string() == word)
            .unwrap_or(Self::New)
    }

    /// Whether the step may have begun.
    pub(super) const fn has_begun(self) -> bool {
        matches!(self, Self::Released | Self::Ended)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Released => "released",
            Self::Ended => "ended",
            Self::Withdrawn => "withdrawn",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Why an attempt was withdrawn.
pub(super) fn hindrance(job: &Job) -> Hindrance {
    let text = |name: &str| job.annotations().get(name).cloned().unwrap_or_default();
    Hindrance {
        words: text(WHY),
        detail: text(DETAIL),
    }
}

impl Access {
    pub(super) async fn job(&self, name: &str) -> Result<Option<Job>, ExecutorError> {
        asked("look at the job", async { found(self.jobs.get(name).await) }).await
    }

    /// Takes an attempt from one state to another. Returns its Job as it is then: with another state if somebody else
    /// was first, or nothing if it is gone.
    pub(super) async fn advance(&self, name: &str, from: State, to: State) -> Result<Option<Job>, ExecutorError> {
        self.advance_because(name, from, to, None).await
    }

    /// The same for an attempt that is given up, with why.
    pub(super) async fn advance_because(
        &self,
        name: &str,
        from: State,
        to: State,
        why: Option<&Hindrance>,
    ) -> Result<Option<Job>, ExecutorError> {
        for _ in 0..TRIES {
            let Some(job) = self.job(name).await? else {
                return Ok(None);
            };
            if State::of(&job) != from {
                return Ok(Some(job));
            }
            let mut patch = json!({"metadata": {
                "resourceVersion": job.resource_version(),
                "uid": job.uid(),
                "annotations": {STATE: to.to_string()},
            }});
            if let Some(why) = why {
                patch["metadata"]["annotations"][WHY] = why.words.clone().into();
                patch["metadata"]["annotations"][DETAIL] = why.detail.clone().into();
            }
            if !to.has_begun() {
                // Its pod goes, and none comes after it.
                patch["spec"] = json!({"suspend": true});
            }
            let params = PatchParams::default();
            let patch = Patch::Merge(&patch);
            let patched = asked("write on the job", async {
                match self.jobs.patch(name, &params, &patch).await {
                    Err(error) if is_conflict(&error) => Ok(None),
                    patched => found(patched),
                }
            });
            if let Some(job) = patched.await? {
                return Ok(Some(job));
            }
        }
        Err(ExecutorError::Unreachable("the job changes all the time".to_owned()))
    }
}
