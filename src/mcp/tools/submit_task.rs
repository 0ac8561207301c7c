//! `submit_task`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{SubmitTask, TaskSubmitted};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<SubmitTask, TaskSubmitted>(&About {
        name: "submit_task",
        title: "Submit a task",
        description: "Use this first when work should be done on a real system: it resolves the target, chooses how to do the work and answers with the plan in words, what it still needs and which approvals it will ask for. Nothing runs yet.",
        effect: Effect::Adds,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<SubmitTask>() {
        Ok(arguments) => call.control.submit_task(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
