//! The values that a caller gives for the parameters a recipe declares.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolve::shown;
use crate::domain::plan::Need;
use crate::domain::recipe::{Parameter, ParameterType, Recipe, ValueForm};
use crate::domain::{Refusal, similar};

/// The longest value, in bytes.
const VALUE_MAX: usize = 4096;
/// The most values of one list.
const VALUES_MAX: usize = 256;

/// The arguments of each parameter that has a value, by name.
pub(super) type Arguments = BTreeMap<String, Vec<String>>;

/// Checks what was given against what `recipe` declares.
pub(super) fn arguments(recipe: &Recipe, given: &BTreeMap<String, Value>) -> Result<(Arguments, Vec<Need>), Refusal> {
    known(given, &[recipe])?;
    let mut arguments = Arguments::new();
    let mut needs = Vec::new();
    for (name, parameter) in &recipe.parameters {
        let values = match given.get(name) {
            None | Some(Value::Null) => parameter.default.clone(),
            Some(value) => values(name, parameter, value)?,
        };
        if !values.is_empty() {
            arguments.insert(name.clone(), values);
        } else if parameter.required {
            needs.push(Need {
                code: "parameter".to_owned(),
                message: format!(
                    "the recipe {} needs the input '{name}': {}",
                    recipe.name, parameter.description
                ),
                hint: format!("submit the task with inputs {{\"{name}\": ...}}"),
            });
        }
    }
    Ok((arguments, needs))
}

/// Refuses a name that none of the recipes declares.
pub(super) fn known(given: &BTreeMap<String, Value>, recipes: &[&Recipe]) -> Result<(), Refusal> {
    let declared: Vec<&str> = recipes
        .iter()
        .flat_map(|r| r.parameters.keys())
        .map(String::as_str)
        .collect();
    let Some(unknown) = given.keys().find(|name| !declared.contains(&name.as_str())) else {
        return Ok(());
    };
    let mut takes = declared.clone();
    takes.sort_unstable();
    takes.dedup();
    let hint = match (similar::nearest(unknown, declared), takes.as_slice()) {
        (Some(meant), _) => format!("did you mean '{meant}'?"),
        (None, []) => "leave inputs out; nothing is taken here".to_owned(),
        (None, takes) => format!("it takes: {}", takes.join(", ")),
    };
    Err(Refusal::invalid(
        format!("there is no input '{}'", shown(unknown)),
        hint,
    ))
}

/// The arguments that a given value becomes.
fn values(name: &str, parameter: &Parameter, value: &Value) -> Result<Vec<String>, Refusal> {
    let wrong = || {
        let wanted = match parameter.kind {
            ParameterType::String => "a text",
            ParameterType::Integer => "a whole number",
            ParameterType::Boolean => "true or false",
            ParameterType::List => "a list of texts",
        };
        Refusal::invalid(
            format!("the input '{name}' must be {wanted}"),
            parameter.description.clone(),
        )
    };
    let texts = match (parameter.kind, value) {
        (ParameterType::Boolean, Value::Bool(true)) => return Ok(parameter.when_true.clone()),
        (ParameterType::Boolean, Value::Bool(false)) => return Ok(Vec::new()),
        (ParameterType::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {
            vec![number.to_string()]
        }
        (ParameterType::String, Value::String(text)) => vec![text.clone()],
        (ParameterType::List, Value::Array(items)) if items.len() <= VALUES_MAX => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        (ParameterType::List, Value::Array(_)) => {
            return Err(Refusal::invalid(
                format!("the input '{name}' has more than {VALUES_MAX} values"),
                "give fewer",
            ));
        }
        _ => return Err(wrong()),
    };
    for text in &texts {
        check(name, parameter, text)?;
    }
    Ok(texts.into_iter().map(|text| wrapped(parameter, text)).collect())
}

fn wrapped(parameter: &Parameter, text: String) -> String {
    match &parameter.wrap {
        Some(wrap) => wrap.replace("{value}", &text),
        None => text,
    }
}

/// Refuses a value that is not fit to become an argument.
fn check(name: &str, parameter: &Parameter, text: &str) -> Result<(), Refusal> {
    let refuse = |problem: &str, hint: String| {
        let message = format!("the input '{name}' {problem}");
        Err(Refusal::invalid(message, hint))
    };
    if text.is_empty() || text.len() > VALUE_MAX {
        return refuse(
            &format!("must have 1 to {VALUE_MAX} bytes"),
            "shorten it, or leave it out".to_owned(),
        );
    }
    if text.contains('\0') {
        return refuse("has a NUL character", "remove it".to_owned());
    }
    if !parameter.one_of.is_empty() && !parameter.one_of.iter().any(|allowed| allowed == text) {
        return refuse(
            &format!("can't be '{}'", shown(text)),
            format!("it is one of: {}", parameter.one_of.join(", ")),
        );
    }
    // A negative number is a value like any other where it doesn't stand alone.
    let negative = parameter.kind == ParameterType::Integer && parameter.wrap.is_some();
    if text.starts_with('-') && !parameter.allow_options && !negative {
        return refuse(
            "begins with '-'",
            "options can't be given here; write a plain value".to_owned(),
        );
    }
    match parameter.form {
        ValueForm::Name if !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) => refuse(
            "is not a plain name",
            "use letters, digits, '.', '_' and '-'".to_owned(),
        ),
        ValueForm::Path if !stays_inside(text) => refuse(
            "is not a path inside the project",
            "write it relative to the project, without '..'".to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Whether a relative path stays below the folder it starts from.
fn stays_inside(path: &str) -> bool {
    !path.starts_with('/') && !path.contains('\\') && path.split('/').all(|part| part != "..")
}
