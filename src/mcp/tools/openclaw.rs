//! What the `openclaw_` tools share: arguments and texts in the way of openclaw-mcp 1.7.0.

use rmcp::model::{CallToolResult, ContentBlock};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Call;
use crate::control::{Answer, openclaw};
use crate::domain::Refusal;
use crate::mcp::answer;
use crate::redact::Clean;

impl Call<'_> {
    /// Its arguments, all of which are texts. What is unknown is left alone.
    pub(super) fn texts<T: DeserializeOwned>(&mut self) -> Result<T, Clean<Refusal>> {
        self.texts_and(&[])
    }

    /// The same, with these numbers among them.
    pub(super) fn texts_and<T: DeserializeOwned>(&mut self, numbers: &[&str]) -> Result<T, Clean<Refusal>> {
        let mut arguments = std::mem::take(&mut self.arguments);
        let schema = &self.tool.input_schema;
        let required = |name: &str| schema.get("required").is_some_and(|names| has(names, name));
        let known = schema.get("properties").and_then(Value::as_object);
        for name in known.into_iter().flat_map(|known| known.keys()) {
            match arguments.get(name) {
                Some(Value::Number(_)) if numbers.contains(&name.as_str()) => {}
                Some(Value::String(_)) if !numbers.contains(&name.as_str()) => {}
                None | Some(Value::Null) if !required(name) => {
                    arguments.remove(name);
                }
                _ if numbers.contains(&name.as_str()) => return Err(self.control.openclaw_number(name)),
                _ => return Err(self.control.openclaw_field(name)),
            }
        }
        serde_json::from_value(Value::Object(arguments)).map_err(|_| self.control.openclaw_field("arguments"))
    }
}

fn has(names: &Value, name: &str) -> bool {
    names.as_array().into_iter().flatten().any(|one| one == name)
}

/// Structured content, with the text that clients of openclaw-mcp know beside it.
pub(super) fn result(answer: Answer) -> CallToolResult {
    match answer {
        Ok(value) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(openclaw::text_of(&value))]);
            result.structured_content = Some(value.into_inner());
            result
        }
        Err(refusal) => refused(&refusal),
    }
}

/// `Error: ` and why.
pub(super) fn refused(refusal: &Clean<Refusal>) -> CallToolResult {
    let mut result = answer::refused(refusal);
    result.content = vec![ContentBlock::text(format!("Error: {}", refusal.message))];
    result
}
