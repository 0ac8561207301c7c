//! Drives one execution from wherever it stands to a terminal state.
//!
//! Every phase can be entered anew after a crash: preparing is repeated, a started step is re-attached, collecting is
//! repeated. What is stored decides, never what this process remembers.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Halt;
use super::outcome::{self, StepsEnd};
use super::worker::{Shared, Signals};
use crate::domain::{Event, Execution, ExecutionState, StepState, Target, UnixMs};
use crate::executors::{Connection, Executor, ExecutorError, Input, Workspace};
use crate::redact::Rules;
use crate::store::{Finish, Lease, StoreError};

/// Between two tries of something that can't be reached.
const AGAIN: Duration = Duration::from_millis(500);

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
    pub(super) rules: Rules,
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
        let Some(place) = self.place() else {
            return self.without_target().await;
        };
        if self.execution.state == ExecutionState::Preparing {
            if self.signals.cancel.is_cancelled() {
                return self.finish(&place, StepsEnd::Cancelled).await;
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

    fn place(&self) -> Option<Place> {
        let rooms = &self.shared.rooms;
        let snapshot = rooms.inventory.snapshot();
        let target = snapshot
            .targets
            .iter()
            .find(|target| target.name == self.execution.plan.target)?
            .clone();
        let executor = rooms.executors.for_connection(&Connection::of(&target));
        let mut rules = Rules::builder();
        for (text, shown) in executor.private_texts(self.execution.id) {
            rules = rules.private(&text, &shown);
        }
        for text in target.private_texts() {
            rules = rules.private(&text, "[private]");
        }
        for reference in target.secrets.values() {
            if let Err(error) = rooms.vault.read(reference) {
                tracing::warn!(target.name = target.name, %error, "a secret can't be read");
            }
        }
        let rules = rooms
            .vault
            .seen()
            .1
            .iter()
            .fold(rules, |rules, secret| rules.secret(secret))
            .build();
        Some(Place {
            workspace: executor.workspace(self.execution.id),
            target,
            executor,
            rules,
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
        let folder = self.shared.settings.scratch.join(self.execution.id.to_string());
        let made = std::fs::create_dir_all(&folder);
        let prepared = match made {
            Ok(()) => self.prepare_in(&folder, place).await,
            Err(error) => Ok(Err(format!("no scratch folder: {error}"))),
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
            if let Err(error) = self.shared.rooms.blobs.fetch(artifact.blob(), &file).await {
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
        self.reached(|| async { place.executor.prepare(self.execution.id, &laid).await.map(|_| ()) })
            .await
    }

    /// Tries until the target can be reached, as long as the settings allow. The inner error says why not.
    pub(super) async fn reached<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<Result<T, String>, Halt>
    where
        F: Future<Output = Result<T, ExecutorError>> + Send,
    {
        let deadline = tokio::time::Instant::now() + self.shared.settings.unreachable;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(Ok(value)),
                Err(ExecutorError::Unreachable(why)) => why,
                Err(error) => {
                    tracing::warn!(execution.id = %self.execution.id, %error, "the executor refused");
                    return Ok(Err(error.to_string()));
                }
            };
            tracing::warn!(execution.id = %self.execution.id, error, "the target can't be reached");
            if tokio::time::Instant::now() >= deadline {
                return Ok(Err(format!("the target could not be reached: {error}")));
            }
            self.pause().await?;
        }
    }

    /// Writes until the store takes it: the output waits at the executor, nothing is lost by waiting.
    pub(super) async fn stored<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        loop {
            match write().await {
                Ok(value) => return Ok(value),
                Err(StoreError::Fenced) => return Err(Halt::Fenced),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Full(_))) => {
                    tracing::warn!(execution.id = %self.execution.id, %error, "the store can't take it now; waiting");
                    self.pause().await?;
                }
                Err(error) => {
                    // A mistake of ours: let the lease run out rather than loop, and let another worker look.
                    tracing::error!(execution.id = %self.execution.id, %error, "the store refused");
                    return Err(Halt::Fenced);
                }
            }
        }
    }

    /// Waits a moment, unless there is a reason to let go.
    async fn pause(&self) -> Result<(), Halt> {
        tokio::select! {
            () = self.signals.stopping.cancelled() => Err(Halt::Stopping),
            () = self.signals.lost.cancelled() => Err(Halt::Fenced),
            _ = tokio::time::timeout(AGAIN, std::future::pending::<()>()) => Ok(()),
        }
    }

    pub(super) fn now(&self) -> UnixMs {
        self.shared.rooms.clock.now()
    }

    async fn advance(&mut self, event: Event) -> Result<(), Halt> {
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
            Some(row) if row.state == StepState::TimedOut => StepsEnd::TimedOut { step: row.index },
            Some(row) => StepsEnd::Failed {
                step: row.index,
                exit_code: row.exit_code,
                why: None,
            },
        })
    }

    /// Reads results if there are any, stores the end, and cleans up.
    async fn finish(&mut self, place: &Place, end: StepsEnd) -> Result<(), Halt> {
        let (collected, tests) = match end.is_collected() {
            true => self.collect(place).await?,
            false => (Vec::new(), None),
        };
        let (event, outcome) = outcome::of(&self.execution.plan, end, tests);
        let scrubbed = place.rules.value(&outcome).into_inner();
        let outcome = serde_json::from_value(scrubbed).unwrap_or(outcome);
        self.store_end(event, &outcome, &collected).await?;
        if let Err(error) = place.executor.clean_up(self.execution.id).await {
            tracing::warn!(execution.id = %self.execution.id, %error, "a workspace can't be removed now; it will be later");
        }
        Ok(())
    }

    async fn store_end(
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
