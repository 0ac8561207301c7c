//! `conversation_get`.

use rmcp::model::Tool;

use super::conversations::{Talk, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{ConversationFound, ConversationGet};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<ConversationGet, ConversationFound>(&About {
        name: "conversation_get",
        title: "Conversation",
        description: "Get one OpenClaw conversation by its session key.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<ConversationGet>() {
        Ok(arguments) => talk.conversations.get(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| {
        format!(
            "conversation {}",
            value["conversation"]["sessionKey"].as_str().unwrap_or_default()
        )
    })
}
