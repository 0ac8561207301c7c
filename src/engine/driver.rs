//! Drives one execution from wherever it stands to a terminal state.
//!
//! Every phase can be entered anew after a crash: preparing is repeated, a started step is re-attached, collecting is
//! repeated. What is stored decides, never what this process remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Halt;
use super::collect::Found;
use super::outcome::{self, StepsEnd};
use super::privacy::Privacy;
use super::worker::{Shared, Signals};
use crate::domain::target::ApprovalRule;
use crate::domain::{Digest, Event, Execution, ExecutionState, StepState, Target, UnixMs};
use crate::executors::{Executor, Input, Workspace};
use crate::store::{Finish, Lease};

/// What a driver has in its hands.
pub(super) struct Driver {
    pub(super) shared: Shared,
    pub(super) execution: Execution,
    pub(super) lease: Lease,
    pub(super) signals: Signals,
}

/// What the execution runs on, once its target was found.
pub(super) struct Place {
    pub(super) target: Target,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) workspace: Workspace,
    /// What scrubs all that leaves.
    pub(super) privacy: Privacy,
    /// The values of the target's secrets, read together with the rules that scrub them: one that is changed while the
    /// execution runs must not be printed by a step whose output is scrubbed of the old one. The error names the
    /// variable, never a value or a place.
    pub(super) secrets: Result<BTreeMap<String, String>, String>,
    /// Whether something new may begin here, or in words for callers why not.
    pub(super) may_begin: Result<(), String>,
}

impl Driver {
    pub(super) fn new(shared: Shared, execution: Execution, lease: Lease, signals: Signals) -> Self {
        Self {
            shared,
            execution,
            lease,
            signals,
        }
    }

    /// Drives to the end, or until it must let go.
    pub(super) async fn run(mut self) -> Result<(), Halt> {
        tracing::info!(
            execution.id = %self.execution.id, target.name = self.execution.plan.target,
            state = self.execution.state.as_str(), epoch = self.lease.epoch(), "driving"
        );
        if let Some(group) = self.execution.plan.group.clone() {
            return self.run_group(&group).await;
        }
        let Some(place) = self.place_with_secrets().await? else {
            return self.without_target().await;
        };
        let may_run = self.execution.state != ExecutionState::Preparing;
        if let (true, Err(why)) = (may_run, &place.secrets) {
            // What runs may print the value, and nobody could tell it from other output.
            let end = self.lost(why.clone()).await?;
            return self.finish(&place, end).await;
        }
        if may_run && self.secrets_changed(&place).await? {
            let why = "a secret of the target was changed while it ran, so what it prints can't be shown".to_owned();
            let end = self.lost(why).await?;
            return self.finish(&place, end).await;
        }
        if self.execution.state == ExecutionState::Preparing {
            if self.signals.cancel.is_cancelled() {
                return self.finish(&place, StepsEnd::Cancelled).await;
            }
            if let Err(why) = place.may_begin.clone() {
                return self.finish(&place, StepsEnd::CouldNotStart { step: None, why }).await;
            }
            if let Err(why) = self.prepare(&place).await? {
                return self.finish(&place, StepsEnd::CouldNotStart { step: None, why }).await;
            }
            self.advance(Event::Prepared).await?;
        }
        // Known from here if this process saw the steps end, else from what is stored.
        let mut seen = None;
        if self.execution.state == ExecutionState::Running {
            let end = self.steps(&place).await?;
            if !end.is_collected() {
                return self.finish(&place, end).await;
            }
            self.advance(Event::StepsOver).await?;
            seen = Some(end);
        }
        let end = match seen {
            Some(end) => end,
            None => self.end_of_steps().await?,
        };
        self.finish(&place, end).await
    }

    /// The place. Where something may run already, its secrets are waited for as the target itself would be.
    async fn place_with_secrets(&self) -> Result<Option<Place>, Halt> {
        let deadline = self.deadline();
        loop {
            let Some(place) = self.place() else { return Ok(None) };
            let needed = self.execution.state != ExecutionState::Preparing;
            if place.secrets.is_ok() || !needed || tokio::time::Instant::now() >= deadline {
                return Ok(Some(place));
            }
            self.pause().await?;
        }
    }

    fn place(&self) -> Option<Place> {
        let rooms = &self.shared.rooms;
        let snapshot = rooms.inventory.snapshot();
        let target = snapshot.target(&self.execution.plan.target)?.clone();
        let executor = rooms.executors.for_target(&target);
        let secrets = self.secrets(&target);
        let seen = rooms.vault.seen().1;
        let privacy = Privacy::new(executor.clone(), self.execution.id, target.private_texts(), seen);
        Some(Place {
            workspace: executor.workspace(self.execution.id),
            may_begin: self.may_begin(&target),
            secrets,
            target,
            executor,
            privacy,
        })
    }

    /// Reads the target's secrets, now.
    fn secrets(&self, target: &Target) -> Result<BTreeMap<String, String>, String> {
        let mut secrets = BTreeMap::new();
        for (name, reference) in &target.secrets {
            let value = self.shared.rooms.vault.read(reference).map_err(|error| {
                tracing::error!(target.name = target.name, %error, "a secret can't be read");
                format!("the secret {name} of the target can't be read")
            })?;
            secrets.insert(name.clone(), value);
        }
        Ok(secrets)
    }

    /// What tells the secrets that a step is started with from others, without telling anything of them.
    pub(super) fn secrets_digest(&self, place: &Place) -> Option<Digest> {
        let secrets = place.secrets.as_ref().ok().filter(|secrets| !secrets.is_empty())?;
        let text = serde_json::to_vec(secrets).unwrap_or_default();
        let signing = &self.shared.rooms.signing;
        Some(Digest::from_bytes(signing.sign("secrets-of-an-attempt", &text)))
    }

    /// Whether what a worker before this one started may print secrets that are known to nobody any more.
    async fn secrets_changed(&self, place: &Place) -> Result<bool, Halt> {
        let store = &self.shared.rooms.store;
        let now = self.secrets_digest(place);
        for index in 0..self.execution.plan.steps.len() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let attempt = self
                .stored(|| async { store.attempt_current(self.execution.id, index).await })
                .await?;
            if attempt.is_some_and(|attempt| attempt.secrets.is_some() && attempt.secrets != now) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the operator changed since the execution was started or approved counts from now on.
    pub(super) fn may_begin(&self, target: &Target) -> Result<(), String> {
        let plan = &self.execution.plan;
        let asks = target.approval_for(&plan.intent) == ApprovalRule::Always;
        let why = if target.disabled {
            "the target was switched off"
        } else if !target.intents.contains(&plan.intent) {
            "the target doesn't take this intent any more"
        } else if asks && plan.approval.is_none() {
            "a person has to allow this now"
        } else if plan.approval.is_some() && plan.binding != Some(target.binding(&self.shared.rooms.signing)) {
            "the target was changed after this was planned and put before a person"
        } else {
            return Ok(());
        };
        Err(why.into())
    }

    /// The end when it can't be followed what runs.
    async fn lost(&self, why: String) -> Result<StepsEnd, Halt> {
        let store = &self.shared.rooms.store;
        let rows = self
            .stored(|| async { store.execution_steps(self.execution.id).await })
            .await?;
        let at = rows
            .iter()
            .find(|row| row.state != StepState::Succeeded)
            .or(rows.last());
        Ok(StepsEnd::Lost {
            step: at.map_or(0, |row| row.index),
            why,
        })
    }

    /// The operator removed the target while the execution waited or ran.
    async fn without_target(&mut self) -> Result<(), Halt> {
        let may_run = self.execution.state != ExecutionState::Preparing;
        let (event, outcome) = outcome::without_target(may_run);
        self.store_end(event, &outcome, &[]).await
    }

    /// Lays the inputs out. The inner error says why the execution can't start.
    async fn prepare(&self, place: &Place) -> Result<Result<(), String>, Halt> {
        // A worker that was overtaken may still be at it: each has a folder of its own.
        let epoch = self.lease.epoch();
        let folder = self
            .shared
            .settings
            .scratch
            .join(format!("{}-{epoch}", self.execution.id));
        let made = std::fs::create_dir_all(&folder);
        let prepared = match made {
            Ok(()) => self.prepare_in(&folder, place).await,
            Err(error) => {
                tracing::error!(execution.id = %self.execution.id, %error, "no scratch folder");
                Ok(Err("its inputs can't be laid out".to_owned()))
            }
        };
        let _ = std::fs::remove_dir_all(&folder);
        prepared
    }

    async fn prepare_in(&self, folder: &std::path::Path, place: &Place) -> Result<Result<(), String>, Halt> {
        let store = &self.shared.rooms.store;
        let inputs = self
            .stored(|| async { store.artifact_inputs(self.execution.task).await })
            .await?;
        let mut laid = Vec::new();
        // Exactly what the plan's digest covers, whatever the task's rows say by now.
        for (index, (name, digest)) in self.execution.plan.inputs.iter().enumerate() {
            let file = folder.join(index.to_string());
            let Some(artifact) = inputs.iter().find(|row| row.name == *name && row.digest == *digest) else {
                return Ok(Err(format!("the input {name} is not what was planned")));
            };
            let blobs = &self.shared.rooms.blobs;
            let fetched = self
                .kept(|| async { blobs.fetch(artifact.blob(), &file).await })
                .await?;
            if let Err(error) = fetched {
                tracing::error!(execution.id = %self.execution.id, %error, "an input can't be fetched");
                return Ok(Err(format!("the input {name} can't be fetched")));
            }
            laid.push(Input {
                archive: crate::domain::Artifact::is_archive(name),
                name: name.clone(),
                file,
                mode: 0o644,
            });
        }
        let prepared = self
            .reached(|| async { place.executor.prepare(self.execution.id, &laid).await.map(|_| ()) })
            .await?;
        // Preparing starts nothing, so it doesn't matter how far it came.
        Ok(prepared.map_err(super::reach::Failure::into_words))
    }

    pub(super) fn now(&self) -> UnixMs {
        self.shared.rooms.clock.now()
    }

    pub(super) async fn advance(&mut self, event: Event) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        self.execution.state = self
            .stored(|| async { store.execution_move(&self.lease, event, self.now()).await })
            .await?;
        Ok(())
    }

    /// How the steps ended, as it is stored; used when collecting is entered anew.
    async fn end_of_steps(&self) -> Result<StepsEnd, Halt> {
        let store = &self.shared.rooms.store;
        let rows = self
            .stored(|| async { store.execution_steps(self.execution.id).await })
            .await?;
        let decisive = rows.iter().find(|row| row.state != StepState::Succeeded);
        Ok(match decisive {
            None => StepsEnd::Succeeded,
            Some(row) => super::step::stored_end(row),
        })
    }

    /// Reads results if there are any, stores the end, and cleans up.
    async fn finish(&mut self, place: &Place, end: StepsEnd) -> Result<(), Halt> {
        let found = match end.is_collected() {
            true => self.collect(place).await?,
            false => Found::default(),
        };
        let (event, mut outcome) = outcome::of(&self.execution.plan, end, found.tests);
        outcome.summary += &found.missing.map(|missing| format!("; {missing}")).unwrap_or_default();
        let outcome = outcome::scrubbed(&place.privacy.rules(), outcome);
        self.store_end(event, &outcome, &found.artifacts).await?;
        if let Err(error) = place.executor.clean_up(self.execution.id).await {
            tracing::warn!(execution.id = %self.execution.id, %error, "a workspace can't be removed now; it will be later");
        }
        Ok(())
    }

    pub(super) async fn store_end(
        &mut self,
        event: Event,
        outcome: &crate::domain::Outcome,
        artifacts: &[crate::domain::Artifact],
    ) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        let finish = || async {
            let finish = Finish {
                event,
                outcome,
                artifacts,
                now: self.now(),
            };
            store.execution_finish(&self.lease, &finish).await
        };
        let state = self.stored(finish).await?;
        tracing::info!(
            execution.id = %self.execution.id, state = state.as_str(), summary = outcome.summary, "execution ended"
        );
        Ok(())
    }

    /// The token that tells of a cancel.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.signals.cancel.clone()
    }
}
