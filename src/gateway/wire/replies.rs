//! What methods give back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient;

/// A page of sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPage {
    /// Newest first.
    pub sessions: Vec<SessionRow>,
    /// How many there are beyond this page.
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: Option<u64>,
    /// Where the next page begins, if there is one.
    #[serde(default, deserialize_with = "lenient")]
    pub next_offset: Option<u32>,
}

/// A session, or none.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionFound {
    /// `None` for a key that the gateway doesn't know.
    #[serde(default)]
    pub session: Option<SessionRow>,
}

/// What clawhand reads of a session. The gateway's own row is several kilobytes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionRow {
    pub key: String,
    #[serde(deserialize_with = "lenient")]
    pub agent_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub session_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub channel: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub delivery_context: Option<Route>,
    #[serde(deserialize_with = "lenient")]
    pub last_channel: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_to: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_account_id: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub last_thread_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub origin: Option<Origin>,
    #[serde(deserialize_with = "lenient")]
    pub label: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub display_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub derived_title: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_message_preview: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub updated_at: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub status: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub last_run_id: Option<String>,
}

impl SessionRow {
    /// Where a message for this session goes; `None` if it has no route.
    pub fn route(&self) -> Option<Route> {
        let context = self.delivery_context.clone().unwrap_or_default();
        let origin = self.origin.clone().unwrap_or_default();
        let channel = first([&context.channel, &self.last_channel, &self.channel, &origin.provider])?;
        Some(Route {
            channel: Some(channel.to_lowercase()),
            to: Some(first([&context.to, &self.last_to])?),
            account_id: first([&context.account_id, &self.last_account_id, &origin.account_id]),
            thread_id: first([&context.thread_id, &self.last_thread_id, &origin.thread_id]),
        })
    }
}

/// The first text that isn't empty.
fn first<const N: usize>(texts: [&Option<String>; N]) -> Option<String> {
    let mut texts = texts.into_iter().flatten().map(|text| text.trim());
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

/// Where messages go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct Route {
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(deserialize_with = "text_or_number", skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
}

/// Where a session came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct Origin {
    #[serde(deserialize_with = "lenient")]
    pub provider: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub account_id: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub thread_id: Option<String>,
}

/// Threads are numbers on some channels and texts on others.
pub(super) fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// Messages of a session, oldest first.
#[derive(Debug, Clone, Deserialize)]
pub struct Messages {
    /// A session that the gateway doesn't know has none.
    #[serde(default)]
    pub messages: Vec<Message>,
}

/// One message, or why it isn't there.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageFound {
    /// Whether it is there.
    pub ok: bool,
    /// The message.
    #[serde(default)]
    pub message: Option<Message>,
    /// `not_found`, `oversized`, `not_visible`.
    #[serde(default)]
    pub unavailable_reason: Option<String>,
}

/// A message as the gateway keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub Value);

impl Message {
    /// `user`, `assistant`, `toolResult`.
    pub fn role(&self) -> Option<&str> {
        self.0.get("role")?.as_str()
    }

    /// Its id in the session.
    pub fn id(&self) -> Option<&str> {
        self.own("id")?.as_str()
    }

    /// Its place in the session.
    pub fn seq(&self) -> Option<u64> {
        self.own("seq")?.as_u64()
    }

    /// The run that it belongs to: of replies.
    pub fn run(&self) -> Option<&str> {
        self.own("runId")?.as_str()
    }

    /// The key by which the gateway knows that it has it already: of what was said, the run's with `:user` behind it.
    pub fn key(&self) -> Option<&str> {
        self.own("idempotencyKey")?.as_str()
    }

    /// Why a reply ended: `stop`, `toolUse`, `error`, `aborted`, ...
    pub fn stop_reason(&self) -> Option<&str> {
        self.0.get("stopReason")?.as_str()
    }

    /// What went wrong with a reply.
    pub fn error(&self) -> Option<&str> {
        self.0.get("errorMessage")?.as_str()
    }

    /// Whether the gateway itself said it, to go on with a turn that its own restart had broken off.
    pub fn is_recovery(&self) -> bool {
        let tool = self.0.get("provenance").and_then(|from| from.get("sourceTool"));
        tool.and_then(Value::as_str) == Some("main_session_restart_recovery")
    }

    /// Whether an owner of the gateway wrote it.
    pub fn is_from_owner(&self) -> bool {
        self.own("senderIsOwner").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Its parts: texts, tool calls, images. A message that is only a text has none.
    pub fn blocks(&self) -> &[Value] {
        self.0
            .get("content")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The files that came with it on its channel.
    pub fn media(&self) -> &[Value] {
        self.own("media").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Its text: all of its parts that are texts, a line each.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        let content = self.0.get("content")?;
        if let Some(text) = content.as_str() {
            return Some(text.into());
        }
        let is_text = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("text");
        let mut texts = self
            .blocks()
            .iter()
            .filter(is_text)
            .filter_map(|block| block.get("text")?.as_str());
        let first = texts.next()?;
        Some(texts.fold(Cow::Borrowed(first), |all, text| all + "\n" + text))
    }

    /// What the gateway says about it beside what was said.
    fn own(&self, name: &str) -> Option<&Value> {
        self.0.get("__openclaw")?.get(name)
    }
}

/// What was sent on a channel.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct Sent {
    pub run_id: String,
    #[serde(default, deserialize_with = "text_or_number")]
    pub message_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub channel: Option<String>,
}

/// A run that was started, or that the same key had started before.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The idempotency key.
    pub run_id: String,
    /// `accepted`, `started`, `in_flight`, `ok`, ...
    #[serde(default)]
    pub status: String,
    /// The session that it runs in.
    #[serde(default, deserialize_with = "lenient")]
    pub session_key: Option<String>,
}

/// How a run ended, or that it runs on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEnd {
    /// The run.
    #[serde(default)]
    pub run_id: String,
    /// `ok`, `error`, `timeout` (it took too long, or runs on, or nothing is known of it), `pending` (it waits its turn).
    pub status: String,
    /// Why it stopped.
    #[serde(default, deserialize_with = "lenient")]
    pub stop_reason: Option<String>,
    /// What went wrong.
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<String>,
    /// What a run that took too long was doing; `queue` where it hasn't begun.
    #[serde(default, deserialize_with = "lenient")]
    pub timeout_phase: Option<String>,
    /// What the agent said in the end.
    #[serde(default, deserialize_with = "lenient")]
    pub terminal_reply: Option<TerminalReply>,
    /// When it began, in milliseconds.
    #[serde(default, deserialize_with = "lenient")]
    pub started_at: Option<i64>,
    /// When it ended, in milliseconds.
    #[serde(default, deserialize_with = "lenient")]
    pub ended_at: Option<i64>,
}

/// The last words of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TerminalReply {
    /// Whether anybody is to see it.
    pub disposition: String,
    /// The text.
    pub text: String,
}

/// What was ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Aborted {
    /// Whether something was.
    #[serde(deserialize_with = "lenient")]
    pub aborted: Option<bool>,
    /// The runs of `chat.abort`.
    pub run_ids: Vec<String>,
    /// The run of `sessions.abort`.
    #[serde(deserialize_with = "lenient")]
    pub aborted_run_id: Option<String>,
    /// `aborted`, `no-active-run`.
    #[serde(deserialize_with = "lenient")]
    pub status: Option<String>,
}

/// Something that waits for a person's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// What is answered.
    pub id: String,
    /// What would be done, in the gateway's own words.
    #[serde(default)]
    pub request: Value,
    /// Since when, in milliseconds.
    #[serde(default)]
    pub created_at_ms: i64,
    /// Until when, in milliseconds.
    #[serde(default)]
    pub expires_at_ms: i64,
}

impl Approval {
    /// A text of the request, such as `command`, `sessionKey`, `title`.
    pub fn asked(&self, name: &str) -> Option<&str> {
        self.request.get(name)?.as_str()
    }

    /// The answers that the gateway takes; all of them if it names none.
    pub fn allowed(&self) -> Vec<super::Decision> {
        use super::Decision::{AllowAlways, AllowOnce, Deny};
        let named = self.request.get("allowedDecisions").and_then(Value::as_array);
        let read = |one: &Value| serde_json::from_value(one.clone()).ok();
        named.map_or_else(
            || vec![AllowOnce, AllowAlways, Deny],
            |named| named.iter().filter_map(read).collect(),
        )
    }
}

/// An approval that somebody answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResolved {
    /// Which.
    pub id: String,
    /// How: a decision, or another word of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Who, as the gateway calls them.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// When, in milliseconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// What had been asked.
    #[serde(default)]
    pub request: Value,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_is_put_together_from_what_the_row_tells() {
        let route = |row: Value| serde_json::from_value::<SessionRow>(row).expect("a row").route();
        let of = |channel: &str, to: &str, account: Option<&str>, thread: Option<&str>| {
            Some(Route {
                channel: Some(channel.to_owned()),
                to: Some(to.to_owned()),
                account_id: account.map(str::to_owned),
                thread_id: thread.map(str::to_owned),
            })
        };
        let origin = json!({ "provider": "Telegram", "accountId": "second", "threadId": 7 });
        assert_eq!(
            route(json!({ "key": "k", "lastTo": "telegram:1", "origin": origin })),
            of("telegram", "telegram:1", Some("second"), Some("7"))
        );
        let context = json!({ "channel": " Slack ", "to": "channel:9", "accountId": "", "threadId": "t" });
        assert_eq!(
            route(json!({
                "key": "k", "deliveryContext": context, "channel": "web", "lastChannel": "Telegram", "lastTo": "telegram:1",
                "lastAccountId": "first", "origin": origin,
            })),
            of("slack", "channel:9", Some("first"), Some("t"))
        );
        assert_eq!(route(json!({ "key": "k", "origin": origin })), None, "to nobody");
        assert_eq!(
            route(json!({ "key": "k", "lastTo": "telegram:1" })),
            None,
            "over nothing"
        );
    }
}
