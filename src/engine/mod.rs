//! The worker: claims executions, drives their steps, records what happens, and reaps what is over.
//!
//! Floor 2. It decides nothing about who may do what, and never runs a step that a worker before it may have started:
//! it re-attaches by the stored handle. Every write shows the lease, so that a worker that was overtaken can change
//! nothing. Start reading at [`worker`], then `driver`.

mod collect;
mod driver;
mod group;
mod janitor;
mod outcome;
mod presence;
mod privacy;
mod questions;
mod reach;
mod step;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::blobs::Blobs;
use crate::domain::signing::SigningKey;
use crate::domain::{Clock, ExecutionId};
use crate::executors::Executors;
use crate::inventory::Inventory;
use crate::redact::Vault;
use crate::store::Store;

/// What the engine is told by the configuration.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// This worker's name, unique among those that share a database.
    pub worker: String,
    /// Executions at once.
    pub parallel: usize,
    /// Executions of one owner at once, over all workers; nothing is no limit.
    pub per_owner: Option<u32>,
    /// How long a lease lasts without a sign of life.
    pub lease: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// How long a target may be out of reach before an execution on it is given up.
    pub unreachable: Duration,
    /// A folder on this machine for inputs on their way into a workspace.
    pub scratch: PathBuf,
    /// A folder on this machine in which its workers say that they live.
    pub presence: PathBuf,
    /// Drive this execution alone, as `clawhand run` does.
    pub only: Option<ExecutionId>,
    /// Tasks are deleted this long after their last activity.
    pub retention: Duration,
}

/// The rooms that the engine works with.
pub struct Rooms {
    /// Durable state.
    pub store: Store,
    /// Artifacts.
    pub blobs: Blobs,
    /// What runs steps.
    pub executors: Arc<Executors>,
    /// Targets.
    pub inventory: Inventory,
    /// Secrets by reference.
    pub vault: Vault,
    /// With which plans are bound to targets.
    pub signing: SigningKey,
    /// The time.
    pub clock: Clock,
}

/// The worker of one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    settings: EngineSettings,
    held: worker::Held,
}

impl Engine {
    /// An engine over these rooms; it does nothing until it is run.
    pub fn new(rooms: Rooms, settings: EngineSettings) -> Self {
        Self(Arc::new(Inner {
            rooms,
            settings,
            held: worker::Held::default(),
        }))
    }
}

/// Why a driver left its execution alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    /// Another worker has it.
    Fenced,
    /// This worker stops; whoever comes next re-attaches.
    Stopping,
}
