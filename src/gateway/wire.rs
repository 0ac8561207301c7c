//! The WebSocket protocol of OpenClaw gateways, version 4, as types: frames, the handshake, the methods that clawhand
//! calls, the events that it reads.
//!
//! What is received may carry more than is named here: unknown fields are passed over, and so are events that nobody here
//! knows. What is sent is exact, for the gateway refuses a property that it doesn't know. The names are the protocol's own.
//! Here is what is sent; what comes back is in `replies` and `events`, the first exchange in `handshake`.

mod events;
mod handshake;
mod media;
mod replies;

pub use events::{AgentEvent, ApprovalKind, ChatEvent, ChatState, Event, SessionMessage, SessionsChanged};
pub use handshake::{Auth, Challenge, Client, Connect, DeviceProof, Granted, Hello, Policy, Server};
pub use media::{
    ARTIFACTS_DOWNLOAD, ARTIFACTS_LIST, ArtifactGiven, ArtifactPage, ArtifactRow, ArtifactsDownload, ArtifactsList,
    Attachment,
};
pub use replies::{
    Aborted, Accepted, Approval, ApprovalResolved, Message, MessageFound, Messages, Origin, Route, RunEnd, Sent,
    SessionFound, SessionPage, SessionRow, TerminalReply,
};

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 4;

/// A request as it is sent.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// Always `req`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What the reply will carry.
    pub id: &'a str,
    /// What is asked for.
    pub method: &'a str,
    /// With what.
    pub params: &'a RawValue,
}

impl<'a> Request<'a> {
    /// A request for `method`.
    pub fn new(id: &'a str, method: &'a str, params: &'a RawValue) -> Self {
        Self {
            kind: "req",
            id,
            method,
            params,
        }
    }
}

/// What came in one text message.
#[derive(Debug)]
pub enum Frame {
    /// The reply to a request.
    Reply {
        /// The request's id.
        id: String,
        /// What it gave.
        result: Result<Box<RawValue>, Trouble>,
    },
    /// Something that happened.
    Event {
        /// What, such as `session.message`.
        name: String,
        /// The connection's own count of events; some have none.
        seq: Option<u64>,
        /// What is known about it.
        payload: Box<RawValue>,
    },
    /// A frame of a type that this version doesn't have.
    Other,
}

#[derive(Deserialize)]
struct AnyFrame {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    event: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    seq: Option<u64>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    error: Option<Trouble>,
}

impl Frame {
    /// Reads one text message.
    ///
    /// # Errors
    /// When it isn't a frame at all.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let frame: AnyFrame = serde_json::from_str(text)?;
        let payload = frame.payload.unwrap_or_else(|| RawValue::NULL.to_owned());
        Ok(match (frame.kind.as_str(), frame.id, frame.event) {
            ("res", Some(id), _) if frame.ok => Self::Reply {
                id,
                result: Ok(payload),
            },
            ("res", Some(id), _) => Self::Reply {
                id,
                result: Err(frame.error.unwrap_or_default()),
            },
            ("event", _, Some(name)) => Self::Event {
                name,
                seq: frame.seq,
                payload,
            },
            _ => Self::Other,
        })
    }
}

/// What a gateway says when it doesn't do what was asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Trouble {
    /// `INVALID_REQUEST`, `NOT_PAIRED`, `FORBIDDEN`, `UNAVAILABLE`, ...
    pub code: String,
    /// For people.
    pub message: String,
    /// More, by code: `code`, `reason`, ...
    pub details: Value,
    /// Whether the same may succeed later.
    #[serde(deserialize_with = "lenient")]
    pub retryable: Option<bool>,
    /// When.
    #[serde(deserialize_with = "lenient")]
    pub retry_after_ms: Option<u64>,
}

impl Trouble {
    /// A text of the details.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name)?.as_str()
    }
}

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// See sessions and messages.
    Read,
    /// Run agents and send messages.
    Write,
    /// List and answer approvals.
    Approvals,
    /// Everything; without it a gateway shows only the approvals that this connection asked for itself.
    Admin,
}

impl Scope {
    /// As the protocol writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Admin => "operator.admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be done about a request whose connection went before the reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing, or nothing more the second time: it is asked again.
    Harmless,
    /// It carries an idempotency key: it is asked again of the same run of the gateway, which remembers the key. A gateway
    /// that was restarted may have forgotten it.
    Keyed,
    /// It has effects: nobody knows whether they happened.
    Never,
}

/// A method of the gateway: what goes in, what comes out, and what a lost connection means for it.
pub struct Method<P, R> {
    /// Its name.
    pub name: &'static str,
    /// What the connection needs for it.
    pub scope: Scope,
    /// What may be done when the connection goes.
    pub repeat: Repeat,
    types: PhantomData<fn(&P) -> R>,
}

impl<P, R> Method<P, R> {
    const fn new(name: &'static str, scope: Scope, repeat: Repeat) -> Self {
        Self {
            name,
            scope,
            repeat,
            types: PhantomData,
        }
    }
}

/// Tells this connection of messages and changes of every session.
pub const SESSIONS_SUBSCRIBE: Method<Nothing, Value> = Method::new("sessions.subscribe", Scope::Read, Repeat::Harmless);
/// Tells this connection of what happens in one session, also while it is being written.
pub const SESSIONS_MESSAGES_SUBSCRIBE: Method<SessionMessages, Value> =
    Method::new("sessions.messages.subscribe", Scope::Read, Repeat::Harmless);
/// The sessions, newest first.
pub const SESSIONS_LIST: Method<SessionsList, SessionPage> =
    Method::new("sessions.list", Scope::Read, Repeat::Harmless);
/// One session.
pub const SESSIONS_DESCRIBE: Method<SessionsDescribe, SessionFound> =
    Method::new("sessions.describe", Scope::Read, Repeat::Harmless);
/// The newest messages of a session.
pub const SESSIONS_GET: Method<SessionsGet, Messages> = Method::new("sessions.get", Scope::Read, Repeat::Harmless);
/// One message.
pub const CHAT_MESSAGE_GET: Method<ChatMessageGet, MessageFound> =
    Method::new("chat.message.get", Scope::Read, Repeat::Harmless);
/// The messages of a session as a chat shows them.
pub const CHAT_HISTORY: Method<ChatHistory, Messages> = Method::new("chat.history", Scope::Read, Repeat::Harmless);
/// Sends a message on a channel.
pub const SEND: Method<SendMessage, Sent> = Method::new("send", Scope::Write, Repeat::Keyed);
/// Starts a run of an agent.
pub const AGENT: Method<AgentRun, Accepted> = Method::new("agent", Scope::Write, Repeat::Keyed);
/// Waits for a run to end.
pub const AGENT_WAIT: Method<AgentWait, RunEnd> = Method::new("agent.wait", Scope::Write, Repeat::Harmless);
/// Says something in a session; its agent answers.
pub const CHAT_SEND: Method<ChatSend, Accepted> = Method::new("chat.send", Scope::Write, Repeat::Keyed);
/// Ends one run of a session.
pub const CHAT_ABORT: Method<ChatAbort, Aborted> = Method::new("chat.abort", Scope::Write, Repeat::Harmless);
/// Ends whatever runs in a session.
pub const SESSIONS_ABORT: Method<SessionsAbort, Aborted> = Method::new("sessions.abort", Scope::Write, Repeat::Never);
/// The commands that wait for an answer.
pub const EXEC_APPROVAL_LIST: Method<Nothing, Vec<Approval>> =
    Method::new("exec.approval.list", Scope::Approvals, Repeat::Harmless);
/// One of them.
pub const EXEC_APPROVAL_GET: Method<ApprovalGet, Value> =
    Method::new("exec.approval.get", Scope::Approvals, Repeat::Harmless);
/// Answers one of them.
pub const EXEC_APPROVAL_RESOLVE: Method<ApprovalResolve, Value> =
    Method::new("exec.approval.resolve", Scope::Approvals, Repeat::Never);
/// The actions of plugins that wait for an answer.
pub const PLUGIN_APPROVAL_LIST: Method<Nothing, Vec<Approval>> =
    Method::new("plugin.approval.list", Scope::Approvals, Repeat::Harmless);
/// Answers one of them.
pub const PLUGIN_APPROVAL_RESOLVE: Method<ApprovalResolve, Value> =
    Method::new("plugin.approval.resolve", Scope::Approvals, Repeat::Never);

/// What makes a request with effects repeatable: the gateway does the same key once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key; there is none without a letter in it.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.trim().is_empty()).then_some(Self(text))
    }

    /// As it is written; a gateway uses it as the id of the run.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// No parameters.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Nothing {}

/// See [`SESSIONS_MESSAGES_SUBSCRIBE`].
#[derive(Debug, Clone, Serialize)]
pub struct SessionMessages {
    /// The session's key.
    pub key: String,
}

/// See [`SESSIONS_LIST`].
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionsList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    pub include_derived_titles: bool,
    pub include_last_message: bool,
}

/// See [`SESSIONS_DESCRIBE`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionsDescribe {
    pub key: String,
    pub include_derived_titles: bool,
    pub include_last_message: bool,
}

/// See [`SESSIONS_GET`].
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionsGet {
    pub key: String,
    pub limit: u32,
}

/// See [`CHAT_MESSAGE_GET`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ChatMessageGet {
    pub session_key: String,
    pub message_id: String,
}

/// See [`CHAT_HISTORY`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ChatHistory {
    pub session_key: String,
    pub limit: u32,
}

/// See [`SEND`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SendMessage {
    pub to: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    pub idempotency_key: IdempotencyKey,
}

/// See [`AGENT`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct AgentRun {
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_system_prompt: Option<String>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub idempotency_key: IdempotencyKey,
}

/// See [`AGENT_WAIT`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct AgentWait {
    pub run_id: String,
    /// How long the gateway may take to answer; the request's own limit has to be longer.
    pub timeout_ms: u64,
}

/// See [`CHAT_SEND`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ChatSend {
    pub session_key: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What happens while the session is busy. Without it the gateway mixes the message into the turn that runs, whose reply
    /// then answers both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    pub idempotency_key: IdempotencyKey,
}

impl ChatSend {
    /// A turn of its own, after those that run.
    pub const AFTER: &'static str = "followup";
}

/// See [`CHAT_ABORT`]. The run is named, so that a repeated request can't end a later one.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ChatAbort {
    pub session_key: String,
    pub run_id: String,
}

/// See [`SESSIONS_ABORT`].
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionsAbort {
    pub key: String,
}

/// See [`EXEC_APPROVAL_GET`].
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ApprovalGet {
    pub id: String,
}

/// See [`EXEC_APPROVAL_RESOLVE`] and [`PLUGIN_APPROVAL_RESOLVE`].
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ApprovalResolve {
    pub id: String,
    pub decision: Decision,
}

/// An answer to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// This time.
    AllowOnce,
    /// From now on; not every request allows it.
    AllowAlways,
    /// No.
    Deny,
}

impl Decision {
    /// As the protocol writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow-once",
            Self::AllowAlways => "allow-always",
            Self::Deny => "deny",
        }
    }
}

/// A field that is read if it is what it should be, and passed over otherwise: one odd value mustn't cost the rest.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}
