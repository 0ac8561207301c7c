//! What the tools for conversations share: they need gateways and nothing else of an installation, and say things in the
//! way of `openclaw mcp serve`.

use std::future::ready;

use futures_util::future::BoxFuture;
use rmcp::RoleServer;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use rmcp::service::RequestContext;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    attachments_fetch, conversation_get, conversations_list, events_poll, events_wait, messages_read, messages_send,
    permissions_list_open, permissions_respond,
};
use crate::control::Answer;
use crate::control::conversations::Conversations;
use crate::domain::{Actor, Refusal, Scope};
use crate::mcp::answer::{self, Called};
use crate::mcp::arguments;
use crate::redact::Clean;

/// One call of such a tool.
pub(in crate::mcp) struct Talk<'a> {
    pub(in crate::mcp) conversations: &'a Conversations,
    pub(in crate::mcp) actor: &'a Actor,
    pub(in crate::mcp) tool: &'a Tool,
    pub(in crate::mcp) arguments: JsonObject,
    pub(in crate::mcp) context: &'a RequestContext<RoleServer>,
}

impl Talk<'_> {
    /// Its arguments, checked against the tool's schema.
    pub(super) fn arguments<T: DeserializeOwned>(&mut self) -> Result<T, Clean<Refusal>> {
        arguments::read(&self.tool.input_schema, std::mem::take(&mut self.arguments))
    }
}

/// The tools, in the order of their names.
pub(in crate::mcp) fn all() -> Vec<Tool> {
    vec![
        attachments_fetch::tool(),
        conversation_get::tool(),
        conversations_list::tool(),
        events_poll::tool(),
        events_wait::tool(),
        messages_read::tool(),
        messages_send::tool(),
        permissions_list_open::tool(),
        permissions_respond::tool(),
    ]
}

/// Whether `name` is one of them.
pub(super) fn is_one(name: &str) -> bool {
    ["attachments_", "conversation", "events_", "messages_", "permissions_"]
        .iter()
        .any(|family| name.starts_with(family))
}

/// Whether `actor` may see it. Those who only answer approvals see what they need for that.
pub(super) fn visible(name: &str, actor: &Actor) -> bool {
    actor.has(Scope::Openclaw) || (name.starts_with("permissions_") && actor.has(Scope::Approve))
}

/// Does the call, in a box of its own as every tool's.
pub(in crate::mcp) fn call(talk: Talk<'_>) -> BoxFuture<'_, Called> {
    match talk.tool.name.as_ref() {
        "attachments_fetch" => Box::pin(attachments_fetch::call(talk)),
        "conversation_get" => Box::pin(conversation_get::call(talk)),
        "conversations_list" => Box::pin(conversations_list::call(talk)),
        "events_poll" => Box::pin(events_poll::call(talk)),
        "events_wait" => Box::pin(events_wait::call(talk)),
        "messages_read" => Box::pin(messages_read::call(talk)),
        "messages_send" => Box::pin(messages_send::call(talk)),
        "permissions_list_open" => Box::pin(permissions_list_open::call(talk)),
        "permissions_respond" => Box::pin(permissions_respond::call(talk)),
        _ => Box::pin(ready(Err(rmcp::ErrorData::invalid_params("tool not found", None)))),
    }
}

/// Structured content, with a short text of it beside.
pub(super) fn result(answer: Answer, text: impl FnOnce(&Value) -> String) -> Called {
    let (text, mut result) = match answer {
        Ok(value) => (text(&value), CallToolResult::structured(value.into_inner())),
        Err(refusal) => (refusal.message.clone(), answer::refused(&refusal)),
    };
    result.content = vec![ContentBlock::text(text)];
    Ok(result.into())
}

/// `label: N`, of the items in the field `field`.
pub(super) fn counted(label: &str, field: &str, value: &Value) -> String {
    format!("{label}: {}", value[field].as_array().map_or(0, Vec::len))
}

/// The same, and all of it for clients that read only text.
pub(super) fn told(label: &str, field: &str, value: &Value) -> String {
    let all = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{}\n\n{all}", counted(label, field, value))
}
