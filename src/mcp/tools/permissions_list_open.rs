//! `permissions_list_open`.

use rmcp::model::Tool;

use super::conversations::{Talk, counted, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{OpenApprovals, PermissionsListOpen};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<PermissionsListOpen, OpenApprovals>(&About {
        name: "permissions_list_open",
        title: "Open approvals",
        description: "List the approvals of OpenClaw agents (commands, actions of plugins) that wait for a \
                      person.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<PermissionsListOpen>() {
        Ok(arguments) => talk.conversations.open_approvals(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| counted("approvals", "approvals", value))
}
