//! `openclaw_chat_async`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawChatAsync, OpenclawTaskQueued};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawChatAsync, OpenclawTaskQueued>(&About {
        name: "openclaw_chat_async",
        title: "Chat with OpenClaw in the background",
        description: "Send a message to OpenClaw and get a task_id at once, for work that takes long; openclaw_task_status tells the \
                      reply. The task goes on whatever becomes of this connection, and survives restarts.",
        effect: Effect::Acts,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.texts_and::<OpenclawChatAsync>(&["priority"]) {
        Ok(arguments) => call.control.openclaw_chat_async(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(openclaw::result(answer).into())
}
