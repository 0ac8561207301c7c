//! The words of clawhand as types: what a task, a plan, an execution and an approval are, and how one may become
//! another.
//!
//! Floor 0. Nothing here is async, reads a file, a clock or the environment: every function is a value in, a value
//! out. State changes of an execution exist only in [`execution`]; nothing else may set a state.
//! Start reading at [`task`], then [`plan`], then [`execution`].

pub mod actor;
pub mod approval;
pub mod artifact;
pub mod execution;
pub mod facts;
pub mod id;
pub mod outcome;
pub mod plan;
pub mod queue;
pub mod recipe;
pub mod refusal;
pub mod signing;
pub mod similar;
pub mod target;
pub mod task;
pub mod time;
pub mod units;

pub use actor::{Actor, Door, OPERATOR, Scope};
pub use approval::{Approval, ApprovalState, Decision, RunQuestion};
pub use artifact::{Artifact, ArtifactRole, Blob, Digest, Listing};
pub use execution::{Event, Execution, ExecutionState, StepState};
pub use facts::Facts;
pub use id::{ApprovalId, ArtifactId, AttemptId, CopyId, ExecutionId, KeyId, TaskId};
pub use outcome::{Outcome, Reason, TestFailure, TestSummary};
pub use plan::{Plan, PlanStep};
pub use recipe::Recipe;
pub use refusal::{Code, Refusal};
pub use target::Target;
pub use task::Task;
pub use time::{Clock, UnixMs};
