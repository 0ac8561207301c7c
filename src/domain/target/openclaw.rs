//! `kind = "openclaw"`: an agent behind an OpenClaw gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ExecutorBlock, Limits, Target};

/// Which agent, and in which conversation it is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenclawBlock {
    /// The name of the gateway; without it the default one.
    pub instance: Option<String>,
    /// The agent; without it the one that answers at that gateway.
    pub agent: Option<String>,
    /// The conversation.
    pub session: Conversation,
}

/// The conversation of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Conversation {
    /// A new one for each run: the agent knows nothing of other runs.
    #[default]
    Own,
    /// This one for all runs, one after another: the agent remembers what was said before, by whomever.
    Shared(String),
}

impl OpenclawBlock {
    /// What names of the targets begin with that clawhand has for chats with a gateway. No target file can have one.
    pub const CHATS: &'static str = "openclaw:";
    /// The intent that gives a task to an agent.
    pub const DELEGATE: &'static str = "delegate";
    /// The output that is an agent's reply; what came with it is in `files/`.
    pub const REPLY: &'static str = "reply.md";
    /// The intent that says something to an agent, as it is.
    pub const CHAT: &'static str = "chat";

    /// The name of the instance that a target for chats is of.
    pub fn instance_of(target: &str) -> Option<&str> {
        target.strip_prefix(Self::CHATS)
    }

    pub(super) fn private_texts(&self) -> Vec<String> {
        // The key may name people and channels. One without such parts is a word that agents use.
        match &self.session {
            Conversation::Shared(key) if key.contains(':') => vec![key.clone()],
            _ => Vec::new(),
        }
    }
}

impl Target {
    /// The target on which chats with an instance run in the background, `at_once` of them with replies of up to
    /// `max_reply` bytes, each within `timeout`. No file describes it and nobody can refer to it.
    pub fn for_chats(instance: &str, at_once: u32, max_reply: u64, timeout: Duration) -> Self {
        Self {
            name: format!("{}{instance}", OpenclawBlock::CHATS),
            description: format!("chats with the OpenClaw instance {instance}"),
            labels: BTreeMap::new(),
            aliases: Vec::new(),
            capabilities: Vec::new(),
            disabled: false,
            intents: vec![OpenclawBlock::CHAT.to_owned()],
            approval: BTreeMap::new(),
            approval_expires: Self::APPROVAL_EXPIRES,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
            limits: Limits {
                timeout,
                max_output_bytes: max_reply,
                max_concurrent: at_once,
                ..Limits::default()
            },
            executor: ExecutorBlock::Openclaw(OpenclawBlock {
                instance: Some(instance.to_owned()),
                ..OpenclawBlock::default()
            }),
        }
    }
}
