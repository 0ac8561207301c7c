//! Questions to the client: as a result that asks for input (2026-07-28), or as a request of the server (before).

use rmcp::ErrorData;
use rmcp::model::{CallToolRequestParams, InputRequiredResult, InputResponses, RequestStateCodec};
use serde_json::{Value, json};

use super::{Context, data, fixture};
use crate::mcp::answer::Called;

/// A form with one required field.
pub(super) fn form(message: &str, field: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": {
        "type": "object", "properties": {field: {"type": kind}}, "required": [field],
    }}})
}

/// A question to the client's model.
pub(super) fn sampling(text: &str, max_tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}], "maxTokens": max_tokens,
    }})
}

/// A question for the client's roots.
pub(super) fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// The result that asks `requests`.
pub(super) fn ask(requests: &Value, state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    fixture(result)
}

/// The answer to `key` that is one: an object that says how it was answered or what was found.
pub(super) fn answer<'a>(responses: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    let answer = responses?.get(key)?;
    let known = ["action", "content", "roots"];
    answer
        .as_object()
        .filter(|answer| known.iter().any(|field| answer.contains_key(*field)))
        .map(|_| answer)
}

/// The tools whose names begin with `test_input_required_result_`.
pub(super) fn call(codec: &RequestStateCodec, request: &CallToolRequestParams, context: &Context) -> Option<Called> {
    let answers = request.input_responses.as_ref();
    let name = form("What is your name?", "name", "string");
    let called = match request.name.strip_prefix("test_input_required_result_")? {
        "elicitation" => match answer(answers, "user_name") {
            Some(answer) => say(&format!(
                "Hello, {}!",
                answer["content"]["name"].as_str().unwrap_or("stranger")
            )),
            None => once(&json!({ "user_name": name }), None),
        },
        "sampling" => match answer(answers, "capital_question") {
            Some(answer) => say(answer["content"]["text"].as_str().unwrap_or("nothing was said")),
            None => once(
                &json!({"capital_question": sampling("What is the capital of France?", 100)}),
                None,
            ),
        },
        "list_roots" => match answer(answers, "client_roots") {
            Some(answer) => say(&format!("The roots are {}", answer["roots"])),
            None => once(&json!({"client_roots": roots()}), None),
        },
        "request_state" | "tampered_state" => match opened(codec, request) {
            Ok(Some(_)) if answer(answers, "confirm").is_some() => say("state-ok"),
            Ok(_) => once(
                &json!({"confirm": form("Please confirm", "ok", "boolean")}),
                Some(codec.seal(b"confirm")),
            ),
            Err(error) => Err(error),
        },
        "multiple_inputs" => multiple(codec, request, &name),
        "multi_round" => rounds(codec, request),
        "capabilities" => {
            let client = context.client_capabilities().unwrap_or_default();
            let mut requests = json!({});
            if client.elicitation.is_some() {
                requests["user_name"] = name;
            }
            if client.sampling.is_some() {
                requests["greeting"] = sampling("Generate a greeting", 50);
            }
            if answers.is_some() {
                say("thank you")
            } else {
                once(&requests, None)
            }
        }
        _ => return None,
    };
    Some(called)
}

fn multiple(codec: &RequestStateCodec, request: &CallToolRequestParams, name: &Value) -> Called {
    let answers = request.input_responses.as_ref();
    let asked = ["user_name", "greeting", "client_roots"];
    if opened(codec, request)?.is_some() && asked.iter().all(|key| answer(answers, key).is_some()) {
        return say("all three were answered");
    }
    let requests = json!({
        "user_name": name, "greeting": sampling("Generate a greeting", 50), "client_roots": roots(),
    });
    once(&requests, Some(codec.seal(b"three")))
}

fn rounds(codec: &RequestStateCodec, request: &CallToolRequestParams) -> Called {
    let answers = request.input_responses.as_ref();
    let state = opened(codec, request)?;
    match state.as_deref() {
        Some(b"round-2") if answer(answers, "step2").is_some() => say("both steps were answered"),
        Some(b"round-1") if answer(answers, "step1").is_some() => {
            let ask = form("Step 2: What is your favorite color?", "color", "string");
            once(&json!({ "step2": ask }), Some(codec.seal(b"round-2")))
        }
        _ => {
            let ask = form("Step 1: What is your name?", "name", "string");
            once(&json!({ "step1": ask }), Some(codec.seal(b"round-1")))
        }
    }
}

/// The state that came back, if it is the one that was sealed here.
fn opened(codec: &RequestStateCodec, request: &CallToolRequestParams) -> Result<Option<Vec<u8>>, ErrorData> {
    let Some(state) = &request.request_state else {
        return Ok(None);
    };
    let bad = |error| ErrorData::invalid_params(format!("requestState was not made here: {error}"), None);
    codec.open(state).map(Some).map_err(bad)
}

fn once(requests: &Value, state: Option<String>) -> Called {
    ask(requests, state).map(Into::into)
}

fn say(words: &str) -> Called {
    super::tools::complete(&[data::text(words)])
}
