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

    /// The answer with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::AllowOnce, Self::AllowAlways, Self::Deny]
            .into_iter()
            .find(|decision| decision.as_str() == word)
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
    /// The execution was cancelled while it waited, or what runs asks no longer.
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

/// What a run asks while it goes on, beyond what was allowed when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunQuestion {
    /// What the run calls it. Private.
    pub key: String,
    /// Whether it takes an answer that lasts.
    pub may_always: bool,
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
    /// Of the plan that will run; of what a run asks, of exactly what it wants to do.
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
    /// For what a run asks; none for the approval without which it doesn't begin.
    pub of_run: Option<RunQuestion>,
}
