//! `messages_send`.

use rmcp::model::Tool;

use super::conversations::{Talk, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{MessageSent, MessagesSend};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<MessagesSend, MessageSent>(&About {
        name: "messages_send",
        title: "Send a message",
        description: "Send a message back on the channel that an OpenClaw conversation comes from. The person \
                      there reads it.",
        effect: Effect::Acts,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<MessagesSend>() {
        Ok(arguments) => talk.conversations.send(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |_| "sent".to_owned())
}
