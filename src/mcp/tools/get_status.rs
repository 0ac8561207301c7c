//! `get_status`, also as a wait that tells its progress.

use rmcp::ErrorData;
use rmcp::model::{ProgressNotificationParam, ProgressToken, Tool};
use serde_json::Value;
use std::time::{Duration, Instant};

use super::{About, Call, Effect, describe};
use crate::control::Answer;
use crate::control::contract::{GetStatus, Status};
use crate::domain::ExecutionState;
use crate::mcp::answer::{self, Called};

/// The longest wait; `control` has the same bound and refuses more.
const WAIT_MAX_MS: u64 = 25_000;
/// How much log `control` puts into a page when the caller doesn't say.
const PAGE: u64 = 20_480;

pub(super) fn tool() -> Tool {
    describe::<GetStatus, Status>(&About {
        name: "get_status",
        title: "Get the status",
        description: "Use this to follow an execution: its state, its step, and the log from a cursor on. Pass \
                      next_cursor of the last answer and wait_ms (up to 25000) to be answered when there is news \
                      instead of asking again and again.",
        effect: Effect::Reads,
    })
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let arguments = match call.arguments::<GetStatus>() {
        Ok(arguments) => arguments,
        Err(refusal) => return Ok(answer::refused(&refusal).into()),
    };
    let token = call.context.meta.get_progress_token();
    let follow = async {
        match (token, arguments.wait_ms) {
            (Some(token), Some(wait)) if (1..=WAIT_MAX_MS).contains(&wait) => follow(&call, arguments, token).await,
            _ => call.control.get_status(call.actor, arguments).await,
        }
    };
    tokio::select! {
        answer = follow => Ok(answer::result(answer).into()),
        () = call.context.ct.cancelled() => Err(ErrorData::internal_error("the request was cancelled", None)),
    }
}

/// Waits and tells each change of state or step, until the execution needs somebody or is over, a page of log is
/// full, or the time is up. Each round is one wait in `control`, which returns on news; nothing is polled.
async fn follow(call: &Call<'_>, arguments: GetStatus, token: ProgressToken) -> Answer {
    let deadline = Instant::now() + Duration::from_millis(arguments.wait_ms.unwrap_or_default());
    let page = arguments.max_bytes.unwrap_or(PAGE);
    let mut round = GetStatus {
        wait_ms: None,
        ..arguments.clone()
    };
    let mut told = Told::default();
    let mut gathered = 0;
    loop {
        let answer = call.control.get_status(call.actor, round.clone()).await;
        let Ok(status) = &answer else { return answer };
        let first = round.wait_ms.is_none();
        if let Some(progress) = told.news(status, &token) {
            // A client that no longer listens still gets its answer, or its cancellation ends the wait.
            let _ = call.context.peer.notify_progress(progress).await;
        }
        let left = u64::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0);
        gathered += status["log"]["text"].as_str().map_or(0, str::len) as u64;
        if left == 0 || gathered >= page || is_settled(status) {
            if first {
                return answer;
            }
            // One answer from the caller's own cursor on, with everything that came meanwhile.
            return call
                .control
                .get_status(
                    call.actor,
                    GetStatus {
                        wait_ms: None,
                        ..arguments
                    },
                )
                .await;
        }
        round.wait_ms = Some(left);
        round.cursor = status["log"]["next_cursor"]
            .as_str()
            .map(str::to_owned)
            .or(round.cursor);
    }
}

/// Whether waiting longer brings nothing: it is over, or a person has to answer.
fn is_settled(status: &Value) -> bool {
    status["state"]
        .as_str()
        .and_then(ExecutionState::parse)
        .is_none_or(|state| state.is_terminal() || state == ExecutionState::AwaitingApproval)
}

/// What was told last. The numbers of a progress must grow, so a change within a step adds a little.
#[derive(Default)]
struct Told {
    state: String,
    step: String,
    progress: f64,
}

impl Told {
    fn news(&mut self, status: &Value, token: &ProgressToken) -> Option<ProgressNotificationParam> {
        let state = status["state"].as_str().unwrap_or_default();
        let step = status["step"].as_str().unwrap_or_default();
        if self.state == state && self.step == step {
            return None;
        }
        let done = status["progress"]["done"].as_f64().unwrap_or_default();
        let first = self.state.is_empty();
        self.progress = if first || done > self.progress {
            done
        } else {
            self.progress + 0.01
        };
        self.state = state.to_owned();
        self.step = step.to_owned();
        let message = if step.is_empty() {
            state.to_owned()
        } else {
            format!("{state}: {step}")
        };
        let mut news = ProgressNotificationParam::new(token.clone(), self.progress).with_message(message);
        news.total = status["progress"]["total"].as_f64();
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::NumberOrString;
    use serde_json::json;

    #[test]
    fn only_changes_are_told_and_the_numbers_grow() {
        let mut told = Told::default();
        let token = ProgressToken(NumberOrString::Number(1));
        let mut last = -1.0;
        for (state, step, done, says) in [
            ("queued", None, 0, Some("queued")),
            ("queued", None, 0, None),
            ("preparing", None, 0, Some("preparing")),
            ("running", Some("install"), 0, Some("running: install")),
            ("running", Some("install"), 0, None),
            ("running", Some("test"), 1, Some("running: test")),
            ("collecting", None, 2, Some("collecting")),
            ("succeeded", None, 2, Some("succeeded")),
        ] {
            let status = json!({"state": state, "step": step, "progress": {"done": done, "total": 2}});
            let news = told.news(&status, &token);
            assert_eq!(
                news.as_ref().and_then(|news| news.message.as_deref()),
                says,
                "{state} {step:?}"
            );
            if let Some(news) = news {
                assert!(news.progress > last, "{} after {last}", news.progress);
                last = news.progress;
            }
        }
    }
}
