//! `events_poll`.

use rmcp::model::Tool;

use super::conversations::{Talk, counted, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{EventPage, EventsPoll};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<EventsPoll, EventPage>(&About {
        name: "events_poll",
        title: "Poll events",
        description: "Read what happened in OpenClaw conversations since a cursor: messages, and approvals \
                      that were asked for or answered. Nothing is used up; begin with 0 and pass next_cursor \
                      on. A gap says that events are missing.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let answer = match talk.arguments::<EventsPoll>() {
        Ok(arguments) => talk.conversations.poll(talk.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    result(answer, |value| counted("events", "events", value))
}
