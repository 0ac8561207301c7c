//! What happens at a gateway: told from a cursor on, or waited for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::super::contract::conversations::{
    ApprovalNews, Conversation, ConversationEvent, EventCame, EventGap, EventPage, EventsPoll, EventsWait,
};
use super::super::openclaw::bounds;
use super::super::{Answer, require};
use super::{AGAIN, Conversations, conversation, failed};
use crate::domain::{Actor, Refusal, Scope};
use crate::gateway::Gateway;
use crate::gateway::feed::{Entry, Page, What};
use crate::gateway::wire::{Approval, ApprovalKind, SessionMessage};

/// How much is told at once, in bytes; what doesn't fit comes on the next page. One event is told, however large it is.
const PAGE_MAX: usize = 1 << 20;
/// How long a connection that isn't there yet is waited for.
const CONNECTED: Duration = Duration::from_secs(20);

impl Conversations {
    /// The events behind a cursor.
    pub async fn poll(&self, actor: &Actor, arguments: EventsPoll) -> Answer {
        self.answer(self.polled(actor, &arguments).await)
    }

    async fn polled(&self, actor: &Actor, arguments: &EventsPoll) -> Result<EventPage, Refusal> {
        require(actor, Scope::Openclaw)?;
        let limit = bounds::count("limit", arguments.limit, 1..=200, 20)?;
        let session = bounds::optional("session_key", arguments.session_key.as_deref())?;
        let after = arguments.after_cursor.unwrap_or(0);
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let mut page = gateway.feed().page(after, session, limit);
        if page.entries.is_empty() {
            // Nothing is only an answer of a gateway that is followed.
            followed(gateway, CONNECTED).await?;
            page = gateway.feed().page(after, session, limit);
        }
        let raw = arguments.raw.unwrap_or(false);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for entry in &page.entries {
            let event = shown(entry, raw);
            bytes += serde_json::to_vec(&event).map_or(0, |text| text.len());
            if bytes > PAGE_MAX && !events.is_empty() {
                page.next_cursor = entry.cursor - 1;
                break;
            }
            events.push(event);
        }
        Ok(EventPage {
            events,
            next_cursor: page.next_cursor,
            gap: gap(after, &page),
        })
    }

    /// The next event behind a cursor, when it comes. Dropping the future ends the waiting.
    pub async fn wait(&self, actor: &Actor, arguments: EventsWait) -> Answer {
        self.answer(self.waited(actor, &arguments).await)
    }

    async fn waited(&self, actor: &Actor, arguments: &EventsWait) -> Result<EventCame, Refusal> {
        require(actor, Scope::Openclaw)?;
        let timeout = bounds::count("timeout_ms", arguments.timeout_ms, 1..=300_000, 30_000)?;
        let session = bounds::optional("session_key", arguments.session_key.as_deref())?;
        let after = arguments.after_cursor.unwrap_or(0);
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let until = Instant::now() + Duration::from_millis(timeout as u64);
        let mut page = gateway.feed().page(after, session, 1);
        if page.entries.is_empty() && page.oldest.is_none() {
            // That it isn't followed is told, unless the caller's patience is at its end before that is known.
            if let Ok(followed) = timeout_at(until, followed(gateway, CONNECTED)).await {
                followed?;
            }
            let left = until.saturating_duration_since(Instant::now());
            page = gateway.feed().next(after, session, left).await;
        }
        let raw = arguments.raw.unwrap_or(false);
        let event = page.entries.first().map(|entry| shown(entry, raw));
        Ok(EventCame {
            next_cursor: event.as_ref().map_or(page.next_cursor, |event| event.cursor),
            event,
            gap: gap(after, &page),
        })
    }
}

async fn followed(gateway: &Gateway, limit: Duration) -> Result<(), Refusal> {
    let followed = gateway.feed().followed(limit).await;
    followed.map_err(|error| failed(gateway, error, AGAIN))
}

fn gap(after: u64, page: &Page) -> Option<EventGap> {
    page.oldest.map(|oldest| EventGap {
        requested_after_cursor: after,
        oldest_available_cursor: oldest,
    })
}

/// An event as callers see it: not the session's row, and what the gateway said only for those who ask for it.
fn shown(entry: &Entry, raw: bool) -> ConversationEvent {
    let event = ConversationEvent {
        cursor: entry.cursor,
        kind: entry.kind().to_owned(),
        session_key: entry.session_key().map(str::to_owned),
        ..ConversationEvent::default()
    };
    match &entry.what {
        What::Message(message) => ConversationEvent {
            conversation: conversation(&message.row()).map(|conversation| Conversation {
                derived_title: None,
                last_message_preview: None,
                ..conversation
            }),
            message_id: message.id().map(str::to_owned),
            message_seq: message.message_seq.or_else(|| message.message.seq()),
            role: message.message.role().map(str::to_owned),
            text: message.message.text().map(std::borrow::Cow::into_owned),
            raw: raw.then(|| raw_of_message(message)),
            ..event
        },
        What::Requested(kind, approval) => ConversationEvent {
            approval: Some(news(*kind, approval)),
            raw: raw.then(|| serde_json::to_value(approval).unwrap_or_default()),
            ..event
        },
        What::Resolved(kind, resolved) => ConversationEvent {
            approval: Some(ApprovalNews {
                kind: kind.as_str().to_owned(),
                id: resolved.id.clone(),
                decision: resolved.decision.clone(),
                resolved_by: resolved.resolved_by.clone(),
                ..ApprovalNews::default()
            }),
            raw: raw.then(|| serde_json::to_value(resolved).unwrap_or_default()),
            ..event
        },
        What::Asks(asking) => ConversationEvent {
            request_id: Some(asking.id.clone()),
            tool_name: Some(asking.tool.clone()),
            description: Some(asking.about.clone()),
            input_preview: Some(asking.preview.clone()),
            ..event
        },
        What::Missing(missed) => ConversationEvent {
            missed: *missed,
            ..event
        },
    }
}

fn news(kind: ApprovalKind, approval: &Approval) -> ApprovalNews {
    let asked = |name| approval.asked(name).map(str::to_owned);
    let decisions = approval.allowed().into_iter();
    ApprovalNews {
        kind: kind.as_str().to_owned(),
        id: approval.id.clone(),
        command: asked("command"),
        title: asked("title"),
        decisions: decisions.map(|decision| decision.as_str().to_owned()).collect(),
        expires_at_ms: Some(approval.expires_at_ms),
        ..ApprovalNews::default()
    }
}

fn raw_of_message(message: &SessionMessage) -> Value {
    json!({
        "sessionKey": message.session_key,
        "agentId": message.agent_id,
        "messageId": message.message_id,
        "messageSeq": message.message_seq,
        "senderIsOwner": message.sender_is_owner,
        "message": message.message,
    })
}
