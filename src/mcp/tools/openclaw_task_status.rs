//! `openclaw_task_status`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawTask, OpenclawTaskStatus};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawTaskStatus, OpenclawTask>(&About {
        name: "openclaw_task_status",
        title: "Status of an OpenClaw task",
        description: "Check where an async task stands: how much has arrived and when, and the reply once it is completed.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.texts::<OpenclawTaskStatus>() {
        Ok(arguments) => call.control.openclaw_task_status(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(openclaw::result(answer).into())
}
