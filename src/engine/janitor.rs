//! What has to be done now and then: approvals lapse, old tasks go, workspaces nobody needs are removed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::domain::{Blob, CopyId, Outcome, Reason, UnixMs};
use crate::store::Going;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// Old tasks are looked for each so many rounds.
const PURGE_ROUNDS: u64 = 120;
/// What is deleted in one transaction.
const BATCH: u32 = 10;
/// Copies of content that are deleted in one round.
const CONTENT: u32 = 1000;

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
            // A command that runs one execution only waits for its approval to lapse.
            if round.is_multiple_of(PURGE_ROUNDS) && self.0.settings.only.is_none() {
                self.remove_leftovers().await;
                self.forget_uploads(&stop).await;
                self.purge(&stop).await;
                self.delete_content().await;
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
        for target in snapshot.all() {
            let executor = self.0.rooms.executors.for_target(target);
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
    async fn forget_uploads(&self, stop: &CancellationToken) {
        let store = &self.0.rooms.store;
        while !stop.is_cancelled() {
            let lapsed = match store.uploads_lapsed(self.0.rooms.clock.now(), BATCH).await {
                Ok(lapsed) => lapsed,
                Err(error) => return tracing::warn!(%error, "lapsed uploads can't be looked for now"),
            };
            for upload in &lapsed {
                if let Err(error) = store.upload_delete(&upload.id).await {
                    return tracing::warn!(%error, "a lapsed upload can't be forgotten");
                }
            }
            if lapsed.len() < BATCH as usize {
                return;
            }
        }
    }

    /// Deletes all that is old, few tasks in a transaction: a task may have a large log, and others want to write.
    async fn purge(&self, stop: &CancellationToken) {
        let now = self.0.rooms.clock.now();
        let kept = i64::try_from(self.0.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let before = UnixMs(now.0.saturating_sub(kept));
        while !stop.is_cancelled() {
            let purged = match self.0.rooms.store.purge(before, BATCH).await {
                Ok(purged) => purged,
                Err(error) => return tracing::warn!(%error, "old tasks can't be deleted now"),
            };
            if purged.tasks > 0 {
                let (tasks, executions) = (purged.tasks, purged.executions);
                tracing::info!(tasks, executions, "old tasks deleted");
            }
            if purged.tasks < u64::from(BATCH) {
                return;
            }
        }
    }

    /// Deletes copies that nothing refers to. A name is never used again, so it does no harm when another replica does
    /// the same, or when this one dies half way and somebody begins anew.
    async fn delete_content(&self) {
        let going = match self.0.rooms.store.blobs_going(CONTENT).await {
            Ok(going) => going,
            Err(error) => return tracing::warn!(%error, "content that nobody needs can't be looked for now"),
        };
        let mut mended = BTreeSet::new();
        for Going { blob, kept } in going {
            if let Some(kept) = kept.filter(|_| mended.insert(blob.digest)) {
                self.mend(kept, blob).await;
            }
            if let Err(error) = self.0.rooms.blobs.delete(blob).await {
                tracing::warn!(digest = %blob.digest, %error, "content that nobody needs can't be deleted now");
                continue;
            }
            if let Err(error) = self.0.rooms.store.blobs_gone(blob).await {
                tracing::warn!(digest = %blob.digest, %error, "deleted content can't be forgotten now");
            }
        }
    }

    /// Before a second copy goes, it may serve to heal the first.
    async fn mend(&self, kept: CopyId, from: Blob) {
        match self.0.rooms.blobs.mend(kept, from).await {
            Ok(true) => tracing::warn!(digest = %from.digest, "damaged content was mended from a new upload"),
            Ok(false) => {}
            Err(error) => tracing::warn!(digest = %from.digest, %error, "content can't be verified now"),
        }
    }
}
