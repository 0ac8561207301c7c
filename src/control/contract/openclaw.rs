//! The contract of the `openclaw_` tools: names, arguments and words as openclaw-mcp 1.7.0 has them, and more beside.
//! Unknown fields are ignored, as there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Where it is, if the operator shows that; else [private].
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
