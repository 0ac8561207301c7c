//! Arguments of a call: checked against the tool's own schema first, so that a refusal names the field that is wrong.
//! These are checks of form; whether a value makes sense is decided in `control`.

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::Refusal;
use crate::redact::{Clean, Rules};

/// The longest text in bytes that isn't the content of a file.
const TEXT_MAX: usize = 64 * 1024;
/// Fields that carry a file or a message, which have bounds of their own: as long as the request's body may be.
const CONTENT: [&str; 3] = ["content", "content_base64", "text"];

/// Reads `arguments` as `T`, whose schema is `schema`.
pub(super) fn read<T: DeserializeOwned>(schema: &JsonObject, arguments: JsonObject) -> Result<T, Clean<Refusal>> {
    let mut arguments = Value::Object(arguments);
    check_object("", schema, &mut arguments)
        .and_then(|()| {
            serde_json::from_value(arguments).map_err(|error| {
                Refusal::invalid(
                    format!("the arguments can't be read: {error}"),
                    "see the tool's input schema",
                )
            })
        })
        .map_err(|refusal| Rules::none().refusal(refusal))
}

fn check(path: &str, schema: &Value, value: &mut Value) -> Result<(), Refusal> {
    let expected = match schema["type"].as_str() {
        Some("string") if value.is_string() => return check_text(path, schema, value),
        Some("integer") => return check_number(path, schema, value),
        Some("boolean") if value.is_boolean() => return Ok(()),
        Some("object") if value.is_object() => {
            return match schema.as_object() {
                Some(schema) => check_object(path, schema, value),
                None => Ok(()),
            };
        }
        Some("string") => "a text",
        Some("boolean") => "true or false",
        Some("object") => "an object",
        _ => return check_free(path, value),
    };
    Err(unexpected(path, expected, value))
}

fn check_number(path: &str, schema: &Value, value: &mut Value) -> Result<(), Refusal> {
    whole(value);
    let bound = |name| schema[name].as_i64();
    let (least, most) = (bound("minimum"), bound("maximum"));
    let number = value.as_i64().or(value.as_u64().map(|_| i64::MAX));
    let fits = |number| least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
    if number.is_some_and(fits) {
        return Ok(());
    }
    let expected = match (least, most) {
        (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        _ => "a whole number that is not negative".to_owned(),
    };
    Err(unexpected(path, &expected, value))
}

fn unexpected(path: &str, expected: &str, value: &Value) -> Refusal {
    Refusal::invalid(
        format!("field {path}: expected {expected}, got {}", kind(value)),
        "correct the field and call again",
    )
}

fn check_object(path: &str, schema: &JsonObject, value: &mut Value) -> Result<(), Refusal> {
    let Some(fields) = value.as_object_mut() else {
        return Ok(());
    };
    let known = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, value) in fields.iter_mut() {
        let path = join(path, name);
        match known.and_then(|known| known.get(name)) {
            Some(_) if value.is_null() && !required.contains(&name.as_str()) => {}
            Some(schema) => check(&path, schema, value)?,
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                return Err(unknown(&path, known));
            }
            None => check_free(&path, value)?,
        }
    }
    match required.iter().find(|name| !fields.contains_key(**name)) {
        Some(missing) => Err(Refusal::invalid(
            format!("field {} is missing", join(path, missing)),
            format!("the fields that must be there: {}", required.join(", ")),
        )),
        None => Ok(()),
    }
}

fn unknown(path: &str, known: Option<&JsonObject>) -> Refusal {
    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    Refusal::invalid(
        format!("field {path} is unknown"),
        format!("the fields are: {}", names.join(", ")),
    )
}

fn check_text(path: &str, schema: &Value, value: &Value) -> Result<(), Refusal> {
    let text = value.as_str().unwrap_or_default();
    if CONTENT.contains(&path) {
        return Ok(());
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Err(Refusal::invalid(
            format!("field {path}: not one of its words"),
            format!("use one of: {}", words.join(", ")),
        ));
    }
    if text.len() > TEXT_MAX {
        return Err(Refusal::invalid(
            format!(
                "field {path}: {} bytes are more than the {TEXT_MAX} allowed",
                text.len()
            ),
            "shorten it, or upload it as an artifact",
        ));
    }
    if text.contains('\0') {
        return Err(Refusal::invalid(
            format!("field {path}: it has a NUL character"),
            "leave it out, or upload the text as an artifact",
        ));
    }
    Ok(())
}

/// A value that no schema describes: only its texts are looked at.
fn check_free(path: &str, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::String(_) => check_text(path, &Value::Null, value),
        Value::Array(items) => items.iter().try_for_each(|item| check_free(path, item)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let path = join(path, name);
            check_free(&path, value)
        }),
        _ => Ok(()),
    }
}

/// JSON has one kind of number, so 5.0 is a whole number too.
fn whole(value: &mut Value) {
    if let Some(float) = value.as_f64()
        && !value.is_u64()
        && !value.is_i64()
        && float.fract() == 0.0
        && let Ok(int) = format!("{float:.0}").parse::<u64>()
    {
        *value = int.into();
    }
}

/// The path of a field, its name shortened so that a refusal stays short whatever was sent.
fn join(path: &str, name: &str) -> String {
    const NAME_MAX: usize = 64;
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::contract::{GetStatus, RespondToApproval, SubmitTask, UploadArtifact};
    use crate::mcp::schema;
    use serde_json::json;

    fn refused<T: DeserializeOwned + schemars::JsonSchema>(arguments: Value) -> String {
        let Value::Object(arguments) = arguments else {
            panic!("not an object")
        };
        match read::<T>(&schema::input::<T>(), arguments) {
            Ok(_) => "taken".into(),
            Err(refusal) => refusal.message.clone(),
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let task = |extra: Value| {
            let mut task = json!({"project_name": "p", "goal": "g", "target_ref": "t", "execution_intent": "test"});
            for (name, value) in extra.as_object().expect("an object") {
                task[name] = value.clone();
            }
            task
        };
        for (arguments, says) in [
            (task(json!({})), "taken"),
            (task(json!({"context": null})), "taken"),
            (task(json!({"inputs": {"any": [1, {"deep": "x"}]}})), "taken"),
            (task(json!({"constraints": {"timeout_s": 5.0}})), "taken"),
            (json!({"goal": "g"}), "field project_name is missing"),
            (task(json!({"host": "h"})), "field host is unknown"),
            (task(json!({"goal": 3})), "field goal: expected a text, got a number"),
            (task(json!({"goal": null})), "field goal: expected a text, got null"),
            (task(json!({"goal": "a\0b"})), "field goal: it has a NUL character"),
            (
                task(json!({"inputs": {"a": {"b": "\0"}}})),
                "field inputs.a.b: it has a NUL character",
            ),
            (
                task(json!({"context": "x".repeat(TEXT_MAX + 1)})),
                "field context: 65537 bytes are more than the 65536 allowed",
            ),
            (
                task(json!({"constraints": []})),
                "field constraints: expected an object, got a list",
            ),
            (
                task(json!({"constraints": {"timeout": 5}})),
                "field constraints.timeout is unknown",
            ),
            (
                task(json!({"constraints": {"timeout_s": -5}})),
                "field constraints.timeout_s: expected a whole number that is not negative, got a number",
            ),
        ] {
            assert_eq!(refused::<SubmitTask>(arguments.clone()), says, "{arguments}");
        }
    }

    #[test]
    fn the_other_kinds_of_field() {
        assert_eq!(
            refused::<GetStatus>(json!({"execution_id": "e", "wait_ms": 1.5})),
            "field wait_ms: expected a whole number that is not negative, got a number"
        );
        assert_eq!(
            refused::<UploadArtifact>(json!({"task_id": "t", "name": "n", "last": "yes"})),
            "field last: expected true or false, got a text"
        );
        assert_eq!(
            refused::<UploadArtifact>(json!({"task_id": "t", "name": "n", "content": "\0".repeat(TEXT_MAX + 1)})),
            "taken"
        );
        assert_eq!(
            refused::<RespondToApproval>(json!({"approval_id": "a", "decision": "perhaps"})),
            "field decision: not one of its words"
        );
    }
}
