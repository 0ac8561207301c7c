//! Tools with fixed answers, and those that ask the client on an open connection.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ElicitRequestParams, JsonObject, LoggingLevel,
    LoggingMessageNotificationParam, ProgressNotificationParam, RequestStateCodec, Tool,
};
use serde_json::{Value, json};

use super::data::{self, embedded, image, text};
use super::{Context, fixture, questions};
use crate::mcp::answer::Called;

const NAMES: [&str; 23] = [
    "test_audio_content",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_embedded_resource",
    "test_error_handling",
    "test_image_content",
    "test_input_required_result_capabilities",
    "test_input_required_result_elicitation",
    "test_input_required_result_list_roots",
    "test_input_required_result_multi_round",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_request_state",
    "test_input_required_result_sampling",
    "test_input_required_result_tampered_state",
    "test_logging_tool",
    "test_missing_capability",
    "test_multiple_content_types",
    "test_sampling",
    "test_simple_text",
    "test_streaming_elicitation",
    "test_tool_with_logging",
    "test_tool_with_progress",
];

pub(super) fn all() -> Vec<Tool> {
    let schema = |name: &str| {
        let argument = match name {
            "test_sampling" => Some("prompt"),
            "test_elicitation" => Some("message"),
            _ => None,
        };
        let schema = match argument {
            Some(argument) => {
                json!({"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]})
            }
            None => json!({"type": "object", "properties": {}}),
        };
        schema.as_object().cloned().unwrap_or_default()
    };
    let tool = |name: &'static str| Tool::new(name, "A tool of the conformance suite.", schema(name));
    NAMES.into_iter().map(tool).collect()
}

/// Calls a fixture; none if `request` names no fixture.
pub(super) async fn call(
    codec: &RequestStateCodec,
    request: &CallToolRequestParams,
    context: &Context,
) -> Option<Called> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let called = match request.name.as_ref() {
        "test_simple_text" => complete(&[text("This is a simple text response for testing.")]),
        "test_image_content" => complete(&[image()]),
        "test_audio_content" => complete(&[json!({"type": "audio", "data": data::WAV, "mimeType": "audio/wav"})]),
        "test_embedded_resource" => complete(&[embedded(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )]),
        "test_multiple_content_types" => complete(&[
            text("Multiple content types test:"),
            image(),
            embedded(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ]),
        "test_error_handling" => fixture::<CallToolResult>(json!({"resultType": "complete", "isError": true,
            "content": [text("This tool intentionally returns an error for testing")]}))
        .map(Into::into),
        "test_tool_with_logging" => logging(context).await,
        "test_logging_tool" => match context.meta.log_level() {
            Some(_) => logging(context).await,
            None => complete(&[text("nothing was logged")]),
        },
        "test_tool_with_progress" => progress(context).await,
        "test_missing_capability" => needs_sampling(context),
        "test_streaming_elicitation" => {
            let ask = questions::form("What is your name?", "name", "string");
            questions::ask(&json!({ "user_name": ask }), None).map(Into::into)
        }
        "test_sampling" => sample(argument("prompt"), context).await,
        "test_elicitation" => elicit(argument("message"), user_form(), context).await,
        "test_elicitation_sep1034_defaults" => elicit("Please confirm", defaults_form(), context).await,
        "test_elicitation_sep1330_enums" => elicit("Please choose", enums_form(), context).await,
        _ => return questions::call(codec, request, context),
    };
    Some(called)
}

pub(super) fn complete(content: &[Value]) -> Called {
    fixture::<CallToolResult>(json!({"resultType": "complete", "content": content})).map(Into::into)
}

async fn logging(context: &Context) -> Called {
    for words in [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ] {
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, words.into());
        context.peer.notify_logging_message(message).await.map_err(lost)?;
    }
    complete(&[text("three messages were logged")])
}

async fn progress(context: &Context) -> Called {
    if let Some(token) = context.meta.get_progress_token() {
        for done in [0.0, 50.0, 100.0] {
            let progress = ProgressNotificationParam::new(token.clone(), done).with_total(100.0);
            context.peer.notify_progress(progress).await.map_err(lost)?;
        }
    }
    complete(&[text("it is done")])
}

fn needs_sampling(context: &Context) -> Called {
    if context
        .client_capabilities()
        .is_some_and(|client| client.sampling.is_some())
    {
        return complete(&[text("sampling is there")]);
    }
    let required = ClientCapabilities::builder().enable_sampling().build();
    Err(ErrorData::missing_required_client_capability(required))
}

async fn sample(prompt: &str, context: &Context) -> Called {
    let params = questions::sampling(prompt, 100)["params"].take();
    let answer = context.peer.create_message(fixture(params)?).await.map_err(lost)?;
    let answer = serde_json::to_value(answer).unwrap_or_default();
    let words = answer["content"]["text"].as_str().unwrap_or_default();
    complete(&[text(&format!("LLM response: {words}"))])
}

async fn elicit(message: &str, schema: Value, context: &Context) -> Called {
    let params: ElicitRequestParams = fixture(json!({"mode": "form", "message": message, "requestedSchema": schema}))?;
    let answer = context.peer.create_elicitation(params).await.map_err(lost)?;
    let answer = serde_json::to_value(answer).unwrap_or_default();
    let (action, content) = (&answer["action"], &answer["content"]);
    complete(&[text(&format!(
        "Elicitation completed: action={}, content={content}",
        action.as_str().unwrap_or("?")
    ))])
}

fn user_form() -> Value {
    let field = |says: &str| json!({"type": "string", "description": says});
    object_form(
        json!({"username": field("User's response"), "email": field("User's email address")}),
        &["username", "email"],
    )
}

fn defaults_form() -> Value {
    let properties = json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    });
    object_form(properties, &[])
}

fn enums_form() -> Value {
    let options = ["option1", "option2", "option3"];
    let titled = json!([
        {"const": "value1", "title": "First Option"},
        {"const": "value2", "title": "Second Option"},
        {"const": "value3", "title": "Third Option"},
    ]);
    let properties = json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    });
    object_form(properties, &[])
}

fn object_form(properties: Value, required: &[&str]) -> Value {
    let mut form = JsonObject::new();
    form.insert("type".into(), "object".into());
    form.insert("properties".into(), properties);
    form.insert("required".into(), json!(required));
    form.into()
}

/// A question that couldn't be put: the client doesn't answer questions, or went away.
fn lost(error: rmcp::ServiceError) -> ErrorData {
    match error {
        rmcp::ServiceError::McpError(error) => error,
        error => ErrorData::internal_error(error.to_string(), None),
    }
}
