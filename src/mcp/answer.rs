//! What `control` answers, as MCP says it.

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ErrorCode};
use serde_json::Value;

use crate::control::Answer;
use crate::domain::Refusal;
use crate::redact::{Clean, Rules};

/// What a tool's call gives to the protocol.
pub(super) type Called = Result<CallToolResponse, ErrorData>;

/// A tool result: structured content, and the same as JSON text for clients that read only text.
pub(super) fn result(answer: Answer) -> CallToolResult {
    match answer {
        Ok(value) => CallToolResult::structured(value.into_inner()),
        Err(refusal) => refused(&refusal),
    }
}

/// A refusal is a result with `isError`, so that the model reads it.
pub(super) fn refused(refusal: &Clean<Refusal>) -> CallToolResult {
    CallToolResult::structured_error(form(refusal))
}

/// A refusal where the protocol has no tool result: in the error's data.
pub(super) fn error(refusal: &Clean<Refusal>) -> ErrorData {
    ErrorData::invalid_params(refusal.message.clone(), Some(form(refusal)))
}

/// A request that the library could not read: of a method that there isn't, or of one that there is and that takes
/// something else.
pub(super) fn unread(method: String, offered: &[&str]) -> ErrorData {
    match offered.contains(&method.as_str()) {
        true => ErrorData::invalid_params(format!("the params of {method} can't be read"), None),
        false => ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method, None),
    }
}

/// `{code, message, retryable, hint}`.
pub(super) fn form(refusal: &Clean<Refusal>) -> Value {
    serde_json::to_value(refusal).unwrap_or_default()
}

/// A refusal that the door itself makes; its words come from the program and from the call, never from a target.
pub(super) fn own(refusal: Refusal) -> Clean<Refusal> {
    Rules::none().refusal(refusal)
}
