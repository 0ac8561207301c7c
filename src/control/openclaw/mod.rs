//! Talking to OpenClaw gateways: who may, within which bounds, and what a failure means to a caller.

pub(super) mod bounds;
pub(super) mod refuse;
pub(super) mod tasks;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::contract::openclaw::{
    OpenclawChat, OpenclawHealth, OpenclawInstance, OpenclawInstanceList, OpenclawReply, OpenclawStatus, OpenclawUsage,
};
use super::{Answer, Control, require};
use crate::domain::{Actor, Refusal, Scope};
use crate::gateway::Gateway;
use crate::gateway::http::{Ask, State};
use crate::gateway::socket;

/// How long a gateway may take to say which version it is.
const VERSION: Duration = Duration::from_secs(2);
/// What callers read in place of a URL.
const HIDDEN: &str = "[private]";

impl Control {
    /// Whether there is a gateway to talk to.
    pub fn has_gateways(&self) -> bool {
        !self.0.rooms.gateways.is_empty()
    }

    /// Says something to an agent and waits for its reply; meanwhile `progress` tells how many characters have arrived.
    /// Dropping the future ends the run on the gateway.
    pub async fn openclaw_chat(&self, actor: &Actor, arguments: OpenclawChat, progress: &watch::Sender<u64>) -> Answer {
        self.answer(self.chat(actor, arguments, progress).await)
    }

    async fn chat(
        &self,
        actor: &Actor,
        arguments: OpenclawChat,
        progress: &watch::Sender<u64>,
    ) -> Result<OpenclawReply, Refusal> {
        require(actor, Scope::Openclaw)?;
        let message = bounds::message(&arguments.message)?;
        let session = bounds::id("session_id", arguments.session_id.as_deref())?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let ask = Ask {
            text: message,
            session,
            model: None,
        };
        let failed = |error| refuse::failed(gateway, error);
        let mut chat = gateway.chat(&ask).await.map_err(failed)?;
        while chat.next().await.map_err(failed)?.is_some() {
            progress.send_replace(chat.characters());
        }
        let reply = chat.into_reply();
        Ok(OpenclawReply {
            response: reply.text,
            instance: gateway.instance().name.to_string(),
            session_id: session.map(str::to_owned),
            model: reply.model,
            finish_reason: reply.finish_reason,
            usage: reply.usage.map(|usage| OpenclawUsage {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
                total_tokens: usage.total_tokens,
            }),
        })
    }

    /// How a gateway is. That it can't be reached is an answer too, not a refusal.
    pub async fn openclaw_status(&self, actor: &Actor, arguments: OpenclawStatus) -> Answer {
        self.answer(self.health(actor, &arguments).await)
    }

    async fn health(&self, actor: &Actor, arguments: &OpenclawStatus) -> Result<OpenclawHealth, Refusal> {
        require(actor, Scope::Openclaw)?;
        let gateway = self.gateway(arguments.instance.as_deref())?;
        let status = gateway.status().await;
        let (word, version) = match status.state {
            State::Ready => ("ok", version_of(gateway).await),
            _ => ("error", None),
        };
        Ok(OpenclawHealth {
            status: word.to_owned(),
            message: status.message,
            instance: gateway.instance().name.to_string(),
            state: status.state.as_str().to_owned(),
            version,
            failing: status.failing,
            uptime_ms: status.uptime_ms,
            models: status.models,
        })
    }

    /// The instances that a caller may name.
    pub fn openclaw_instances(&self, actor: &Actor) -> Answer {
        self.answer(self.instances(actor))
    }

    fn instances(&self, actor: &Actor) -> Result<OpenclawInstanceList, Refusal> {
        require(actor, Scope::Openclaw)?;
        let gateways = &self.0.rooms.gateways;
        let default = gateways.get(None).ok().map(|gateway| gateway.instance().name.clone());
        let view = |gateway: &Gateway| {
            let instance = gateway.instance();
            OpenclawInstance {
                name: instance.name.to_string(),
                url: match instance.show_url {
                    true => instance.address.shown().to_owned(),
                    false => HIDDEN.to_owned(),
                },
                is_default: default.as_ref() == Some(&instance.name),
            }
        };
        let instances: Vec<_> = gateways.list().iter().map(view).collect();
        Ok(OpenclawInstanceList {
            total: instances.len() as u64,
            instances,
        })
    }

    fn gateway(&self, name: Option<&str>) -> Result<&Gateway, Refusal> {
        let name = bounds::id("instance", name)?;
        self.0.rooms.gateways.get(name).map_err(refuse::unknown)
    }

    /// A field of the wrong kind, or none where one must be: told as every other refusal of these tools.
    pub fn openclaw_field(&self, field: &str) -> crate::redact::Clean<Refusal> {
        self.rules().refusal(bounds::no_text(field))
    }
}

/// As its other door says. That one may be shut: then nothing is said of it here, and the tools that need it say why.
async fn version_of(gateway: &Gateway) -> Option<String> {
    let socket = gateway.socket();
    let mut states = socket.watch();
    let is_shut = states.wait_for(|state| matches!(state, socket::State::Failed(_) | socket::State::Closed));
    tokio::select! {
        hello = socket.hello(VERSION) => hello.ok().map(|hello| hello.server.version.clone()),
        _ = is_shut => None,
    }
}

/// The text of an answer for clients that read only text: the reply itself, or JSON over several lines.
pub fn text_of(answer: &Value) -> String {
    match answer["response"].as_str() {
        Some(response) => response.to_owned(),
        None => serde_json::to_string_pretty(answer).unwrap_or_default(),
    }
}
