//! Runs an attempt on a system where clawhand has no program of its own: a supervisor in POSIX sh, and what Rust needs
//! to hand it a job, to read its notes, and to bring files there and back.
//!
//! The supervisor (`supervise.sh`) is text that a shell reads on the target: dash, busybox ash or bash. It does what
//! [`super::supervisor`] does on clawhand's own machine, as far as a shell can. Never here: how a system is reached.
//! Start reading at [`job()`], then at `supervise.sh`. docs/decisions/posix-supervisor.md has the reasons.

mod files;
mod job;
mod note;
mod tools;

pub use files::{LaidOut, collected, lay_out, pack};
pub(super) use job::stripped;
pub use job::{Job, Layout, OutputMode, job, quoted};
pub use note::{StartedNote, exit_report, output_size};
pub(super) use tools::{ask_for_tools, told_tools};
