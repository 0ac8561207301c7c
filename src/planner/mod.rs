//! Decides where and how a task is done: which target a reference means, which recipe fits the files, which variant
//! the target's facts allow, and the steps that follow. Also reads what tests said, from the words of their tools.
//!
//! Floor 1, pure: a value in, a value out. It never reads a file, a clock or the environment, never falls back to
//! another target, and never puts a caller's text anywhere but into whole arguments. Start reading at [`resolve()`],
//! then [`plan()`].

mod call;
mod choose;
mod delegate;
mod explain;
mod files;
mod group;
mod manifests;
mod parameters;
mod plan;
pub mod readers;
mod resolve;
mod steps;

pub use group::{may_fan_out, plan_group, refused_by};
pub use plan::{Planned, Request, plan};
pub use resolve::{Considered, MatchKind, Resolved, explain, resolve};
