//! Exit codes: part of the contract with scripts and CI.

use crate::domain::{Code, ExecutionState};

/// The work said yes, or the command did what it should.
pub const SUCCEEDED: u8 = 0;
/// The work said no: a step or a test failed.
pub const FAILED: u8 = 1;
/// The command line can't be understood (clap's own code).
pub const USAGE: u8 = 2;
/// clawhand refused: a bad value, an unknown target, no recipe, a missing tool.
pub const REFUSED: u8 = 3;
/// A person said no, or nobody answered in time.
pub const DENIED: u8 = 4;
/// A step ran longer than it may.
pub const TIMED_OUT: u8 = 5;
/// It was cancelled.
pub const CANCELLED: u8 = 6;
/// The infrastructure was lost; whether the work was done can't be told, or it is known not to have been.
pub const INFRASTRUCTURE: u8 = 7;
/// clawhand itself could not do it: the database, the disk, a mistake.
pub const INTERNAL: u8 = 70;

/// Shown below the help.
pub const HELP: &str = "Exit codes: 0 succeeded, 1 the work failed, 2 usage, 3 refused, 4 denied or expired, \
5 timed out, 6 cancelled, 7 infrastructure lost, 70 clawhand itself failed.";

/// The exit code for how an execution ended.
pub const fn of_state(state: ExecutionState) -> u8 {
    match state {
        ExecutionState::Succeeded => SUCCEEDED,
        ExecutionState::Failed => FAILED,
        ExecutionState::TimedOut => TIMED_OUT,
        ExecutionState::Cancelled => CANCELLED,
        ExecutionState::Denied | ExecutionState::Expired => DENIED,
        ExecutionState::Unknown | ExecutionState::InfraFailed => INFRASTRUCTURE,
        ExecutionState::AwaitingApproval
        | ExecutionState::Queued
        | ExecutionState::Preparing
        | ExecutionState::Running
        | ExecutionState::Collecting => INTERNAL,
    }
}

/// The exit code for a refusal.
pub const fn of_refusal(code: Code) -> u8 {
    match code {
        Code::StorageFull | Code::StorageUnavailable | Code::Internal => INTERNAL,
        _ => REFUSED,
    }
}
