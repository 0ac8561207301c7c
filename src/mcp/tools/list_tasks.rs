//! `list_tasks`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ListTasks, TaskList};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<ListTasks, TaskList>(&About {
        name: "list_tasks",
        title: "List tasks",
        description: "Use this to find earlier tasks of yours and the execution that each last had.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<ListTasks>() {
        Ok(arguments) => call.control.list_tasks(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
