//! What an answer means that is not the one that was hoped for.

use std::error::Error;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde_json::Value;

use super::frames::too_large;
use super::within;
use crate::gateway::{Fault, GatewayError, Instance};

/// The most of a text that nobody expected that is shown.
const SHOWN: usize = 300;

/// A whole answer.
pub(super) struct Body {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Body {
    /// Reads all of it, if it isn't too much and never pauses for too long.
    pub(super) async fn read(mut response: Response, instance: &Instance) -> Result<Self, GatewayError> {
        let max = instance.max_reply;
        if response.content_length().is_some_and(|length| length > max) {
            return Err(too_large(max));
        }
        let mut bytes = Vec::new();
        loop {
            let chunk = within(instance.idle_timeout, response.chunk()).await?;
            let Some(chunk) = chunk.map_err(|error| lost(&error))? else {
                break;
            };
            if (bytes.len() + chunk.len()) as u64 > max {
                return Err(too_large(max));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self {
            status: response.status(),
            headers: response.headers().clone(),
            bytes,
        })
    }

    pub(super) fn json(&self) -> Result<Value, GatewayError> {
        serde_json::from_slice(&self.bytes).map_err(|_| self.unexpected())
    }

    /// What isn't a gateway's answer: most often a page of something between.
    fn unexpected(&self) -> GatewayError {
        let status = words(self.status);
        let text = String::from_utf8_lossy(&self.bytes);
        let what = match title_of(&text) {
            Some(title) if title.is_empty() => "a web page came back".to_owned(),
            Some(title) => format!("a web page came back ({title})"),
            None if text.trim().is_empty() => "an empty body came back".to_owned(),
            None => "something came back that is not JSON".to_owned(),
        };
        let message = format!("OpenClaw did not answer, {what}: {status}. Is the url that of a gateway?");
        let retryable = matches!(self.status.as_u16(), 502..=504);
        GatewayError {
            retryable,
            retry_after: retry_after(&self.headers).filter(|_| retryable),
            ..GatewayError::new(Fault::Protocol, message)
        }
    }
}

/// Whether an answer says that it is JSON, or says nothing.
pub(super) fn is_json(response: &Response) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_none_or(|kind| kind.to_ascii_lowercase().contains("json"))
}

/// The error in an answer that is none.
pub(super) fn said_no(body: &Body) -> GatewayError {
    let status = words(body.status);
    let json = serde_json::from_slice::<Value>(&body.bytes).ok();
    let (text, code) = json.as_ref().map(|json| words_of(&json["error"])).unwrap_or_default();
    let with = |fault, message: String| GatewayError {
        code: code.clone(),
        retry_after: retry_after(&body.headers),
        ..GatewayError::new(fault, message)
    };
    let told = match &text {
        Some(text) => format!("API request failed: {status}: {text}"),
        None => format!("API request failed: {status}"),
    };
    match body.status {
        StatusCode::UNAUTHORIZED => with(
            Fault::WrongToken,
            format!("{told}. The gateway doesn't take this token or password"),
        ),
        // The gateway says this as plain text; a page is somebody else's.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !looks_like_page(&body.bytes) => with(
            Fault::EndpointDisabled,
            format!("{told}. The gateway's chat completions endpoint is disabled"),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => with(Fault::TooLarge, told),
        StatusCode::SERVICE_UNAVAILABLE if text.is_some() => with(Fault::NotReady, told),
        StatusCode::TOO_MANY_REQUESTS => GatewayError {
            retryable: true,
            ..with(Fault::Refused, told)
        },
        _ if text.is_none() => body.unexpected(),
        _ => match text.as_deref().and_then(missing_scope) {
            Some(scope) => with(Fault::MissingScope(scope), told),
            None => with(Fault::Refused, told),
        },
    }
}

/// The text and the code of `error`, in any of the forms in which it is said.
pub(super) fn words_of(error: &Value) -> (Option<String>, Option<String>) {
    if let Some(text) = error.as_str() {
        return (Some(shortened(text)), None);
    }
    let text = error["message"].as_str().map(shortened);
    let code = ["code", "type"].iter().find_map(|key| error[*key].as_str());
    (text, code.map(shortened))
}

/// `missing scope: operator.write`.
fn missing_scope(text: &str) -> Option<String> {
    let (_, scope) = text.split_once("missing scope: ")?;
    Some(scope.split_whitespace().next()?.to_owned())
}

/// The request or its answer broke.
pub(super) fn failed(error: &reqwest::Error) -> GatewayError {
    // Before there is a connection nothing was sent.
    if error.is_connect() || error.is_builder() {
        let message = format!("Failed to connect to OpenClaw: {}", reason(error));
        return GatewayError::new(Fault::Unreachable, message);
    }
    lost(error)
}

fn lost(error: &reqwest::Error) -> GatewayError {
    let why = reason(error);
    GatewayError::new(
        Fault::Lost,
        format!("the connection to OpenClaw broke before it answered: {why}. What the agent did isn't known"),
    )
}

/// The innermost reason, which unlike the outer ones names no address.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(own) if own.is_timeout() => "it took too long".to_owned(),
        Some(_) => "the request can't be sent".to_owned(),
        None => innermost.to_string(),
    }
}

/// `502 Bad Gateway`.
fn words(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
        .trim_end()
        .to_owned()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn looks_like_page(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<")
}

/// The title of a web page, which may be empty.
fn title_of(text: &str) -> Option<String> {
    if !looks_like_page(text.as_bytes()) {
        return None;
    }
    // Lower case for a search, byte for byte at the same places.
    let lower = text.to_ascii_lowercase();
    let from = lower.find("<title>").map(|at| at + "<title>".len());
    let title = from.and_then(|from| Some(&text[from..from + lower[from..].find('<')?]));
    Some(shortened(title.unwrap_or_default().trim()))
}

/// On one line, and not longer than somebody reads.
fn shortened(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push_str("...");
    }
    line
}
