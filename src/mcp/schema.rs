//! JSON Schemas of the contract's types, written so that every client understands them: one flat object without
//! references, unions with null, or formats of Rust's number types.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of what a tool takes.
pub(super) fn input<T: JsonSchema>() -> JsonObject {
    flat_object(
        SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value(),
    )
}

/// The schema of what a tool gives: the answer, or a refusal. Some clients check the structured content of an error
/// against it too, and would show their own complaint in place of the refusal.
pub(super) fn output<T: JsonSchema>() -> JsonObject {
    let mut object = flat_object(
        SchemaSettings::draft2020_12()
            .for_serialize()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value(),
    );
    let required = object.remove("required").unwrap_or_else(|| json!([]));
    object.insert("anyOf".into(), json!([{ "required": required }, refusal()]));
    object
}

/// The schema of a [`Refusal`](crate::domain::Refusal).
fn refusal() -> Value {
    json!({
        "description": "A refusal, with isError.",
        "properties": {
            "code": { "type": "string" },
            "message": { "type": "string" },
            "retryable": { "type": "boolean" },
            "hint": { "type": "string" },
        },
        "required": ["code", "message", "retryable", "hint"],
    })
}

fn flat_object(mut schema: Value) -> JsonObject {
    flatten(&mut schema);
    let mut object = match schema {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    // The doc comment of the type is about the contract, not about the tool, which has a description of its own.
    object.remove("description");
    object.entry("properties").or_insert_with(|| json!({}));
    object
}

/// Rewrites one schema and those below it.
fn flatten(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for noise in ["$schema", "title", "format", "default"] {
        object.remove(noise);
    }
    drop_null(object);
    consts_to_enum(object);
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(flatten);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = object.get_mut(key) {
            flatten(below);
        }
    }
}

/// An optional field is one that may be absent; that it may also be null is not worth a union in the schema.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get("type")
        && let Some(only) = types.iter().find(|name| *name != "null").cloned()
    {
        object.insert("type".into(), only);
    }
    if let Some(Value::Array(choices)) = object.remove("anyOf") {
        let some = choices.into_iter().find(|choice| choice["type"] != "null");
        for (key, value) in some.as_ref().and_then(Value::as_object).into_iter().flatten() {
            object.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// Documented variants come as a choice of constants; an enum with the explanations in its description says the same.
fn consts_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.remove("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    let mut text = object
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for choice in &choices {
        let word = &choice["const"];
        words.push(word.clone());
        if let (Some(word), Some(says)) = (word.as_str(), choice["description"].as_str()) {
            text.push_str(&format!(" {word}: {says}"));
        }
    }
    object.insert("type".into(), json!("string"));
    object.insert("enum".into(), Value::Array(words));
    object.insert("description".into(), json!(text.trim()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::contract::{ExecutionResult, GetStatus, RespondToApproval, SubmitTask};

    fn walk(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                visit(object);
                object.values().for_each(|below| walk(below, visit));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
            _ => {}
        }
    }

    #[test]
    fn schemas_are_flat() {
        let mut result = output::<ExecutionResult>();
        let choices = result.remove("anyOf").expect("an answer or a refusal");
        assert_eq!(
            choices[0]["required"],
            json!(["state", "summary", "artifacts", "steps"])
        );
        for schema in [input::<SubmitTask>(), input::<RespondToApproval>(), result] {
            walk(&Value::Object(schema), &mut |object| {
                for keyword in ["$ref", "$defs", "anyOf", "oneOf", "allOf", "$schema"] {
                    assert!(!object.contains_key(keyword), "{keyword} in {object:?}");
                }
                assert!(!object.get("type").is_some_and(Value::is_array), "{object:?}");
            });
        }
    }

    #[test]
    fn what_is_optional_is_not_required() {
        let schema = input::<GetStatus>();
        assert_eq!(schema["required"], json!(["execution_id"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["wait_ms"]["type"], "integer");
    }

    #[test]
    fn a_choice_is_an_enum() {
        let decision = &input::<RespondToApproval>()["properties"]["decision"];
        assert_eq!(decision["enum"], json!(["allow_once", "allow_always", "deny"]));
    }
}
