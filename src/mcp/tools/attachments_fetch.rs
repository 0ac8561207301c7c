//! `attachments_fetch`.

use rmcp::model::Tool;

use super::conversations::{Talk, counted, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{AttachmentList, AttachmentsFetch};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<AttachmentsFetch, AttachmentList>(&About {
        name: "attachments_fetch",
        title: "Attachments",
        description: "List what came with a message of an OpenClaw conversation beside its text: images, \
                      files, tool calls.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<AttachmentsFetch>() {
        Ok(arguments) => talk.conversations.attachments(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| counted("attachments", "attachments", value))
}
