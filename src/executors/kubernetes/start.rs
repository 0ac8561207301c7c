//! Starting an attempt once, and asking it to end.

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::PostParams;

use super::KubernetesExecutor;
use super::access::{asked, is_conflict};
use super::lay::{LATE, order};
use super::objects::{self, Wanted};
use super::pods::Hindrance;
use super::state::State;
use crate::domain::ExecutionId;
use crate::executors::contract::{ExecutorError, Handle, StartAttempt};

/// Asks a step to end through the volume that it shares with this script: the note for a supervisor that is just
/// starting, the event for one that runs. A step that has not begun never will.
const CANCEL: &str = r#"
cd /clawhand || exit 1
mkdir claimed 2>/dev/null && exit 7
n=0
until [ -p attempts/NAME/events ]; do
    n=$((n + 1))
    [ "$n" -lt 100 ] || exit 8
    sleep 0.1 2>/dev/null || sleep 1
done
: > attempts/NAME/cancel
printf 'cancel GRACE\n' 1<>attempts/NAME/events
"#;

impl KubernetesExecutor {
    /// Makes the Job and its Secret, and leaves the rest to whoever observes: a pod takes its time to come up.
    pub(super) async fn start_attempt(
        &self,
        execution: ExecutionId,
        start: &StartAttempt,
    ) -> Result<Handle, ExecutorError> {
        let access = self.access().await?;
        let handle = Handle {
            attempt: start.attempt,
            place: format!("{}/{execution}", self.block.namespace),
        };
        let jobs = access.jobs_of(execution).await?;
        let wanted = Wanted {
            block: &self.block,
            execution,
            start: Some(start),
            order: jobs.iter().map(order).max().unwrap_or(0) + 1,
        };
        let job = objects::job(&wanted)?;
        // Before anything is made: it may be that no process can be given this.
        objects::secret(&self.block, start, &job)?;
        let job = match jobs.into_iter().find(|have| have.name_any() == job.name_any()) {
            Some(job) => job,
            None => access.make_job(&job).await?,
        };
        if State::of(&job) != State::New {
            return Ok(handle);
        }
        let secret = objects::secret(&self.block, start, &job)?;
        let params = PostParams::default();
        let made = asked("make a secret", async {
            match access.secrets.create(&params, &secret).await {
                Err(error) if is_conflict(&error) => Ok(()),
                made => made.map(drop),
            }
        });
        if let Err(error) = made.await {
            if matches!(error, ExecutorError::Refused(_)) {
                access
                    .withdraw(&job.name_any(), &Hindrance::new("it was refused", error.to_string()))
                    .await?;
            }
            return Err(error);
        }
        Ok(handle)
    }

    pub(super) async fn cancel_attempt(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        let access = self.access().await?;
        let name = objects::attempt_name(handle.attempt);
        let Some(job) = access.advance(&name, State::New, State::Cancelled).await? else {
            return Ok(());
        };
        if State::of(&job) != State::Released {
            return Ok(());
        }
        let Some(pod) = access.pod_of(&name).await? else {
            return Ok(());
        };
        let script = CANCEL
            .replace("NAME", &handle.attempt.to_string())
            .replace("GRACE", &grace.as_millis().to_string());
        let ran = access.run(&pod.name_any(), &script).await?;
        if ran.code == LATE {
            // Released, but not let go: now it never will be.
            access.advance(&name, State::Released, State::Cancelled).await?;
            return Ok(());
        }
        // Whose supervisor is gone has ended.
        if ran.code == 8 {
            Ok(())
        } else {
            ran.well("cancel the step").map(drop)
        }
    }
}
