//! `list_targets`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ListTargets, TargetList};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<ListTargets, TargetList>(&About {
        name: "list_targets",
        title: "List targets",
        description: "Use this to find out where work can run and which intents each target takes.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<ListTargets>() {
        Ok(arguments) => call.control.list_targets(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
