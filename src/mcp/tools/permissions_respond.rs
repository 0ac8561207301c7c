//! `permissions_respond`.

use rmcp::model::Tool;

use super::conversations::{Talk, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{PermissionAnswered, PermissionsRespond};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<PermissionsRespond, PermissionAnswered>(&About {
        name: "permissions_respond",
        title: "Answer an approval",
        description: "Pass on a person's answer to one open approval of an OpenClaw agent. Never decide for \
                      the person: who may talk to the agents can't allow what they want to do, unless the \
                      operator said so.",
        effect: Effect::Acts,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<PermissionsRespond>() {
        Ok(arguments) => talk.conversations.respond(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |_| "approval resolved".to_owned())
}
