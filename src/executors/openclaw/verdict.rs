//! What a session's messages say of one run. Pure; it is the truth that outlives a restart of the gateway.
//!
//! The gateway writes down what was said under `<run>:user`, and replies under the run's id. A turn that had to wait for
//! another one is replied to under an id of the gateway's own, and so is one that the gateway's restart broke off and that
//! it goes on with by itself. So the reply is whatever the agent said last after the message, before somebody else's.

use crate::gateway::wire::{Message, SessionRow};

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The message isn't there.
    Unseen,
    /// The message is there and no end of it.
    Going {
        /// The run of the gateway's own that goes on with it.
        by: Option<String>,
    },
    /// The agent replied.
    Replied {
        /// What.
        text: String,
        /// Under which run.
        run: String,
    },
    /// It failed.
    Failed(String),
    /// Somebody ended it.
    Aborted,
    /// It took longer than the gateway allows.
    TimedOut,
}

/// Judges the run `run` by the newest messages of its session, oldest first, and by the session's row.
pub(super) fn judge(run: &str, messages: &[Message], row: Option<&SessionRow>) -> Verdict {
    let said = format!("{run}:user");
    let is_it = |message: &Message| matches!(message.key(), Some(key) if key == said || key == run);
    let Some(at) = messages.iter().position(is_it) else {
        return Verdict::Unseen;
    };
    let mut by = None;
    let mut last = None;
    let mut is_last_turn = true;
    for message in &messages[at + 1..] {
        match message.role() {
            Some("user") if message.is_recovery() => {
                by = message
                    .key()
                    .and_then(|key| key.strip_suffix(":user"))
                    .map(str::to_owned);
                last = None;
            }
            Some("user") => {
                is_last_turn = false;
                break;
            }
            Some("assistant") => last = of_reply(run, message),
            _ => {}
        }
    }
    let state = row.filter(|_| is_last_turn).and_then(|row| row.status.as_deref());
    match (last, state) {
        // A reply counts at once. What broke off may be gone on with, as long as the session says that it runs.
        (Some(end @ Verdict::Replied { .. }), _) => end,
        (_, Some("running" | "queued")) => Verdict::Going { by },
        (Some(end), _) => end,
        (None, Some("killed")) => Verdict::Aborted,
        (None, Some("timeout")) => Verdict::TimedOut,
        (None, Some("failed")) => Verdict::Failed("the run failed at the gateway, which doesn't say why".to_owned()),
        (None, Some("done")) if ended(run, by.as_deref(), row) => Verdict::Replied {
            text: String::new(),
            run: by.unwrap_or_else(|| run.to_owned()),
        },
        (None, _) => Verdict::Going { by },
    }
}

/// Whether the session's last run is this one, or the one that went on with it.
fn ended(run: &str, by: Option<&str>, row: Option<&SessionRow>) -> bool {
    let last = row.and_then(|row| row.last_run_id.as_deref());
    last.is_some() && (last == Some(run) || last == by)
}

/// What one message of the agent says of the end of its run; nothing while it only asks for tools.
fn of_reply(run: &str, message: &Message) -> Option<Verdict> {
    // What had been said when somebody ended the run is kept under this key, as if it were a reply.
    if message.key().is_some_and(|key| key.ends_with(":assistant")) {
        return Some(Verdict::Aborted);
    }
    let text = message.text().unwrap_or_default().into_owned();
    let error = || message.error().unwrap_or("the gateway doesn't say why").to_owned();
    match message.stop_reason() {
        Some("toolUse") => None,
        Some("error") => Some(Verdict::Failed(error())),
        Some("aborted") if error().contains("timed out") => Some(Verdict::TimedOut),
        Some("aborted") => Some(Verdict::Aborted),
        _ => Some(Verdict::Replied {
            text,
            run: message.run().unwrap_or(run).to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn user(key: &str) -> Value {
        json!({ "role": "user", "content": "do it", "__openclaw": { "idempotencyKey": key } })
    }

    fn recovery(key: &str) -> Value {
        let mut message = user(key);
        message["provenance"] = json!({ "kind": "internal_system", "sourceTool": "main_session_restart_recovery" });
        message
    }

    fn reply(run: &str, stop: &str, text: &str) -> Value {
        let content = json!([{ "type": "text", "text": text }]);
        json!({ "role": "assistant", "content": content, "stopReason": stop, "__openclaw": { "runId": run } })
    }

    fn judged(messages: Vec<Value>, status: &str, last: &str) -> Verdict {
        let messages: Vec<Message> = messages.into_iter().map(Message).collect();
        let row = SessionRow {
            status: Some(status.to_owned()),
            last_run_id: Some(last.to_owned()),
            ..SessionRow::default()
        };
        judge("r", &messages, Some(&row))
    }

    fn replied(text: &str, run: &str) -> Verdict {
        Verdict::Replied {
            text: text.to_owned(),
            run: run.to_owned(),
        }
    }

    #[test]
    fn a_reply_is_found_under_its_own_run_and_under_another() {
        let own = vec![
            user("other:user"),
            reply("other", "stop", "no"),
            user("r:user"),
            reply("r", "toolUse", ""),
            reply("r", "stop", "yes"),
        ];
        assert_eq!(judged(own, "done", "r"), replied("yes", "r"));
        let queued = vec![
            user("r:user"),
            reply("q", "stop", "later"),
            user("x:user"),
            reply("x", "stop", "no"),
        ];
        assert_eq!(judged(queued, "running", "x"), replied("later", "q"));
        assert_eq!(judged(vec![user("other:user")], "done", "other"), Verdict::Unseen);
    }

    #[test]
    fn what_a_restart_broke_off_is_waited_for() {
        assert_eq!(judged(vec![user("r:user")], "running", ""), Verdict::Going { by: None });
        let broken = vec![user("r:user"), reply("r", "aborted", "half")];
        assert_eq!(judged(broken, "running", ""), Verdict::Going { by: None });
        let goes_on = vec![user("r:user"), recovery("n:user"), reply("n", "toolUse", "")];
        assert_eq!(
            judged(goes_on.clone(), "running", "n"),
            Verdict::Going {
                by: Some("n".to_owned())
            }
        );
        let mut over = goes_on;
        over.push(reply("n", "stop", "after all"));
        assert_eq!(judged(over, "done", "n"), replied("after all", "n"));
        let silent = vec![user("r:user"), recovery("n:user")];
        assert_eq!(judged(silent, "done", "n"), replied("", "n"));
    }

    #[test]
    fn other_ends_are_told_apart() {
        let mut half = reply("r", "stop", "half");
        half["__openclaw"]["idempotencyKey"] = json!("r:assistant");
        assert_eq!(judged(vec![user("r:user"), half], "killed", "r"), Verdict::Aborted);
        assert_eq!(judged(vec![user("r:user")], "killed", "r"), Verdict::Aborted);
        let mut failed = reply("r", "error", "");
        failed["errorMessage"] = json!("400 no");
        assert_eq!(
            judged(vec![user("r:user"), failed], "failed", "r"),
            Verdict::Failed("400 no".to_owned())
        );
        let mut late = reply("r", "aborted", "");
        late["errorMessage"] = json!("request timed out");
        assert_eq!(judged(vec![user("r:user"), late], "timeout", "r"), Verdict::TimedOut);
        // An earlier run ended the session's last one: nothing is known of this one.
        assert_eq!(judged(vec![user("r:user")], "done", "x"), Verdict::Going { by: None });
    }
}
