//! Durable state in SQLite (embedded) or PostgreSQL (for several replicas): same tables, one SQL text a query.
//!
//! What an answered write stored is on disk. Every change of an execution's state goes through
//! [`crate::domain::execution::next`] on the state that was read in the same transaction, under a lock on that row;
//! whatever a worker writes is fenced by the epoch of its lease. An operation that locks several rows locks the task
//! first, then the execution, then the rest, so that none waits for another in a circle.
//!
//! This room never decides: what is allowed, what a plan is, when something expires comes in with the call. It never
//! looks at a clock and never stores a secret.
//!
//! Start at [`Store::open`] (connect.rs), then a noun: tasks, artifacts, uploads, executions, queue (claim and
//! lease), place, groups, steps, log, approvals, facts, keys, blobs, purge. Who waits for a change uses [`Changes`] (changes.rs, listen.rs).
//! Only the claim (queue.rs), a place in the queue (place.rs) and how a transaction begins (connect.rs, writer.rs) differ between the dialects.

mod approvals;
mod artifacts;
mod blobs;
mod changes;
mod chats;
mod connect;
mod error;
mod executions;
mod facts;
mod groups;
mod keys;
mod listen;
mod log;
mod migrate;
mod place;
mod purge;
mod questions;
mod queue;
mod readers;
mod sql;
mod steps;
mod tasks;
mod uploads;
mod writer;

pub use approvals::{Decide, Decided, Grant};
pub use artifacts::ArtifactInsert;
pub use blobs::Going;
pub use changes::{Changes, Topic, Watch};
pub use chats::{Chat, ChatFilter};
pub use connect::{Dialect, Store, StoreSettings};
pub use error::StoreError;
pub use executions::{ExecutionFilter, ExecutionInsert, ExecutionView, Finish, NewExecution};
pub use groups::Child;
pub use keys::Key;
pub use log::LogPiece;
pub use purge::Purged;
pub use questions::{Answered, NewQuestion};
pub use queue::{Claim, Held, Lease};
pub use steps::{AttemptRow, StepEnd, StepStart};
pub use tasks::{TaskFilter, TaskInsert, TaskRow};
pub use uploads::{PartInsert, Upload, UploadKind};
