//! `openclaw_task_list`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawTaskList, OpenclawTasks};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawTaskList, OpenclawTasks>(&About {
        name: "openclaw_task_list",
        title: "OpenClaw tasks",
        description: "List your async tasks, optionally filtered by status, session or instance, with how many there are of each \
                      status.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.texts_and::<OpenclawTaskList>(&["limit"]) {
        Ok(arguments) => call.control.openclaw_task_list(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(openclaw::result(answer).into())
}
