//! `openclaw_task_cancel`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawTaskCancel, OpenclawTaskCancelled};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<OpenclawTaskCancel, OpenclawTaskCancelled>(&About {
        name: "openclaw_task_cancel",
        title: "Cancel an OpenClaw task",
        description: "Cancel an async task: one that waits, or one that OpenClaw works on, whose run is then ended.",
        effect: Effect::Ends,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.texts::<OpenclawTaskCancel>() {
        Ok(arguments) => call.control.openclaw_task_cancel(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(openclaw::result(answer).into())
}
