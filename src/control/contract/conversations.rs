//! The contract of the tools for conversations: names, arguments and words as `openclaw mcp serve` 2026.9.6 has them, and
//! more beside. Unknown fields are ignored, as there.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value that may also be null, which strict readers of a schema would refuse where a type is named.
fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({})
}

/// Objects as the gateway made them.
fn objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "object" } })
}

/// An object as the gateway made it.
fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Arguments of `conversations_list`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct ConversationsList {
    /// How many at most: 1 to 500; 50 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<u64>,
    /// Only those in which the gateway finds this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Only those of this channel, such as telegram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whether to make up titles for conversations without one; yes if not said.
    #[serde(default, rename = "includeDerivedTitles", skip_serializing_if = "Option::is_none")]
    pub include_derived_titles: Option<bool>,
    /// Whether to tell the beginning of the last message; yes if not said.
    #[serde(default, rename = "includeLastMessage", skip_serializing_if = "Option::is_none")]
    pub include_last_message: Option<bool>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// A conversation: a session of a gateway that messages can be sent back to.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// What the other tools take as session_key.
    pub session_key: String,
    /// The channel, such as telegram.
    pub channel: String,
    /// Whom messages go to, as the channel writes it.
    pub to: String,
    /// The account of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The thread of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// What its owner calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the channel calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A title made up from what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derived_title: Option<String>,
    /// How the last message begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message_preview: Option<String>,
    /// When something last happened in it, in milliseconds since 1970; null if that isn't known.
    #[schemars(schema_with = "anything")]
    pub updated_at: Option<i64>,
}

/// Answer of `conversations_list`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ConversationList {
    /// The newest first.
    pub conversations: Vec<Conversation>,
    /// There are so many sessions that the oldest were not looked at: search for what you miss.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Arguments of `conversation_get`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct ConversationGet {
    /// The sessionKey of a conversation.
    pub session_key: String,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `conversation_get`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ConversationFound {
    /// The conversation.
    pub conversation: Conversation,
}

/// Arguments of `messages_read`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct MessagesRead {
    /// The sessionKey of a conversation.
    pub session_key: String,
    /// How many of the newest messages: 1 to 200; 20 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u64>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `messages_read`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct MessageList {
    /// The oldest first, as the gateway keeps them: role, content, timestamp, and __openclaw with the id.
    #[schemars(schema_with = "objects")]
    pub messages: Vec<Value>,
}

/// Arguments of `attachments_fetch`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct AttachmentsFetch {
    /// The sessionKey of a conversation.
    pub session_key: String,
    /// The id of a message: __openclaw.id in messages_read, messageId in events.
    pub message_id: String,
    /// How far back to look in gateways that can't find a message by its id: 1 to 200; 100 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u64>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `attachments_fetch`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct AttachmentList {
    /// The parts of the message that aren't text, and an openclaw_media for each file that came with it.
    #[schemars(schema_with = "objects")]
    pub attachments: Vec<Value>,
    /// The message, as the gateway keeps it.
    #[schemars(schema_with = "object")]
    pub message: Value,
}

/// Arguments of `events_poll`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct EventsPoll {
    /// The next_cursor of the last answer; 0, or nothing, for all events that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub after_cursor: Option<u64>,
    /// Only events of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// How many at most: 1 to 200; 20 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u64>,
    /// Whether to add to each event what the gateway said, as raw; no if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Arguments of `events_wait`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct EventsWait {
    /// The cursor of the last event that you know; 0, or nothing, for the oldest that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub after_cursor: Option<u64>,
    /// Only events of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// How long to wait, in milliseconds: 1 to 300000; 30000 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300_000))]
    pub timeout_ms: Option<u64>,
    /// Whether to add to the event what the gateway said, as raw; no if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationEvent {
    /// Its place: pass it as after_cursor to go on behind it.
    pub cursor: u64,
    /// message, exec_approval_requested, exec_approval_resolved, plugin_approval_requested, plugin_approval_resolved,
    /// claude_permission_request, or gap where events are missing because there was no connection or too much at once.
    #[serde(rename = "type")]
    pub kind: String,
    /// The session that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The conversation, if a message can be answered on its channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// The id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Its place in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_seq: Option<u64>,
    /// Who said it: user, assistant or toolResult.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What has to be answered, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalNews>,
    /// How many events are missing, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// The five letters that an answer to a client's question names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The tool that the client asks leave for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    /// What the question is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How the arguments of the client's tool begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_preview: Option<String>,
    /// What the gateway said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object")]
    pub raw: Option<Value>,
}

/// What is told of an approval in an event; permissions_list_open tells all of it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalNews {
    /// exec or plugin.
    pub kind: String,
    /// Its id, for permissions_respond.
    pub id: String,
    /// The command that would run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a plugin would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The answers that are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<String>,
    /// Until when it can be answered, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// How it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// By whom, as the gateway calls them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
}

/// Events that are gone.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct EventGap {
    /// The cursor that was asked with.
    pub requested_after_cursor: u64,
    /// The oldest that there is.
    pub oldest_available_cursor: u64,
}

/// Answer of `events_poll`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct EventPage {
    /// In the order in which they happened.
    pub events: Vec<ConversationEvent>,
    /// What to pass as after_cursor the next time.
    pub next_cursor: u64,
    /// Events behind your cursor are gone: the queue overflowed, or the cursor is of another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<EventGap>,
}

/// Answer of `events_wait`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct EventCame {
    /// The event; null if none came.
    #[schemars(schema_with = "anything")]
    pub event: Option<ConversationEvent>,
    /// What to pass as after_cursor the next time.
    pub next_cursor: u64,
    /// Events behind your cursor are gone: the queue overflowed, or the cursor is of another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<EventGap>,
}

/// Arguments of `messages_send`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct MessagesSend {
    /// The sessionKey of a conversation.
    pub session_key: String,
    /// The message, up to 100,000 characters.
    pub text: String,
    /// Any text of yours: the same message sent again with the same key arrives once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `messages_send`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct MessageSent {
    /// What the gateway answered: runId, messageId, channel.
    #[schemars(schema_with = "object")]
    pub result: Value,
}

/// Arguments of `permissions_list_open`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct PermissionsListOpen {
    /// Only approvals of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// An approval that waits for an answer.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// exec or plugin.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What would be done, in the gateway's own words: command, cwd, sessionKey, allowedDecisions and more.
    #[schemars(schema_with = "object")]
    pub request: Value,
    /// Since when it waits, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Until when, in milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// Answer of `permissions_list_open`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct OpenApprovals {
    /// The oldest first.
    pub approvals: Vec<OpenApproval>,
    /// What the connection lacks to see those that others asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scope: Option<String>,
}

/// What kind of thing waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PermissionKind {
    /// a command
    Exec,
    /// an action of a plugin
    Plugin,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PermissionDecision {
    /// this time
    AllowOnce,
    /// from now on; not every request takes it
    AllowAlways,
    /// no
    Deny,
}

/// Arguments of `permissions_respond`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct PermissionsRespond {
    /// What waits:
    pub kind: PermissionKind,
    /// The id of the approval.
    pub id: String,
    /// The answer of the person:
    pub decision: PermissionDecision,
    /// Which OpenClaw instance; the default one if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Answer of `permissions_respond`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct PermissionAnswered {
    /// What the gateway answered.
    #[schemars(schema_with = "object")]
    pub result: Value,
}
