//! Conversations on the channels of OpenClaw gateways: who may take part, within which bounds, and what a failure means.
//!
//! Needs neither tasks nor a database: the installation has one of these, and so has a bridge that is nothing else. Start
//! reading at [`Conversations`].

pub mod channel;
mod events;
mod messages;
mod permissions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::contract::conversations::{
    Conversation, ConversationFound, ConversationGet, ConversationList, ConversationsList,
};
use super::openclaw::{bounds, refuse};
use super::{Answer, Control, require};
use crate::domain::{Actor, Code, Refusal, Scope};
use crate::gateway::wire::{self, SessionRow, SessionsDescribe, SessionsList};
use crate::gateway::{Fault, Gateway, GatewayError, Gateways};
use crate::redact::Rules;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(25);
/// How many sessions are asked for at once.
const PAGE: u32 = 200;
/// How many of these pages are looked through for one list.
const PAGES: u32 = 50;
/// What a question that changed nothing leads to when its answer is lost.
const AGAIN: &str = "call again";

/// The rules by which everything is scrubbed that leaves now.
pub type RulesNow = Arc<dyn Fn() -> Rules + Send + Sync>;

/// The conversations of gateways. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    gateways: Gateways,
    rules: RulesNow,
}

impl Control {
    /// The conversations of this installation's gateways.
    pub fn conversations(&self) -> Conversations {
        let control = self.clone();
        Conversations::new(self.0.rooms.gateways.clone(), Arc::new(move || control.rules()))
    }
}

impl Conversations {
    /// Those of `gateways`, told by these rules.
    pub fn new(gateways: Gateways, rules: RulesNow) -> Self {
        Self { gateways, rules }
    }

    fn answer<T: Serialize>(&self, result: Result<T, Refusal>) -> Answer {
        let rules = (self.rules)();
        match result {
            Ok(value) => Ok(rules.value(&value)),
            Err(refusal) => Err(rules.refusal(refusal)),
        }
    }

    /// The gateway of this name, which from here on is followed: what happens there is kept for whoever asks later.
    fn gateway(&self, name: Option<&str>) -> Result<&Gateway, Refusal> {
        let name = bounds::id("instance", name)?;
        let gateway = self.gateways.get(name).map_err(refuse::unknown)?;
        gateway.feed();
        Ok(gateway)
    }

    /// The conversations of a gateway, newest first.
    pub async fn list(&self, actor: &Actor, arguments: ConversationsList) -> Answer {
        self.answer(self.listed(actor, &arguments).await)
    }

    async fn listed(&self, actor: &Actor, arguments: &ConversationsList) -> Result<ConversationList, Refusal> {
        require(actor, Scope::Openclaw)?;
        let limit = bounds::count("limit", arguments.limit, 1..=500, 50)?;
        let channel = bounds::optional("channel", arguments.channel.as_deref())?.map(str::to_lowercase);
        let mut asked = SessionsList {
            limit: Some(PAGE),
            offset: Some(0),
            search: bounds::optional("search", arguments.search.as_deref())?.map(str::to_owned),
            agent_id: None,
            include_derived_titles: arguments.include_derived_titles.unwrap_or(true),
            include_last_message: arguments.include_last_message.unwrap_or(true),
        };
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let is_wanted = |found: &Conversation| channel.as_ref().is_none_or(|channel| *channel == found.channel);
        let (mut conversations, mut seen) = (Vec::new(), BTreeSet::new());
        let until = Instant::now() + PATIENCE;
        for number in 0..PAGES {
            if number > 0 && Instant::now() >= until {
                break;
            }
            let page = gateway.socket().call(&wire::SESSIONS_LIST, &asked, PATIENCE).await;
            let page = page.map_err(|error| failed(gateway, error, AGAIN))?;
            // A session that something happens in meanwhile moves to the front, and another one is told twice.
            let fresh = page.sessions.iter().filter(|row| seen.insert(row.key.clone()));
            conversations.extend(fresh.filter_map(conversation).filter(is_wanted));
            conversations.truncate(limit);
            let further = page
                .next_offset
                .filter(|next| asked.offset.is_some_and(|at| *next > at));
            if conversations.len() == limit || further.is_none() {
                return Ok(ConversationList {
                    conversations,
                    truncated: false,
                });
            }
            asked.offset = further;
        }
        Ok(ConversationList {
            conversations,
            truncated: true,
        })
    }

    /// One conversation.
    pub async fn get(&self, actor: &Actor, arguments: ConversationGet) -> Answer {
        let found = self.found(actor, &arguments).await;
        self.answer(found.map(|(_, conversation)| ConversationFound { conversation }))
    }

    async fn found(&self, actor: &Actor, arguments: &ConversationGet) -> Result<(&Gateway, Conversation), Refusal> {
        require(actor, Scope::Openclaw)?;
        let key = bounds::key("session_key", &arguments.session_key)?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let asked = SessionsDescribe {
            key: key.to_owned(),
            include_derived_titles: true,
            include_last_message: true,
        };
        let found = gateway.socket().call(&wire::SESSIONS_DESCRIBE, &asked, PATIENCE).await;
        let found = found.map_err(|error| failed(gateway, error, AGAIN))?;
        let conversation = found.session.as_ref().and_then(conversation);
        let conversation = conversation.ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                format!("conversation not found: {key}"),
                "conversations_list lists them; a session without a channel is none",
            )
        })?;
        Ok((gateway, conversation))
    }
}

/// A session that messages can be sent back to.
fn conversation(row: &SessionRow) -> Option<Conversation> {
    let route = row.route()?;
    Some(Conversation {
        session_key: row.key.clone(),
        channel: route.channel?,
        to: route.to?,
        account_id: route.account_id,
        thread_id: route.thread_id,
        label: row.label.clone(),
        display_name: row.display_name.clone(),
        derived_title: row.derived_title.clone(),
        last_message_preview: row.last_message_preview.clone(),
        updated_at: row.updated_at,
    })
}

/// What a failure of a gateway means here; `lost` says what to do when it isn't known whether it did what was asked.
fn failed(gateway: &Gateway, error: GatewayError, lost: &'static str) -> Refusal {
    let hint = match error.fault {
        Fault::WrongToken => Some("the operator has to correct the gateway's token or password; clawhand keeps trying"),
        Fault::Pairing(_) => Some("the gateway's operator has to approve this device; clawhand keeps trying"),
        Fault::Unreachable | Fault::NotReady => Some("clawhand keeps trying to connect: call again later"),
        Fault::Lost => Some(lost),
        Fault::IdleTimeout | Fault::Cancelled => Some(AGAIN),
        _ => None,
    };
    // That there is no connection, its own task has told, once and not for every call.
    if hint.is_none() || matches!(error.fault, Fault::Lost | Fault::IdleTimeout) {
        let instance = gateway.instance().name.as_str();
        tracing::warn!(instance, fault = ?error.fault, %error, "an OpenClaw gateway did not do what was asked");
    }
    let mut refusal = refuse::refusal(error);
    if let Some(hint) = hint {
        hint.clone_into(&mut refusal.hint);
    }
    refusal
}
