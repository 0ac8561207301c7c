//! What has to be done now and then: approvals lapse, old tasks go, workspaces nobody needs are removed.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::domain::{Outcome, Reason};
use crate::executors::Connection;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// Old tasks are looked for each so many rounds.
const PURGE_ROUNDS: u64 = 120;
/// Tasks that are deleted in one transaction.
const PURGE: u32 = 100;

impl Engine {
    /// Keeps house until `stop` is cancelled.
    pub async fn keep_house(self, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round: u64 = 0;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => return,
            }
            self.expire_approvals().await;
            self.free_departed().await;
            if round.is_multiple_of(PURGE_ROUNDS) {
                self.remove_leftovers().await;
                self.forget_uploads().await;
                self.purge().await;
            }
            round += 1;
        }
    }

    async fn expire_approvals(&self) {
        let outcome = Outcome {
            exit_code: None,
            summary: "nobody answered the approval in time".into(),
            tests: None,
            reason: Some(Reason {
                code: "approval_expired".into(),
                message: "nobody answered the approval in time".into(),
                retryable: true,
                hint: "start the task again to ask anew, and tell the person who answers".into(),
            }),
        };
        let now = self.0.rooms.clock.now();
        match self.0.rooms.store.approvals_expire(now, &outcome).await {
            Ok(expired) => expired
                .iter()
                .for_each(|id| tracing::info!(execution.id = %id, "an approval lapsed")),
            Err(error) => tracing::warn!(%error, "lapsed approvals can't be looked for now"),
        }
    }

    /// Removes workspaces whose execution has ended: a crash left them. One that this database doesn't know may belong
    /// to another, so it is left alone.
    async fn remove_leftovers(&self) {
        let snapshot = self.0.rooms.inventory.snapshot();
        for target in &snapshot.targets {
            let executor = self.0.rooms.executors.for_connection(&Connection::of(target));
            let leftovers = match executor.leftovers().await {
                Ok(leftovers) => leftovers,
                Err(error) => {
                    tracing::warn!(target.name = target.name, %error, "leftovers can't be looked for now");
                    continue;
                }
            };
            for id in leftovers {
                let over = match self.0.rooms.store.execution_get(id).await {
                    Ok(execution) => execution.is_some_and(|execution| execution.state.is_terminal()),
                    Err(_) => false,
                };
                if over && let Err(error) = executor.clean_up(id).await {
                    tracing::warn!(execution.id = %id, %error, "a left workspace can't be removed");
                }
            }
        }
    }

    /// Forgets uploads that were begun and never finished.
    async fn forget_uploads(&self) {
        let store = &self.0.rooms.store;
        let lapsed = match store.uploads_lapsed(self.0.rooms.clock.now(), PURGE).await {
            Ok(lapsed) => lapsed,
            Err(error) => return tracing::warn!(%error, "lapsed uploads can't be looked for now"),
        };
        for upload in lapsed {
            if let Err(error) = store.upload_delete(&upload.id).await {
                tracing::warn!(%error, "a lapsed upload can't be forgotten");
            }
        }
    }

    async fn purge(&self) {
        let now = self.0.rooms.clock.now();
        let kept = i64::try_from(self.0.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let before = crate::domain::UnixMs(now.0.saturating_sub(kept));
        match self.0.rooms.store.purge(before, PURGE).await {
            Ok(purged) => {
                for digest in purged.digests {
                    if let Err(error) = self.0.rooms.blobs.delete(digest).await {
                        tracing::warn!(%digest, %error, "the content of a deleted artifact can't be deleted");
                    }
                }
                if purged.tasks > 0 {
                    tracing::info!(
                        tasks = purged.tasks,
                        executions = purged.executions,
                        "old tasks deleted"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "old tasks can't be deleted now"),
        }
    }
}
