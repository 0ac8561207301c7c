//! What a reply is made of: chunks of a stream, or one completion.

use serde_json::Value;

use super::answer;
use super::frames::too_large;
use crate::gateway::{Fault, GatewayError};

/// How the stream says that it is whole.
const DONE: &[u8] = b"[DONE]";

/// An agent's reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// Why it ended: `stop`, `length`.
    pub finish_reason: Option<String>,
    /// Who answered, as the gateway calls it.
    pub model: Option<String>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// Tokens, as the model's provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: u64,
    /// Written.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

/// A reply as far as it has arrived.
pub(super) struct Gathered {
    reply: Reply,
    /// How much of the text was handed out.
    told: usize,
    characters: u64,
    has_choice: bool,
    max: u64,
}

impl Gathered {
    pub(super) fn new(max: u64) -> Self {
        Self {
            reply: Reply::default(),
            told: 0,
            characters: 0,
            has_choice: false,
            max,
        }
    }

    /// Takes the data of one event. True at the end.
    pub(super) fn chunk(&mut self, data: &[u8]) -> Result<bool, GatewayError> {
        if data.trim_ascii() == DONE {
            return self.expect_choice().map(|()| true);
        }
        if data.trim_ascii().is_empty() {
            return Ok(false);
        }
        let chunk: Value = serde_json::from_slice(data)
            .map_err(|_| GatewayError::new(Fault::Protocol, "OpenClaw sent a part of its reply that is not JSON"))?;
        self.take_in(&chunk, "delta")?;
        Ok(false)
    }

    /// Takes a reply that came in one piece.
    pub(super) fn whole(&mut self, completion: &Value) -> Result<(), GatewayError> {
        self.take_in(completion, "message")?;
        self.expect_choice()
    }

    fn take_in(&mut self, value: &Value, part: &str) -> Result<(), GatewayError> {
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(self.run_failed(error));
        }
        if let Some(model) = value["model"].as_str().filter(|_| self.reply.model.is_none()) {
            self.reply.model = Some(model.to_owned());
        }
        if let Some(usage) = usage_of(&value["usage"]) {
            self.reply.usage = Some(usage);
        }
        let Some(choice) = value["choices"].get(0) else {
            return Ok(());
        };
        self.has_choice = true;
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.reply.finish_reason = Some(reason.to_owned());
        }
        let parts = texts_of(&choice[part]["content"]);
        parts.into_iter().try_for_each(|text| self.add(text))
    }

    fn add(&mut self, text: &str) -> Result<(), GatewayError> {
        if (self.reply.text.len() + text.len()) as u64 > self.max {
            return Err(too_large(self.max));
        }
        self.reply.text.push_str(text);
        self.characters += text.chars().count() as u64;
        Ok(())
    }

    fn expect_choice(&self) -> Result<(), GatewayError> {
        match self.has_choice {
            true => Ok(()),
            false => Err(GatewayError::new(
                Fault::Protocol,
                "OpenClaw sent a reply without choices",
            )),
        }
    }

    /// The text that arrived since the last time.
    pub(super) fn take(&mut self) -> Option<String> {
        let piece = self.reply.text.get(self.told..).unwrap_or_default().to_owned();
        self.told = self.reply.text.len();
        Some(piece).filter(|piece| !piece.is_empty())
    }

    pub(super) fn characters(&self) -> u64 {
        self.characters
    }

    /// Whether the model said that it is finished. Some proxies swallow the last event.
    pub(super) fn is_whole(&self) -> bool {
        self.reply.finish_reason.is_some()
    }

    pub(super) fn into_reply(self) -> Reply {
        self.reply
    }

    fn run_failed(&self, error: &Value) -> GatewayError {
        let (text, code) = answer::words_of(error);
        let text = text.unwrap_or_else(|| "the gateway gives no reason".to_owned());
        let message = match self.characters {
            0 => format!("OpenClaw failed to reply: {text}"),
            characters => format!("OpenClaw failed after {characters} characters of its reply: {text}"),
        };
        GatewayError {
            code,
            ..GatewayError::new(Fault::Refused, message)
        }
    }

    /// The connection went before the reply was whole.
    pub(super) fn broken(&self, why: &str) -> GatewayError {
        let characters = self.characters;
        GatewayError::new(
            Fault::Lost,
            format!("the connection to OpenClaw broke after {characters} characters of the reply: {why}"),
        )
    }
}

/// Content is a text, or parts of which some are texts.
fn texts_of(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => Vec::new(),
    }
}

fn usage_of(usage: &Value) -> Option<Usage> {
    let count = |name: &str| usage[name].as_u64();
    Some(Usage {
        prompt_tokens: count("prompt_tokens")?,
        completion_tokens: count("completion_tokens")?,
        total_tokens: count("total_tokens")?,
    })
}
