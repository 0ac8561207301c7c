//! The one form in which clawhand says no: a code for machines, a message and a hint for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something was refused. The words are part of the contract with callers: add, never rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A field is missing, unknown, of the wrong type or outside its bounds.
    InvalidArgument,
    /// There is no such thing, or it isn't yours.
    NotFound,
    /// Nobody is known by this credential.
    Unauthenticated,
    /// The actor may not do this.
    NotAllowed,
    /// No target fits the reference.
    UnknownTarget,
    /// Several targets fit the reference.
    AmbiguousTarget,
    /// The target is switched off.
    DisabledTarget,
    /// The target doesn't take this intent.
    IntentNotAllowed,
    /// No recipe fits the project and the intent.
    NoRecipe,
    /// The target lacks a tool that the recipe needs.
    MissingFacts,
    /// The task still needs something before it can start.
    NotReady,
    /// The task was started; it can't be changed any more.
    AlreadyStarted,
    /// The execution or approval has ended or was decided.
    AlreadyEnded,
    /// The idempotency key was used with other arguments.
    IdempotencyConflict,
    /// What arrived doesn't have the digest that was promised.
    DigestMismatch,
    /// Larger than allowed.
    TooLarge,
    /// An archive that would write outside its folder, or expand without bound.
    UnsafeArchive,
    /// A link that is used up, expired or forged.
    InvalidLink,
    /// Too much at once; later it may go.
    Busy,
    /// No space is left where clawhand keeps its data.
    StorageFull,
    /// The database or the artifact store can't be reached.
    StorageUnavailable,
    /// The plan is not the one that was approved.
    PlanChanged,
    /// No OpenClaw instance has this name.
    UnknownInstance,
    /// The OpenClaw gateway can't be reached, or isn't ready; nothing was done.
    GatewayUnreachable,
    /// The OpenClaw gateway, or the run there, said no.
    GatewayRefused,
    /// No reply came of it, and it may not be known what was done.
    GatewayFailed,
    /// A mistake in clawhand itself or in what its operator configured.
    Internal,
}

impl Code {
    /// The code as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::NotAllowed => "not_allowed",
            Self::UnknownTarget => "unknown_target",
            Self::AmbiguousTarget => "ambiguous_target",
            Self::DisabledTarget => "disabled_target",
            Self::IntentNotAllowed => "intent_not_allowed",
            Self::NoRecipe => "no_recipe",
            Self::MissingFacts => "missing_facts",
            Self::NotReady => "not_ready",
            Self::AlreadyStarted => "already_started",
            Self::AlreadyEnded => "already_ended",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::DigestMismatch => "digest_mismatch",
            Self::TooLarge => "too_large",
            Self::UnsafeArchive => "unsafe_archive",
            Self::InvalidLink => "invalid_link",
            Self::Busy => "busy",
            Self::StorageFull => "storage_full",
            Self::StorageUnavailable => "storage_unavailable",
            Self::PlanChanged => "plan_changed",
            Self::UnknownInstance => "unknown_instance",
            Self::GatewayUnreachable => "gateway_unreachable",
            Self::GatewayRefused => "gateway_refused",
            Self::GatewayFailed => "gateway_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later without being changed.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::StorageFull | Self::StorageUnavailable | Self::GatewayUnreachable
        )
    }
}

/// A no, with its reason. Every door shows it in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For machines.
    pub code: Code,
    /// What happened and where.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// What to do about it.
    pub hint: String,
}

impl Refusal {
    /// A refusal whose `retryable` follows from its code.
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            hint: hint.into(),
        }
    }

    /// A field that can't be taken as it is.
    pub fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message, hint)
    }

    /// No such thing for this actor. The same words whether it doesn't exist or belongs to somebody else.
    pub fn not_found(noun: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("there is no such {noun}"),
            format!("check the {noun}'s id; only your own are visible"),
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.as_str())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_str_is_what_json_says() {
        let json = serde_json::to_value(Code::IdempotencyConflict).expect("serializes");
        assert_eq!(json, Code::IdempotencyConflict.as_str());
    }
}
