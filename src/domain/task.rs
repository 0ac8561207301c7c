//! What a caller wants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Digest, TaskId, UnixMs};

/// Limits a caller may set lower than the target's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// For each step, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// For each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_bytes: Option<u64>,
}

/// What a caller asked for, as it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// What the caller calls the project.
    pub project_name: String,
    /// What is wanted, in words.
    pub goal: String,
    /// Where, as the caller wrote it.
    pub target_ref: String,
    /// What kind of work: `run`, `test`, `install_and_test`, ...
    pub execution_intent: String,
    /// Background for whoever does the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Limits below the target's.
    #[serde(default)]
    pub constraints: Constraints,
    /// Values of the parameters that the recipe declares.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
}

/// A task: what a caller wants, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub owner: String,
    /// The program that submitted it.
    pub client: String,
    /// What was asked for.
    pub spec: TaskSpec,
    /// The semantic name that `target_ref` resolved to when it was submitted.
    pub target: String,
    /// The caller's key for asking again.
    pub idempotency_key: Option<String>,
    /// Of the request that came with the key.
    pub request_digest: Digest,
    /// When it was submitted.
    pub created_at: UnixMs,
}
