//! Prompts, resources and contents with fixed words.

use rmcp::ErrorData;
use rmcp::model::{
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, Prompt, PromptArgument, ReadResourceResult, Resource,
    ResourceTemplate,
};
use serde_json::{Value, json};

use super::{fixture, questions};

/// A PNG of one red pixel.
pub(super) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A WAV of no samples.
pub(super) const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

pub(super) fn prompts() -> Vec<Prompt> {
    let argument = |name: &str| {
        PromptArgument::new(name)
            .with_description("A test argument.")
            .with_required(true)
    };
    let prompt = |name: &str, arguments: Option<Vec<PromptArgument>>| {
        Prompt::new(name, Some("A prompt of the conformance suite."), arguments)
    };
    vec![
        prompt("test_input_required_result_prompt", None),
        prompt(
            "test_prompt_with_arguments",
            Some(vec![argument("arg1"), argument("arg2")]),
        ),
        prompt(
            "test_prompt_with_embedded_resource",
            Some(vec![argument("resourceUri")]),
        ),
        prompt("test_prompt_with_image", None),
        prompt("test_simple_prompt", None),
    ]
}

pub(super) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let contents = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (arg1, arg2) = (argument("arg1"), argument("arg2"));
            vec![text(&format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]
        }
        "test_prompt_with_embedded_resource" => vec![
            embedded(
                argument("resourceUri"),
                "text/plain",
                "Embedded resource content for testing.",
            ),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![image(), text("Please analyze the image above.")],
        "test_input_required_result_prompt" => {
            match questions::answer(request.input_responses.as_ref(), "user_context") {
                Some(answer) => vec![text(&format!("Use this context: {answer}"))],
                None => {
                    let ask = questions::form("What context should the prompt use?", "context", "string");
                    return questions::ask(&json!({ "user_context": ask }), None).map(Into::into);
                }
            }
        }
        _ => return Err(ErrorData::invalid_params("prompt not found", None)),
    };
    let messages: Vec<Value> = contents
        .iter()
        .map(|content| json!({"role": "user", "content": content}))
        .collect();
    fixture::<GetPromptResult>(json!({"resultType": "complete", "messages": messages})).map(Into::into)
}

pub(super) fn resources() -> Vec<Resource> {
    let resource = |uri: &str, name: &str, media: &str| {
        Resource::new(uri, name)
            .with_description("A resource of the conformance suite.")
            .with_mime_type(media)
    };
    vec![
        resource("test://static-binary", "static-binary", "image/png"),
        resource("test://static-text", "static-text", "text/plain"),
        resource("test://watched-resource", "watched-resource", "text/plain"),
    ]
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new("test://template/{id}/data", "template").with_mime_type("application/json")
}

/// The fixture at `uri`; none if it is no fixture.
pub(super) fn resource(uri: &str) -> Option<Result<ReadResourceResult, ErrorData>> {
    let content = match uri {
        "test://static-text" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "Watched."}),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let text = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"uri": uri, "mimeType": "application/json", "text": text.to_string()})
        }
    };
    Some(fixture(json!({"resultType": "complete", "contents": [content]})))
}

pub(super) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub(super) fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

pub(super) fn embedded(uri: &str, media: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": media, "text": text}})
}
