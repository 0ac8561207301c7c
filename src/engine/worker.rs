//! The loop that claims, keeps the leases alive and hears of cancels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::driver::Driver;
use super::presence::Presence;
use crate::domain::{Execution, ExecutionId};
use crate::store::{Claim, Lease, StoreError, Topic};

/// The leases of this worker, each with the signals to its driver.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<ExecutionId, HeldLease>>);

#[derive(Clone)]
struct HeldLease {
    lease: Lease,
    /// One of a group only waits for its members: were it to take their room, none of them could begin.
    is_group: bool,
    signals: Signals,
}

/// What a driver is told from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// Somebody asked to cancel the execution.
    pub(super) cancel: CancellationToken,
    /// The lease is lost.
    pub(super) lost: CancellationToken,
    /// This worker stops.
    pub(super) stopping: CancellationToken,
}

impl Held {
    fn all(&self) -> Vec<HeldLease> {
        self.lock().values().cloned().collect()
    }

    /// How many take room of this worker.
    fn working(&self) -> usize {
        self.lock().values().filter(|held| !held.is_group).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, HeldLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes an execution from the held ones when it is dropped.
struct LetGo<'a>(&'a Held, ExecutionId);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Engine {
    /// Works until `stop` is cancelled, then lets go of every execution and returns.
    pub async fn run(self, stop: CancellationToken) {
        // Without it others wait until the leases run out; nothing else depends on it.
        let presence = Presence::announce(&self.0.settings.presence, &self.0.settings.worker)
            .inspect_err(|error| tracing::warn!(%error, "this worker can't say that it lives"));
        self.free_departed().await;
        let mut drivers = JoinSet::new();
        let mut queue = self.0.rooms.store.changes().watch(Topic::Queue);
        let mut pulse = tokio::time::interval(self.0.settings.lease / 3);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(worker = self.0.settings.worker, "worker started");
        loop {
            self.fill(&mut drivers, &stop).await;
            tokio::select! {
                () = queue.changed() => self.pulse().await,
                _ = pulse.tick() => self.pulse().await,
                Some(ended) = drivers.join_next(), if !drivers.is_empty() => note(ended),
                () = stop.cancelled() => break,
            }
        }
        while let Some(ended) = drivers.join_next().await {
            note(ended);
        }
        if let Ok(presence) = presence {
            presence.leave();
        }
        tracing::info!(worker = self.0.settings.worker, "worker stopped");
    }

    /// Frees the leases of workers on this machine whose processes are gone.
    pub(super) async fn free_departed(&self) {
        let departed = match Presence::departed(&self.0.settings.presence) {
            Ok(departed) => departed,
            Err(error) => return tracing::debug!(%error, "departed workers can't be looked for"),
        };
        for departed in departed {
            match self.0.rooms.store.leases_free(&departed.worker).await {
                Ok(freed) => {
                    tracing::info!(worker = departed.worker, freed, "a worker is gone");
                    departed.bury();
                }
                Err(error) => tracing::warn!(%error, "the leases of a departed worker can't be freed now"),
            }
        }
    }

    /// Claims as long as there is room and work.
    async fn fill(&self, drivers: &mut JoinSet<()>, stop: &CancellationToken) {
        while self.0.held.working() < self.0.settings.parallel && !stop.is_cancelled() {
            match self.claim().await {
                Ok(Some((execution, lease))) => {
                    let signals = Signals {
                        stopping: stop.clone(),
                        ..Signals::default()
                    };
                    if execution.cancel_requested_at.is_some() {
                        signals.cancel.cancel();
                    }
                    let held = HeldLease {
                        lease: lease.clone(),
                        is_group: execution.plan.group.is_some(),
                        signals: signals.clone(),
                    };
                    self.0.held.lock().insert(execution.id, held);
                    drivers.spawn(self.clone().drive(execution, lease, signals));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "can't look for work now");
                    break;
                }
            }
        }
    }

    async fn claim(&self) -> Result<Option<(Execution, Lease)>, StoreError> {
        let rooms = &self.0.rooms;
        let now = rooms.clock.now();
        rooms
            .store
            .execution_claim(&Claim {
                worker: &self.0.settings.worker,
                now,
                until: now.after(self.0.settings.lease),
                only: self.0.settings.only,
                at_once: &rooms.inventory.snapshot().at_once(self.0.settings.per_owner),
            })
            .await
    }

    async fn drive(self, execution: Execution, lease: Lease, signals: Signals) {
        let id = execution.id;
        let halt = {
            // Also when the driver panics: a lease that nobody drives must not be kept alive.
            let _letting_go = LetGo(&self.0.held, id);
            Driver::new(self.0.clone(), execution, lease.clone(), signals)
                .run()
                .await
        };
        if let Err(halt) = halt {
            tracing::info!(execution.id = %id, ?halt, "let go of an execution");
            if halt == super::Halt::Stopping
                && let Err(error) = self.0.rooms.store.lease_release(&lease).await
            {
                tracing::warn!(execution.id = %id, %error, "a lease can't be given back; it will run out");
            }
        }
    }

    /// Extends the leases, and passes on what the store says of them.
    async fn pulse(&self) {
        let held = self.0.held.all();
        if held.is_empty() {
            return;
        }
        let leases: Vec<Lease> = held.iter().map(|held| held.lease.clone()).collect();
        let until = self.0.rooms.clock.now().after(self.0.settings.lease);
        let extended = match self
            .0
            .rooms
            .store
            .lease_extend(&leases, &self.0.settings.worker, until)
            .await
        {
            Ok(extended) => extended,
            Err(error) => {
                // The drivers go on: whether they were overtaken shows when they write.
                tracing::warn!(%error, "leases can't be extended now");
                return;
            }
        };
        for held in held {
            match extended.iter().find(|row| row.execution == held.lease.execution()) {
                None => held.signals.lost.cancel(),
                Some(row) if row.cancel_requested => held.signals.cancel.cancel(),
                Some(_) => {}
            }
        }
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a driver panicked; its lease will run out and its execution be re-attached");
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// What drivers share with the worker.
pub(super) type Shared = Arc<super::Inner>;
