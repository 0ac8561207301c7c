//! `openclaw_chat`, which tells how much of the reply has arrived.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ProgressNotificationParam, ProgressToken, Tool};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{About, Call, Effect, describe, openclaw};
use crate::control::contract::openclaw::{OpenclawChat, OpenclawReply};
use crate::mcp::answer::Called;

/// Text may arrive a word at a time; nobody reads progress faster than this.
const BETWEEN: Duration = Duration::from_millis(250);

pub(super) fn tool() -> Tool {
    describe::<OpenclawChat, OpenclawReply>(&About {
        name: "openclaw_chat",
        title: "Chat with OpenClaw",
        description: "Send a message to OpenClaw and get a response. It waits for the whole reply; cancelling the \
                      call ends the agent's run. Pass the same session_id to go on with a conversation.",
        effect: Effect::Acts,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let arguments = match call.texts::<OpenclawChat>() {
        Ok(arguments) => arguments,
        Err(refusal) => return Ok(openclaw::refused(&refusal).into()),
    };
    let characters = watch::Sender::new(0);
    let arrived = characters.subscribe();
    let chat = call.control.openclaw_chat(call.actor, arguments, &characters);
    let told = async {
        tell(&call, arrived).await;
        std::future::pending().await
    };
    tokio::select! {
        answer = chat => Ok(openclaw::result(answer).into()),
        ended = told => ended,
        () = call.context.ct.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
    }
}

/// Tells the number of characters whenever it has grown, if the client wants to know.
async fn tell(call: &Call<'_>, mut arrived: watch::Receiver<u64>) {
    let Some(token) = call.context.meta.get_progress_token() else {
        return;
    };
    let mut pace = tokio::time::interval(BETWEEN);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while arrived.changed().await.is_ok() {
        pace.tick().await;
        let characters = *arrived.borrow_and_update();
        // A client that no longer listens still gets its answer, or its cancellation ends the call.
        let _ = call.context.peer.notify_progress(news(&token, characters)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "no reply has 2^53 characters")]
fn news(token: &ProgressToken, characters: u64) -> ProgressNotificationParam {
    ProgressNotificationParam::new(token.clone(), characters as f64)
        .with_message(format!("{characters} characters have arrived"))
}
