//! The contract of the `openclaw_` tools: names, arguments and words as openclaw-mcp 1.7.0 has them, and more beside.
//! Unknown fields are ignored, as there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ArtifactView, is_zero};

/// Arguments of `openclaw_chat`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawChat {
    /// The message to send to OpenClaw, up to 100,000 characters.
    pub message: String,
    /// Optional session ID for conversation context: the same one goes on with the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Target OpenClaw instance name. Use openclaw_instances to list available instances. Defaults to the default
    /// instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `openclaw_chat`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawReply {
    /// What OpenClaw replied.
    pub response: String,
    /// Which instance replied.
    pub instance: String,
    /// The session that it belongs to, if you named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Which agent replied, as the gateway names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why the reply ended: stop, or length when it was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<OpenclawUsage>,
}

/// Tokens, as the model's provider counts them.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawUsage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Both together.
    pub total_tokens: u64,
}

/// Arguments of `openclaw_status`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawStatus {
    /// Target OpenClaw instance name. Defaults to the default instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `openclaw_status`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawHealth {
    /// ok when a chat would be answered, else error.
    pub status: String,
    /// In a sentence.
    pub message: String,
    /// Which instance.
    pub instance: String,
    /// ready, not_ready, wrong_token, endpoint_disabled, refused or unreachable.
    pub state: String,
    /// The version of OpenClaw, where the gateway's WebSocket tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What of the gateway is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// How long the gateway has been running, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// The agents that answer there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// Arguments of `openclaw_instances`: none.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawInstances {}

/// One instance.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawInstance {
    /// Its name, for the field instance of the other tools.
    pub name: String,
    /// Where it is, if the operator shows that; else `[private]`.
    pub url: String,
    /// Whether it is meant when you name none.
    #[serde(rename = "isDefault")]
    pub is_default: bool,
}

/// Answer of `openclaw_instances`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawInstanceList {
    /// All of them, in the order of the configuration.
    pub instances: Vec<OpenclawInstance>,
    /// How many.
    pub total: u64,
}

/// Arguments of `openclaw_chat_async`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawChatAsync {
    /// The message to send to OpenClaw, up to 100,000 characters.
    pub message: String,
    /// Optional session ID for conversation context: the same one goes on with the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Task priority, a whole number: among your own tasks higher ones are done first. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// Target OpenClaw instance name. Defaults to the default instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `openclaw_chat_async`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskQueued {
    /// For the other task tools.
    pub task_id: String,
    /// pending.
    pub status: String,
    /// Which instance will reply.
    pub instance: String,
    /// In a sentence.
    pub message: String,
}

/// Arguments of `openclaw_task_status`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskStatus {
    /// The task ID returned from openclaw_chat_async.
    pub task_id: String,
}

/// Answer of `openclaw_task_status`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTask {
    /// The task.
    pub task_id: String,
    /// chat.
    #[serde(rename = "type")]
    pub kind: String,
    /// pending, running, completed, failed or cancelled.
    pub status: String,
    /// More exactly: queued, preparing, running, collecting, succeeded, failed, timed_out, cancelled, infra_failed (it
    /// never reached the agent), or unknown (whether the agent replied can't be established; it was not asked again).
    pub state: String,
    /// Which instance replies.
    pub instance: String,
    /// The session that it belongs to, if you named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its priority.
    pub priority: i64,
    /// When it was asked for.
    pub created_at: String,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// How many characters have arrived.
    pub progress_chars: u64,
    /// When the last of them did, or when it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<String>,
    /// What it waits for while it is pending, or which question of its agent waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// What OpenClaw replied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The files that came with it, also where the reply itself was too long or broke off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ArtifactView>,
    /// How many more there are than have room here; get_result of the execution pages through all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_left_out: u64,
    /// Why there is no reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Arguments of `openclaw_task_list`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskList {
    /// Filter by task status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["pending", "running", "completed", "failed", "cancelled"]))]
    pub status: Option<String>,
    /// Filter by session ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Filter by OpenClaw instance name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// At most so many, 1 to 500. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// next_cursor of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A task in a list.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskEntry {
    /// The task.
    pub task_id: String,
    /// chat.
    #[serde(rename = "type")]
    pub kind: String,
    /// pending, running, completed, failed or cancelled.
    pub status: String,
    /// Which instance replies.
    pub instance: String,
    /// The session that it belongs to, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its priority.
    pub priority: i64,
    /// When it was asked for.
    pub created_at: String,
    /// Whether there is a reply.
    pub has_result: bool,
}

/// How many tasks there are, whatever the filter.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskStats {
    /// All.
    pub total: u64,
    /// By status.
    #[serde(rename = "byStatus")]
    pub by_status: OpenclawTaskCounts,
}

/// How many tasks there are of each status.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskCounts {
    /// They wait.
    pub pending: u64,
    /// The agent works on them.
    pub running: u64,
    /// There is a reply.
    pub completed: u64,
    /// There is none.
    pub failed: u64,
    /// Somebody cancelled them.
    pub cancelled: u64,
}

/// Answer of `openclaw_task_list`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTasks {
    /// How many there are.
    pub stats: OpenclawTaskStats,
    /// The highest priority first, and among equals the oldest.
    pub tasks: Vec<OpenclawTaskEntry>,
    /// For the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Arguments of `openclaw_task_cancel`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskCancel {
    /// The task ID to cancel.
    pub task_id: String,
}

/// Answer of `openclaw_task_cancel`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenclawTaskCancelled {
    /// The task.
    pub task_id: String,
    /// cancelled; or running while the agent is still being stopped; or what it became before it could be cancelled.
    pub status: String,
    /// In a sentence.
    pub message: String,
}
