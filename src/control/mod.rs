//! The only door to change anything: authorize, submit, upload, start, approve, cancel, query.
//!
//! Floor 2. Every method takes the actor first and decides what exists for it; every answer and every refusal is
//! scrubbed before it leaves, which the types enforce: a door can send only what is [`Clean`]. Control starts no work
//! itself: it writes what is to be done in one transaction and nudges whoever waits. Start reading at [`submit`].

mod approvals;
mod cancel;
pub mod contract;
pub mod conversations;
mod facts;
pub mod links;
mod listing;
mod members;
pub mod openclaw;
mod operator;
mod privacy;
mod replan;
mod result;
mod room;
mod start;
mod status;
mod submit;
mod tasks;
mod transfer;
mod upload;
mod validate;
mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

pub use operator::{ApprovalRow, ExecutionRow};
pub use transfer::ArtifactBody;

use crate::blobs::{BlobError, Blobs};
use crate::domain::signing::SigningKey;
use crate::domain::{Actor, Clock, Code, Refusal, Scope};
use crate::executors::Executors;
use crate::gateway::Gateways;
use crate::inventory::Inventory;
use crate::redact::{Clean, Rules, Vault};
use crate::store::{Store, StoreError};
use links::Links;

/// What a door gets: scrubbed JSON of a contract type, or a scrubbed refusal.
pub type Answer = Result<Clean<Value>, Clean<Refusal>>;

/// What control is told by the configuration.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The largest artifact, in bytes.
    pub max_artifact: u64,
    /// How long an upload link works.
    pub upload_link_expires: Duration,
    /// How long a download link works.
    pub download_link_expires: Duration,
    /// Older facts are learned anew.
    pub facts_max_age: Duration,
    /// The most members of a group on which a task runs.
    pub max_group_members: u32,
    /// Executions of one owner at once, as workers keep to it.
    pub per_owner: Option<u32>,
    /// A folder on this machine for files on their way.
    pub scratch: PathBuf,
    /// Texts that tell something of this installation and that no caller may read, such as the data folder.
    pub private_texts: Vec<String>,
}

/// The rooms that control works with.
pub struct Rooms {
    /// Durable state.
    pub store: Store,
    /// Artifacts.
    pub blobs: Blobs,
    /// Targets and recipes.
    pub inventory: Inventory,
    /// For probing.
    pub executors: Arc<Executors>,
    /// Secrets by reference.
    pub vault: Vault,
    /// Signed links.
    pub links: Links,
    /// OpenClaw gateways.
    pub gateways: Gateways,
    /// With which plans are bound to targets.
    pub signing: SigningKey,
    /// The time.
    pub clock: Clock,
}

/// The only door to change anything. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    settings: ControlSettings,
    privacy: privacy::Cache,
    probes: facts::Probes,
    /// Whose turn it is to have an upload looked at.
    listings: Arc<tokio::sync::Semaphore>,
}

impl Control {
    /// Control over these rooms.
    pub fn new(rooms: Rooms, settings: ControlSettings) -> Self {
        Self(Arc::new(Inner {
            rooms,
            settings,
            privacy: privacy::Cache::default(),
            probes: facts::Probes::default(),
            listings: Arc::new(tokio::sync::Semaphore::new(upload::LISTINGS)),
        }))
    }

    fn store(&self) -> &Store {
        &self.0.rooms.store
    }

    fn blobs(&self) -> &Blobs {
        &self.0.rooms.blobs
    }

    fn now(&self) -> crate::domain::UnixMs {
        self.0.rooms.clock.now()
    }

    /// The rules by which everything is scrubbed that leaves now.
    pub fn rules(&self) -> Rules {
        self.0.privacy.rules(&self.0.rooms, &self.0.settings)
    }

    fn answer<T: Serialize>(&self, result: Result<T, Refusal>) -> Answer {
        let rules = self.rules();
        match result {
            Ok(value) => Ok(rules.value(&value)),
            Err(refusal) => Err(rules.refusal(refusal)),
        }
    }
}

/// Refuses an actor that may not work with tasks at all.
fn require(actor: &Actor, scope: Scope) -> Result<(), Refusal> {
    if actor.has(scope) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::NotAllowed,
        format!("this key lacks the scope `{}`", scope.as_str()),
        "ask the operator for a key that has it",
    ))
}

impl From<StoreError> for Refusal {
    /// What a caller is told about the store; what the operator is told is logged here, once.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(detail) => {
                tracing::error!(error = detail, "the database can't be reached");
                Self::new(
                    Code::StorageUnavailable,
                    "the database can't be reached now; nothing was changed",
                    "try again in a moment; what was acknowledged before is safe",
                )
            }
            StoreError::Full(detail) => {
                tracing::error!(error = detail, "the database has no space left");
                Self::new(
                    Code::StorageFull,
                    "no space is left to store this; nothing was changed",
                    "the operator has to make room; then the same call works",
                )
            }
            other => {
                tracing::error!(error = %other, "the store refused what should have been possible");
                Self::new(
                    Code::Internal,
                    "clawhand made a mistake and stored nothing",
                    "tell the operator; the log has the details",
                )
            }
        }
    }
}

impl From<BlobError> for Refusal {
    /// What a caller is told about the artifact store.
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Mismatch { expected, found } => Self::new(
                Code::DigestMismatch,
                format!("the content has the digest {found}, not {expected}; it was not kept"),
                "send the content again, or correct the digest",
            ),
            BlobError::TooLarge { size, max } => Self::new(
                Code::TooLarge,
                format!("the artifact has {size} bytes; {max} can be shown"),
                "fetch it by its download_url",
            ),
            BlobError::NotFound => {
                tracing::error!("an artifact's content is missing from the artifact store");
                Self::new(
                    Code::Internal,
                    "the content of this artifact is gone",
                    "tell the operator; the artifact store lost it",
                )
            }
            BlobError::Full(detail) => {
                tracing::error!(error = detail, "the artifact store has no space left");
                Self::new(
                    Code::StorageFull,
                    "no space is left to store this; nothing was changed",
                    "the operator has to make room; then the same call works",
                )
            }
            BlobError::Unavailable(detail) => {
                tracing::error!(error = detail, "the artifact store can't be reached");
                Self::new(
                    Code::StorageUnavailable,
                    "the artifact store can't be reached now; nothing was changed",
                    "try again in a moment",
                )
            }
        }
    }
}
