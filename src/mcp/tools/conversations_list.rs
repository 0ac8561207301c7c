//! `conversations_list`.

use rmcp::model::Tool;

use super::conversations::{Talk, result, told};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{ConversationList, ConversationsList};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<ConversationsList, ConversationList>(&About {
        name: "conversations_list",
        title: "Conversations",
        description: "List the conversations on channels of OpenClaw (Telegram, Slack and others) that \
                      messages can be sent back to, newest first. Follow one with messages_read and \
                      events_wait, answer with messages_send.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<ConversationsList>() {
        Ok(arguments) => talk.conversations.list(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| told("conversations", "conversations", value))
}
