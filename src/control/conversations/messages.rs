//! What was said, what came with it, and saying something back.

use serde_json::{Value, json};

use super::super::contract::conversations::{
    AttachmentList, AttachmentsFetch, ConversationGet, MessageList, MessageSent, MessagesRead, MessagesSend,
};
use super::super::openclaw::bounds;
use super::super::{Answer, require};
use super::{AGAIN, Conversations, PATIENCE, failed};
use crate::domain::{Actor, Code, Digest, Refusal, Scope};
use crate::gateway::wire::{self, ChatMessageGet, IdempotencyKey, Message, SendMessage, SessionsGet};
use crate::gateway::{Fault, Gateway, GatewayError};

/// What to do when it isn't known whether a message was sent.
const MAYBE_SENT: &str =
    "it may have arrived: send it again with an idempotency_key only if messages_read doesn't show it";

impl Conversations {
    /// The newest messages of a session, with a channel or without.
    pub async fn read(&self, actor: &Actor, arguments: MessagesRead) -> Answer {
        self.answer(self.messages(actor, &arguments).await)
    }

    async fn messages(&self, actor: &Actor, arguments: &MessagesRead) -> Result<MessageList, Refusal> {
        require(actor, Scope::Openclaw)?;
        let key = bounds::key("session_key", &arguments.session_key)?;
        let limit = bounds::count("limit", arguments.limit, 1..=200, 20)?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let messages = history(gateway, key, limit).await;
        let messages = messages.map_err(|error| failed(gateway, error, AGAIN))?;
        Ok(MessageList {
            messages: messages.into_iter().map(|message| message.0).collect(),
        })
    }

    /// What came with a message beside its text.
    pub async fn attachments(&self, actor: &Actor, arguments: AttachmentsFetch) -> Answer {
        self.answer(self.attached(actor, &arguments).await)
    }

    async fn attached(&self, actor: &Actor, arguments: &AttachmentsFetch) -> Result<AttachmentList, Refusal> {
        require(actor, Scope::Openclaw)?;
        let key = bounds::key("session_key", &arguments.session_key)?;
        let id = bounds::key("message_id", &arguments.message_id)?;
        let limit = bounds::count("limit", arguments.limit, 1..=200, 100)?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let asked = ChatMessageGet {
            session_key: key.to_owned(),
            message_id: id.to_owned(),
        };
        let found = gateway.socket().call(&wire::CHAT_MESSAGE_GET, &asked, PATIENCE).await;
        let (message, reason) = match found {
            Ok(found) => (found.message.filter(|_| found.ok), found.unavailable_reason),
            Err(error) if is_unknown_method(&error) => {
                let messages = history(gateway, key, limit).await;
                let messages = messages.map_err(|error| failed(gateway, error, AGAIN))?;
                (messages.into_iter().find(|message| message.id() == Some(id)), None)
            }
            Err(error) => return Err(failed(gateway, error, AGAIN)),
        };
        let Some(message) = message else {
            let why = reason.filter(|reason| reason != "not_found");
            let why = why.map_or_else(String::new, |reason| format!(" ({reason})"));
            return Err(Refusal::new(
                Code::NotFound,
                format!("message not found: {id}{why}"),
                "messages_read tells the ids of a session's messages",
            ));
        };
        Ok(AttachmentList {
            attachments: attachments(&message),
            message: message.0,
        })
    }

    /// Sends a message to where a conversation's messages come from.
    pub async fn send(&self, actor: &Actor, arguments: MessagesSend) -> Answer {
        self.answer(self.sent(actor, arguments).await)
    }

    async fn sent(&self, actor: &Actor, arguments: MessagesSend) -> Result<MessageSent, Refusal> {
        require(actor, Scope::Openclaw)?;
        bounds::text("text", &arguments.text)?;
        let own_key = bounds::id("idempotency_key", arguments.idempotency_key.as_deref())?;
        let asked = ConversationGet {
            session_key: arguments.session_key,
            instance: arguments.instance,
        };
        let key = idempotency_key(actor, own_key);
        let (gateway, conversation) = self.found(actor, &asked).await?;
        let send = SendMessage {
            to: conversation.to,
            message: arguments.text,
            channel: Some(conversation.channel),
            account_id: conversation.account_id,
            thread_id: conversation.thread_id,
            session_key: Some(conversation.session_key),
            idempotency_key: key.ok_or_else(|| bounds::no_text("idempotency_key"))?,
        };
        let sent = gateway.socket().call(&wire::SEND, &send, PATIENCE).await;
        let sent = sent.map_err(|error| failed(gateway, error, MAYBE_SENT))?;
        tracing::info!(
            instance = gateway.instance().name.as_str(),
            actor.subject = %actor.subject,
            "a message was sent on a channel of an OpenClaw gateway"
        );
        Ok(MessageSent {
            result: serde_json::to_value(sent).unwrap_or_default(),
        })
    }
}

/// A caller's own key belongs to that caller: two that chose the same word don't meet. The gateway learns neither.
fn idempotency_key(actor: &Actor, own: Option<&str>) -> Option<IdempotencyKey> {
    IdempotencyKey::new(match own {
        Some(own) => Digest::of(format!("{}\n{own}", actor.subject).as_bytes()).hex(),
        None => uuid::Uuid::now_v7().to_string(),
    })
}

async fn history(gateway: &Gateway, key: &str, limit: usize) -> Result<Vec<Message>, GatewayError> {
    let asked = SessionsGet {
        key: key.to_owned(),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    let got = gateway.socket().call(&wire::SESSIONS_GET, &asked, PATIENCE).await?;
    Ok(got.messages)
}

/// A gateway refuses a method that it doesn't have as one for which the scope is missing, or to an administrator as unknown.
fn is_unknown_method(error: &GatewayError) -> bool {
    match &error.fault {
        Fault::MissingScope(_) => true,
        Fault::Refused => error.message.contains("unknown method"),
        _ => false,
    }
}

/// The parts that aren't text, and the files that the channel delivered.
fn attachments(message: &Message) -> Vec<Value> {
    let is_part = |block: &&Value| block.is_object() && block["type"] != "text";
    let parts = message.blocks().iter().filter(is_part).cloned();
    let files = message.media().iter().filter(|media| is_file(media));
    parts
        .chain(files.map(|media| json!({ "type": "openclaw_media", "media": media })))
        .collect()
}

/// A place without a word about what is in it is no file.
fn is_file(media: &Value) -> bool {
    let told = ["path", "url", "contentType", "kind", "fileName"];
    told.iter()
        .any(|name| media[*name].as_str().is_some_and(|text| !text.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_attached() {
        let message = Message(json!({
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image", "data": "aGk="}, "odd"],
            "__openclaw": {"id": "m1", "media": [{"kind": "document", "fileName": "a.pdf"}, {}, null]},
        }));
        let expected = json!([
            {"type": "image", "data": "aGk="},
            {"type": "openclaw_media", "media": {"kind": "document", "fileName": "a.pdf"}},
        ]);
        assert_eq!(Value::Array(attachments(&message)), expected);
        assert!(attachments(&Message(json!({"role": "user", "content": "words"}))).is_empty());
    }

    #[test]
    fn keys_of_two_callers_do_not_meet() {
        let (mut one, mut two) = (Actor::operator(), Actor::operator());
        (one.subject, two.subject) = ("key:1".into(), "key:2".into());
        let key = |actor: &Actor, own| idempotency_key(actor, own).expect("a key").as_str().to_owned();
        assert_eq!(key(&one, Some("mine")), key(&one, Some("mine")));
        assert_ne!(key(&one, Some("mine")), key(&two, Some("mine")));
        assert_ne!(key(&one, None), key(&one, None));
    }
}
