//! What a gateway tells on its own account.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::replies::text_or_number;
use super::{
    Approval, ApprovalResolve, ApprovalResolved, EXEC_APPROVAL_RESOLVE, Message, Method, PLUGIN_APPROVAL_RESOLVE,
    SessionRow, lenient,
};

/// Something that happened. One whose payload can't be read as its kind is kept as [`Event::Other`].
#[derive(Debug, Clone)]
pub enum Event {
    /// A message was added to a session.
    SessionMessage(Box<SessionMessage>),
    /// A session is new, or something about it is.
    SessionsChanged(Box<SessionsChanged>),
    /// A turn of a chat goes on.
    Chat(ChatEvent),
    /// A run of an agent goes on.
    Agent(AgentEvent),
    /// Somebody has to answer.
    ApprovalRequested(ApprovalKind, Box<Approval>),
    /// Somebody answered.
    ApprovalResolved(ApprovalKind, Box<ApprovalResolved>),
    /// The gateway is there.
    Tick,
    /// The gateway is about to close.
    Shutdown {
        /// Why.
        reason: String,
        /// When it expects to be back, in milliseconds.
        restart_expected_ms: Option<u64>,
    },
    /// Anything else.
    Other {
        /// What.
        name: String,
        /// As it came.
        payload: Box<RawValue>,
    },
}

/// What kind of thing waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApprovalKind {
    /// A command.
    Exec,
    /// An action of a plugin.
    Plugin,
}

impl ApprovalKind {
    /// As the protocol writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Plugin => "plugin",
        }
    }

    /// The method that answers one.
    pub const fn resolve(self) -> &'static Method<ApprovalResolve, Value> {
        match self {
            Self::Exec => &EXEC_APPROVAL_RESOLVE,
            Self::Plugin => &PLUGIN_APPROVAL_RESOLVE,
        }
    }

    /// Whether an event of this name tells of an approval, of whichever kind.
    pub fn is_told_by(name: &str) -> bool {
        name.starts_with("exec.approval.") || name.starts_with("plugin.approval.")
    }
}

impl Event {
    /// Reads an event by its name.
    pub fn read(name: String, payload: Box<RawValue>) -> Self {
        let text = payload.get();
        let read = match name.as_str() {
            "session.message" => from(text).map(Self::SessionMessage),
            "sessions.changed" => from(text).map(Self::SessionsChanged),
            "chat" => from(text).map(Self::Chat),
            "agent" => from(text).map(Self::Agent),
            "exec.approval.requested" => requested(ApprovalKind::Exec, text),
            "exec.approval.resolved" => resolved(ApprovalKind::Exec, text),
            "plugin.approval.requested" => requested(ApprovalKind::Plugin, text),
            "plugin.approval.resolved" => resolved(ApprovalKind::Plugin, text),
            "tick" => Some(Self::Tick),
            "shutdown" => from::<Shutdown>(text).map(|shutdown| Self::Shutdown {
                reason: shutdown.reason,
                restart_expected_ms: shutdown.restart_expected_ms,
            }),
            _ => None,
        };
        read.unwrap_or(Self::Other { name, payload })
    }
}

fn from<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn requested(kind: ApprovalKind, text: &str) -> Option<Event> {
    from(text).map(|approval| Event::ApprovalRequested(kind, approval))
}

fn resolved(kind: ApprovalKind, text: &str) -> Option<Event> {
    from(text).map(|resolved| Event::ApprovalResolved(kind, resolved))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Shutdown {
    reason: String,
    #[serde(deserialize_with = "lenient")]
    restart_expected_ms: Option<u64>,
}

/// The payload of `session.message`. The session's row is in it whole; only what routes is kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionMessage {
    pub session_key: String,
    pub message: Message,
    #[serde(default, deserialize_with = "lenient")]
    pub agent_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub message_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub message_seq: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub sender_is_owner: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub session: Option<SessionRow>,
    #[serde(default, deserialize_with = "lenient")]
    pub last_channel: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub last_to: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub last_account_id: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub last_thread_id: Option<String>,
}

impl SessionMessage {
    /// The session's row: as it came, or what the payload says of the route beside it.
    pub fn row(&self) -> SessionRow {
        let routed = self.session.as_ref().filter(|row| row.route().is_some());
        routed.cloned().unwrap_or_else(|| SessionRow {
            key: self.session_key.clone(),
            last_channel: self.last_channel.clone(),
            last_to: self.last_to.clone(),
            last_account_id: self.last_account_id.clone(),
            last_thread_id: self.last_thread_id.clone(),
            ..SessionRow::default()
        })
    }

    /// The message's id in the session.
    pub fn id(&self) -> Option<&str> {
        self.message_id.as_deref().or_else(|| self.message.id())
    }
}

/// The payload of `sessions.changed`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct SessionsChanged {
    #[serde(default)]
    pub session_key: String,
    #[serde(default, deserialize_with = "lenient")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub phase: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub run_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub session: Option<SessionRow>,
}

/// The payload of `chat`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct ChatEvent {
    pub run_id: String,
    pub session_key: String,
    #[serde(default)]
    pub seq: u64,
    pub state: ChatState,
    /// What is new of the text.
    #[serde(default, deserialize_with = "lenient")]
    pub delta_text: Option<String>,
    /// Whether the new text stands for all that came before.
    #[serde(default, deserialize_with = "lenient")]
    pub replace: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub message: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    pub stop_reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub error_message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub error_kind: Option<String>,
}

/// How far a turn of a chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatState {
    /// It is being prepared.
    Status,
    /// Text comes.
    Delta,
    /// It is done.
    Final,
    /// Somebody ended it.
    Aborted,
    /// It failed.
    Error,
    /// A state that this version doesn't have.
    #[serde(other)]
    Unknown,
}

/// The payload of `agent`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub struct AgentEvent {
    pub run_id: String,
    #[serde(default)]
    pub seq: u64,
    /// `lifecycle`, `assistant`, `tool`, `run_status`, ...
    pub stream: String,
    #[serde(default)]
    pub data: Value,
    #[serde(default, deserialize_with = "lenient")]
    pub session_key: Option<String>,
}
