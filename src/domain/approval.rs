//! Durable questions to a person, bound to the digest of exactly what will run.

use serde::{Deserialize, Serialize};

use super::{ApprovalId, Digest, ExecutionId, TaskId, UnixMs};

/// What a person may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// This execution may run.
    AllowOnce,
    /// This execution may run, and later ones of the same owner with the same plan digest don't ask.
    AllowAlways,
    /// It may not.
    Deny,
}

impl Decision {
    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow_once",
            Self::AllowAlways => "allow_always",
            Self::Deny => "deny",
        }
    }
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody answered yet.
    Open,
    /// A person said yes.
    Allowed,
    /// A person said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The execution was cancelled while it waited.
    Withdrawn,
}

impl ApprovalState {
    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What waits for it.
    pub execution: ExecutionId,
    /// The task of that execution.
    pub task: TaskId,
    /// Who asked for the execution; never the one who answers.
    pub owner: String,
    /// Of the plan that will run.
    pub plan_digest: Digest,
    /// The target's semantic name.
    pub target: String,
    /// The intent that was asked for.
    pub intent: String,
    /// In words, what will happen and why a person is asked.
    pub question: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// When it was asked.
    pub created_at: UnixMs,
    /// When it lapses unanswered.
    pub expires_at: UnixMs,
    /// Who answered.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<UnixMs>,
    /// What they said about it.
    pub reason: Option<String>,
}
