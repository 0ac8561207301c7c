//! `cancel_execution`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{CancelExecution, StateView};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<CancelExecution, StateView>(&About {
        name: "cancel_execution",
        title: "Cancel an execution",
        description: "Use this to end an execution that should not go on. Its whole process tree is ended; poll get_status until the state is final.",
        effect: Effect::Ends,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<CancelExecution>() {
        Ok(arguments) => call.control.cancel_execution(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
