//! What runs a step, behind one contract: prepare, start, observe, cancel, collect, clean up, probe.
//!
//! Floor 1. An executor holds no policy and no state of its own beyond what is on the system it drives: whatever it
//! must know after a crash is in the handle that the engine stores. Start reading at [`contract`], then [`local`].

pub mod archive;
pub mod contract;
mod folder;
pub mod local;
pub mod scripted;
pub mod supervisor;
mod tree;

use std::sync::Arc;

pub use contract::*;
pub use local::{LocalExecutor, LocalSettings};
pub use scripted::Scripted;

/// Picks the executor for a connection.
#[derive(Clone)]
pub struct Executors {
    local: LocalSettings,
    instead: Option<Arc<dyn Executor>>,
}

impl Executors {
    /// With what the executors need beyond a target's connection.
    pub fn new(local: LocalSettings) -> Self {
        Self { local, instead: None }
    }

    /// One executor in place of every other, whatever the connection: the scripted one, in tests of the engine.
    #[must_use]
    pub fn with(self, executor: Arc<dyn Executor>) -> Self {
        Self {
            instead: Some(executor),
            ..self
        }
    }

    /// The executor that reaches what is behind `connection`.
    pub fn for_connection(&self, connection: &Connection) -> Arc<dyn Executor> {
        if let Some(executor) = &self.instead {
            return executor.clone();
        }
        match connection {
            Connection::Local(block) => Arc::new(LocalExecutor::new(self.local.clone(), block.clone())),
        }
    }
}
