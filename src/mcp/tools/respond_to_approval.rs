//! `respond_to_approval`.

use rmcp::model::Tool;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ApprovalAnswered, RespondToApproval};
use crate::mcp::answer::{self, Called};

pub(super) fn tool() -> Tool {
    describe::<RespondToApproval, ApprovalAnswered>(&About {
        name: "respond_to_approval",
        title: "Answer an approval",
        description: "Use this to pass on a decision that a person made about an execution that is awaiting_approval. Who asked for an execution cannot answer for it.",
        effect: Effect::Acts,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<RespondToApproval>() {
        Ok(arguments) => call.control.respond_to_approval(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    Ok(answer::result(answer).into())
}
