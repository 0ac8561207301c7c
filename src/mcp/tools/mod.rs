//! The tools, a file each: what a model reads about it, and its call.

mod attachments_fetch;
mod cancel_execution;
mod conversation_get;
pub(super) mod conversations;
mod conversations_list;
mod events_poll;
mod events_wait;
mod get_result;
mod get_status;
mod list_targets;
mod list_tasks;
mod messages_read;
mod messages_send;
mod openclaw;
mod openclaw_chat;
mod openclaw_chat_async;
mod openclaw_instances;
mod openclaw_status;
mod openclaw_task_cancel;
mod openclaw_task_list;
mod openclaw_task_status;
mod permissions_list_open;
mod permissions_respond;
mod respond_to_approval;
mod start_execution;
mod submit_task;
mod upload_artifact;

use std::future::ready;

use futures_util::future::BoxFuture;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::answer::{self, Called};
use super::{arguments, schema};
use crate::control::Control;
use crate::control::conversations::Conversations;
use crate::domain::{Actor, Code, Refusal, Scope};
use crate::redact::Clean;
use conversations::Talk;
pub(super) use get_result::with_links;

/// One call of a tool.
pub(super) struct Call<'a> {
    pub(super) control: &'a Control,
    pub(super) conversations: &'a Conversations,
    pub(super) actor: &'a Actor,
    pub(super) tool: &'a Tool,
    pub(super) arguments: JsonObject,
    pub(super) context: &'a RequestContext<RoleServer>,
}

impl Call<'_> {
    /// Its arguments, checked against the tool's schema.
    fn arguments<T: DeserializeOwned>(&mut self) -> Result<T, Clean<Refusal>> {
        arguments::read(&self.tool.input_schema, std::mem::take(&mut self.arguments))
    }
}

impl<'a> From<Call<'a>> for Talk<'a> {
    fn from(call: Call<'a>) -> Self {
        Self {
            conversations: call.conversations,
            actor: call.actor,
            tool: call.tool,
            arguments: call.arguments,
            context: call.context,
        }
    }
}

/// The tools of an installation, in the order of their names. Without a gateway there is nothing to talk to.
pub(super) fn offered(control: &Control) -> Vec<Tool> {
    let mut tools = all();
    tools.retain(|tool| control.has_gateways() || !is_openclaw(&tool.name));
    tools
}

fn is_openclaw(name: &str) -> bool {
    name.starts_with("openclaw_") || conversations::is_one(name)
}

/// Every tool, in the order of their names.
fn all() -> Vec<Tool> {
    let mut tools = vec![
        cancel_execution::tool(),
        get_result::tool(),
        get_status::tool(),
        list_targets::tool(),
        list_tasks::tool(),
        openclaw_chat::tool(),
        openclaw_chat_async::tool(),
        openclaw_instances::tool(),
        openclaw_status::tool(),
        openclaw_task_cancel::tool(),
        openclaw_task_list::tool(),
        openclaw_task_status::tool(),
        respond_to_approval::tool(),
        start_execution::tool(),
        submit_task::tool(),
        upload_artifact::tool(),
    ];
    tools.extend(conversations::all());
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools
}

/// Whether `actor` may see the tool `name`. Who asked for an execution sees `respond_to_approval` too; that they may
/// not use it on their own is decided in `control`.
pub(super) fn visible(name: &str, actor: &Actor) -> bool {
    match name {
        "list_targets" => true,
        "respond_to_approval" => actor.has(Scope::Tasks) || actor.has(Scope::Approve),
        name if conversations::is_one(name) => conversations::visible(name, actor),
        name if is_openclaw(name) => actor.has(Scope::Openclaw),
        _ => actor.has(Scope::Tasks),
    }
}

/// Does the call. Each tool's future has a box of its own: the protocol's library moves that of a request several times, and a
/// short call would carry the room of the longest along.
pub(super) fn call(call: Call<'_>) -> BoxFuture<'_, Called> {
    let name = call.tool.name.as_ref();
    if !visible(name, call.actor) {
        let refusal = Refusal::new(
            Code::NotAllowed,
            format!("your key doesn't reach {name}"),
            match is_openclaw(name) {
                true => "ask the operator for a key with the scope openclaw",
                false => "ask the operator for a key with the scope tasks",
            },
        );
        let refused = answer::refused(&answer::own(refusal));
        return Box::pin(ready(Ok(refused.into())));
    }
    if conversations::is_one(name) {
        return conversations::call(call.into());
    }
    match name {
        "cancel_execution" => Box::pin(cancel_execution::call(call)),
        "get_result" => Box::pin(get_result::call(call)),
        "get_status" => Box::pin(get_status::call(call)),
        "list_targets" => Box::pin(list_targets::call(call)),
        "list_tasks" => Box::pin(list_tasks::call(call)),
        "openclaw_chat" => Box::pin(openclaw_chat::call(call)),
        "openclaw_instances" => Box::pin(ready(openclaw_instances::call(call))),
        "openclaw_chat_async" => Box::pin(openclaw_chat_async::call(call)),
        "openclaw_status" => Box::pin(openclaw_status::call(call)),
        "openclaw_task_cancel" => Box::pin(openclaw_task_cancel::call(call)),
        "openclaw_task_list" => Box::pin(openclaw_task_list::call(call)),
        "openclaw_task_status" => Box::pin(openclaw_task_status::call(call)),
        "respond_to_approval" => Box::pin(respond_to_approval::call(call)),
        "start_execution" => Box::pin(start_execution::call(call)),
        "submit_task" => Box::pin(submit_task::call(call)),
        "upload_artifact" => Box::pin(upload_artifact::call(call)),
        _ => Box::pin(ready(Err(ErrorData::invalid_params("tool not found", None)))),
    }
}

/// The words about a tool.
struct About {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
}

/// What a call does, for the hints that clients show before they allow it.
enum Effect {
    /// It changes nothing.
    Reads,
    /// It changes nothing, and looks at what isn't clawhand's.
    Asks,
    /// It adds a new thing each time.
    Adds,
    /// It adds or replaces; a second time changes nothing.
    Puts,
    /// It makes things happen on a target.
    Acts,
    /// It ends something; a second time changes nothing.
    Ends,
}

/// Describes a tool that takes `In` and gives `Out`.
fn describe<In: JsonSchema, Out: JsonSchema>(about: &About) -> Tool {
    let (read_only, destructive, idempotent, open_world) = match about.effect {
        Effect::Reads => (true, false, true, false),
        Effect::Asks => (true, false, true, true),
        Effect::Adds => (false, false, false, false),
        Effect::Puts => (false, false, true, false),
        Effect::Acts => (false, true, false, true),
        Effect::Ends => (false, true, true, false),
    };
    let hints = ToolAnnotations::with_title(about.title)
        .read_only(read_only)
        .destructive(destructive)
        .idempotent(idempotent)
        .open_world(open_world);
    Tool::new(about.name, about.description, schema::input::<In>())
        .with_title(about.title)
        .with_raw_output_schema(schema::output::<Out>().into())
        .with_annotations(hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_sorted_and_described() {
        let tools = all();
        assert!(tools.is_sorted_by(|a, b| a.name < b.name), "the list is deterministic");
        for tool in &tools {
            let name = &tool.name;
            assert!(
                name.len() <= 64 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            let description = tool.description.as_deref().unwrap_or_default();
            assert!(
                !description.is_empty() && description.len() < 2048,
                "{name} has a description of its own"
            );
            let hints = tool.annotations.as_ref().expect("annotated");
            assert!(
                hints.read_only_hint.is_some() && hints.destructive_hint.is_some(),
                "{name}"
            );
            assert!(
                hints.idempotent_hint.is_some() && hints.open_world_hint.is_some(),
                "{name}"
            );
            assert_eq!(tool.input_schema["type"], "object", "{name}");
            assert_eq!(
                tool.output_schema.as_ref().expect("has one")["type"],
                "object",
                "{name}"
            );
        }
    }

    #[test]
    fn scopes_decide_what_is_seen() {
        let seen = |scopes: &[Scope]| {
            let mut actor = Actor::local_model("test");
            actor.scopes = scopes.to_vec();
            all().iter().filter(|tool| visible(&tool.name, &actor)).count()
        };
        assert_eq!(seen(&[]), 1);
        assert_eq!(seen(&[Scope::Approve]), 4);
        assert_eq!(seen(&[Scope::Tasks]), 9);
        assert_eq!(seen(&[Scope::Openclaw]), 17);
    }
}
