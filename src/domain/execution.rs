//! The life of an execution: its states and the only function that moves between them.
//!
//! ```text
//! awaiting_approval -> queued -> preparing -> running -> collecting -> succeeded | failed | timed_out | cancelled
//!        |               |           |           |            |
//!        |               |           +-----------+------------+----> cancelled | timed_out | unknown | infra_failed
//!        |               +-> cancelled
//!        +-> denied | expired | cancelled
//! ```

use serde::{Deserialize, Serialize};

use super::{Digest, ExecutionId, Outcome, Plan, TaskId, UnixMs};

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// A person was asked.
    AwaitingApproval,
    /// Waits for a worker.
    Queued,
    /// Its workspace is being made.
    Preparing,
    /// A step runs.
    Running,
    /// The steps are over; their results are being read.
    Collecting,
    /// The work said yes.
    Succeeded,
    /// The work said no.
    Failed,
    /// A step ran longer than it may.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// A person said no.
    Denied,
    /// Nobody answered the approval in time.
    Expired,
    /// The infrastructure was lost and the outcome can't be established.
    Unknown,
    /// It never started, or is known not to have finished.
    InfraFailed,
}

impl ExecutionState {
    /// Every state, in the order of the design.
    pub const ALL: [Self; 13] = [
        Self::AwaitingApproval,
        Self::Queued,
        Self::Preparing,
        Self::Running,
        Self::Collecting,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Denied,
        Self::Expired,
        Self::Unknown,
        Self::InfraFailed,
    ];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Collecting => "collecting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::InfraFailed => "infra_failed",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing follows it.
    pub const fn is_terminal(self) -> bool {
        !matches!(
            self,
            Self::AwaitingApproval | Self::Queued | Self::Preparing | Self::Running | Self::Collecting
        )
    }

    /// Whether a worker drives it.
    pub const fn is_driven(self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Collecting)
    }
}

/// What happened to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A person said yes.
    Allowed,
    /// A person said no.
    Denied,
    /// Nobody answered in time.
    ApprovalExpired,
    /// A worker took it.
    Claimed,
    /// The workspace is ready.
    Prepared,
    /// The last step ended, or one failed.
    StepsOver,
    /// Results were read: the work said yes.
    WorkSucceeded,
    /// Results were read: the work said no.
    WorkFailed,
    /// A step was ended because it ran too long.
    TimeoutEnded,
    /// A cancel was carried out, or came before anything started.
    CancelDone,
    /// The infrastructure was lost while a step may have been running.
    Lost,
    /// Known not to have started or not to have finished.
    InfraFailed,
}

/// An event that can't happen in a state: a mistake in clawhand, never of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution that is {} can't take the event {event:?}", .from.as_str())]
pub struct IllegalTransition {
    /// Where it stood.
    pub from: ExecutionState,
    /// What was to happen.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// When the event can't happen in that state; nothing may be stored then.
pub fn next(from: ExecutionState, event: Event) -> Result<ExecutionState, IllegalTransition> {
    use Event as E;
    use ExecutionState as S;
    match (from, event) {
        (S::AwaitingApproval, E::Allowed) => Ok(S::Queued),
        (S::AwaitingApproval, E::Denied) => Ok(S::Denied),
        (S::AwaitingApproval, E::ApprovalExpired) => Ok(S::Expired),
        (S::Queued, E::Claimed) => Ok(S::Preparing),
        (S::Preparing, E::Prepared) => Ok(S::Running),
        (S::Running, E::StepsOver) => Ok(S::Collecting),
        (S::Collecting, E::WorkSucceeded) => Ok(S::Succeeded),
        (S::Collecting, E::WorkFailed) => Ok(S::Failed),
        (S::Running | S::Collecting, E::TimeoutEnded) => Ok(S::TimedOut),
        (S::AwaitingApproval | S::Queued, E::CancelDone) => Ok(S::Cancelled),
        (S::Preparing | S::Running | S::Collecting, E::CancelDone) => Ok(S::Cancelled),
        (S::Running | S::Collecting, E::Lost) => Ok(S::Unknown),
        (S::Queued | S::Preparing | S::Running | S::Collecting, E::InfraFailed) => Ok(S::InfraFailed),
        _ => Err(IllegalTransition { from, event }),
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not started.
    Pending,
    /// Started.
    Running,
    /// It said yes.
    Succeeded,
    /// It said no.
    Failed,
    /// It ran longer than it may.
    TimedOut,
    /// It was ended by a cancel.
    Cancelled,
    /// It may have run; how it ended can't be established.
    Unknown,
    /// It never started: an earlier one failed, or the target could not start it.
    Skipped,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Unknown,
        Self::Skipped,
    ];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One run of one plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its id; on clients with the tasks extension also the MCP task's id.
    pub id: ExecutionId,
    /// What it is a run of.
    pub task: TaskId,
    /// Whose it is.
    pub owner: String,
    /// Where it stands.
    pub state: ExecutionState,
    /// What runs, frozen.
    pub plan: Plan,
    /// Of that plan.
    pub plan_digest: Digest,
    /// When it was started by its caller.
    pub created_at: UnixMs,
    /// When a worker first took it.
    pub started_at: Option<UnixMs>,
    /// When it reached a terminal state.
    pub ended_at: Option<UnixMs>,
    /// When somebody asked to cancel it.
    pub cancel_requested_at: Option<UnixMs>,
    /// What they said about it.
    pub cancel_reason: Option<String>,
    /// How many bytes of scrubbed log are stored.
    pub log_size: u64,
    /// Which lease last drove it; 0 before the first.
    pub epoch: i64,
    /// What came of it; set with the terminal state.
    pub outcome: Option<Outcome>,
}

/// A step of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// Its place in the plan, from 0.
    pub index: u32,
    /// Its name in the plan.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// What it exited with.
    pub exit_code: Option<i32>,
    /// When it was started.
    pub started_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 12] = [
        Event::Allowed,
        Event::Denied,
        Event::ApprovalExpired,
        Event::Claimed,
        Event::Prepared,
        Event::StepsOver,
        Event::WorkSucceeded,
        Event::WorkFailed,
        Event::TimeoutEnded,
        Event::CancelDone,
        Event::Lost,
        Event::InfraFailed,
    ];

    #[test]
    fn a_terminal_state_takes_no_event() {
        for state in ExecutionState::ALL.into_iter().filter(|state| state.is_terminal()) {
            for event in EVENTS {
                assert!(next(state, event).is_err(), "{state:?} took {event:?}");
            }
        }
    }

    #[test]
    fn every_state_that_is_not_terminal_can_end() {
        for state in ExecutionState::ALL.into_iter().filter(|state| !state.is_terminal()) {
            let ends = EVENTS.iter().filter_map(|event| next(state, *event).ok());
            assert!(ends.into_iter().any(ExecutionState::is_terminal), "{state:?} is a trap");
        }
    }

    #[test]
    fn success_is_reached_only_by_collecting_results() {
        for state in ExecutionState::ALL {
            for event in EVENTS {
                if next(state, event) == Ok(ExecutionState::Succeeded) {
                    assert_eq!((state, event), (ExecutionState::Collecting, Event::WorkSucceeded));
                }
            }
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in ExecutionState::ALL {
            assert_eq!(ExecutionState::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).expect("serializes"), state.as_str());
        }
        for state in StepState::ALL {
            assert_eq!(StepState::parse(state.as_str()), Some(state));
        }
    }
}
