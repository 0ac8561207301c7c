//! `messages_read`.

use rmcp::model::Tool;

use super::conversations::{Talk, result, told};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{MessageList, MessagesRead};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<MessagesRead, MessageList>(&About {
        name: "messages_read",
        title: "Read messages",
        description: "Read the newest messages of one OpenClaw conversation.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<MessagesRead>() {
        Ok(arguments) => talk.conversations.read(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| told("messages", "messages", value))
}
