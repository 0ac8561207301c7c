//! `events_wait`, which a client can cancel.

use rmcp::ErrorData;
use rmcp::model::Tool;
use serde_json::Value;

use super::conversations::{Talk, result};
use super::{About, Effect, describe};
use crate::control::contract::conversations::{EventCame, EventsWait};
use crate::mcp::answer::Called;

pub(super) fn tool() -> Tool {
    describe::<EventsWait, EventCame>(&About {
        name: "events_wait",
        title: "Wait for an event",
        description: "Wait for the next thing that happens in OpenClaw conversations: a message, or an approval that is \
                      asked for or answered. Pass the cursor of the last event that you know. Cancelling the call ends \
                      the waiting.",
        effect: Effect::Asks,
    })
}

pub(super) async fn call(mut talk: Talk<'_>) -> Called {
    let arguments = match talk.arguments::<EventsWait>() {
        Ok(arguments) => arguments,
        Err(refusal) => return result(Err(refusal), text),
    };
    tokio::select! {
        answer = talk.conversations.wait(talk.actor, arguments) => result(answer, text),
        () = talk.context.ct.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
    }
}

fn text(value: &Value) -> String {
    match (
        value["event"]["cursor"].as_u64(),
        value["gap"]["oldest_available_cursor"].as_u64(),
    ) {
        (Some(cursor), _) => format!("event {cursor}"),
        (None, Some(oldest)) => format!("event gap before {oldest}"),
        (None, None) => "timeout".to_owned(),
    }
}
