//! A plan from the operations of an API: which one an intent means, and the values for its parameters.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::resolve::shown;
use super::steps::Bounds;
use crate::domain::plan::{Call, Need, PlanStep, ResultReader};
use crate::domain::target::http::{Filling, HttpBlock, HttpParameter, HttpParameterType, Operation, Unfit};
use crate::domain::task::TaskSpec;
use crate::domain::{Code, Refusal, Target, similar};

/// What a caller chooses one of several operations with.
const OPERATION: &str = "operation";
/// The most values of one list.
const VALUES_MAX: usize = 256;

/// An operation that an intent means.
pub(super) struct Chosen<'a> {
    pub name: &'a str,
    pub operation: &'a Operation,
    /// Continues "because ...".
    pub because: &'static str,
}

/// The operation that serves the intent, or of several the one that the caller chose.
pub(super) fn choose<'a>(task: &TaskSpec, target: &Target, block: &'a HttpBlock) -> Result<Chosen<'a>, Refusal> {
    let intent = task.execution_intent.as_str();
    let serving = block.serving(intent);
    let listed = || {
        let told = serving
            .iter()
            .map(|(name, operation)| format!("{name} ({})", operation.summary));
        told.collect::<Vec<_>>().join("; ")
    };
    match task.inputs.get(OPERATION) {
        None | Some(Value::Null) => {}
        Some(Value::String(asked)) => {
            let found = serving.get_key_value(asked.as_str());
            return found.map_or_else(
                || {
                    let meant = similar::nearest(asked, serving.keys().copied());
                    let meant = meant.map_or_else(String::new, |meant| format!("did you mean '{meant}'? "));
                    let message = format!("no operation '{}' serves '{}' here", shown(asked), shown(intent));
                    Err(Refusal::invalid(message, format!("{meant}there are: {}", listed())))
                },
                |(name, operation)| {
                    Ok(Chosen {
                        name,
                        operation,
                        because: "it was asked for by its name",
                    })
                },
            );
        }
        Some(_) => {
            let message = "the input 'operation' must be a text".to_owned();
            return Err(Refusal::invalid(message, format!("there are: {}", listed())));
        }
    }
    let mut all = serving.iter();
    match (all.next(), all.next()) {
        (Some((name, operation)), None) => Ok(Chosen {
            name,
            operation,
            because: "it is what serves the intent here",
        }),
        (Some(_), Some(_)) => Err(Refusal::invalid(
            format!("several operations of {} serve '{}'", target.name, shown(intent)),
            format!("choose with inputs {{\"operation\": \"NAME\"}}: {}", listed()),
        )),
        (None, _) => Err(nothing_serves(intent, target, block)),
    }
}

fn nothing_serves(intent: &str, target: &Target, block: &HttpBlock) -> Refusal {
    let mut served: Vec<&str> = block
        .operations
        .values()
        .flat_map(|operation| &operation.intents)
        .map(String::as_str)
        .collect();
    served.sort_unstable();
    served.dedup();
    Refusal::new(
        Code::IntentNotAllowed,
        format!("the target {} has no operation for '{}'", target.name, shown(intent)),
        format!("it has operations for: {}", served.join(", ")),
    )
}

/// The values of an operation's parameters as they were given, checked, and what is missing.
pub(super) fn values(chosen: &Chosen<'_>, given: &BTreeMap<String, Value>) -> Result<(Call, Vec<Need>), Refusal> {
    let Chosen { name, operation, .. } = *chosen;
    known(given, operation)?;
    let mut parameters = BTreeMap::new();
    let mut needs = Vec::new();
    for (key, parameter) in &operation.parameters {
        match given.get(key).filter(|value| !value.is_null()) {
            Some(value) => {
                check(key, parameter, value)?;
                parameters.insert(key.clone(), value.clone());
            }
            None if parameter.default.is_some() => {
                parameters.extend(parameter.default.clone().map(|value| (key.clone(), value)));
            }
            None if parameter.required => needs.push(Need {
                code: "parameter".to_owned(),
                message: format!("{name} needs the input '{key}': {}", parameter.description),
                hint: format!("submit the task with inputs {{\"{key}\": {}}}", example(parameter)),
            }),
            None => {}
        }
    }
    let call = Call {
        operation: name.to_owned(),
        parameters,
    };
    if needs.is_empty() {
        fits(operation, &call)?;
    }
    Ok((call, needs))
}

/// What a value may look like, for a hint.
fn example(parameter: &HttpParameter) -> String {
    match parameter.kind {
        HttpParameterType::String => "\"...\"".to_owned(),
        HttpParameterType::Integer => "1".to_owned(),
        HttpParameterType::Boolean => "true".to_owned(),
        HttpParameterType::Enum => format!("one of {:?}", parameter.one_of),
        HttpParameterType::List => "[\"...\"]".to_owned(),
    }
}

fn known(given: &BTreeMap<String, Value>, operation: &Operation) -> Result<(), Refusal> {
    let is_known = |name: &String| name == OPERATION || operation.parameters.contains_key(name);
    let Some(unknown) = given.keys().find(|name| !is_known(name)) else {
        return Ok(());
    };
    let declared: Vec<&str> = operation.parameters.keys().map(String::as_str).collect();
    let hint = match (similar::nearest(unknown, declared.iter().copied()), declared.as_slice()) {
        (Some(meant), _) => format!("did you mean '{meant}'?"),
        (None, []) => "leave inputs out; nothing is taken here".to_owned(),
        (None, takes) => format!("it takes: {}", takes.join(", ")),
    };
    Err(Refusal::invalid(
        format!("there is no input '{}'", shown(unknown)),
        hint,
    ))
}

fn check(name: &str, parameter: &HttpParameter, value: &Value) -> Result<(), Refusal> {
    let wrong = |wanted: &str| {
        let message = format!("the input '{name}' must be {wanted}");
        Err(Refusal::invalid(message, parameter.description.clone()))
    };
    match (parameter.kind, value) {
        (HttpParameterType::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
        (HttpParameterType::Boolean, Value::Bool(_)) => Ok(()),
        (HttpParameterType::String | HttpParameterType::Enum, Value::String(text)) => check_text(name, parameter, text),
        (HttpParameterType::List, Value::Array(items)) if items.len() <= VALUES_MAX => {
            items.iter().try_for_each(|item| match item {
                Value::String(text) => check_text(name, parameter, text),
                _ => wrong("a list of texts"),
            })
        }
        (HttpParameterType::Integer, _) => wrong("a whole number"),
        (HttpParameterType::Boolean, _) => wrong("true or false"),
        (HttpParameterType::List, _) => wrong(&format!("a list of at most {VALUES_MAX} texts")),
        (HttpParameterType::String | HttpParameterType::Enum, _) => wrong("a text"),
    }
}

fn check_text(name: &str, parameter: &HttpParameter, text: &str) -> Result<(), Refusal> {
    let refuse = |problem: &str, hint: String| {
        let message = format!("the input '{name}' {problem}");
        Err(Refusal::invalid(message, hint))
    };
    if text.len() > parameter.max_length {
        return refuse(
            &format!("must have at most {} bytes", parameter.max_length),
            "shorten it".to_owned(),
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
    let Some(pattern) = &parameter.pattern else {
        return Ok(());
    };
    // `\z` and not `$`, which could be made to match before a line break.
    let compiled = Regex::new(&format!(r"\A(?:{pattern})\z"));
    match compiled {
        Ok(compiled) if compiled.is_match(text) => Ok(()),
        Ok(_) => refuse(
            &format!("can't be '{}'", shown(text)),
            format!("it must match {pattern}: {}", parameter.description),
        ),
        Err(_) => Err(Refusal::new(
            Code::Internal,
            format!("the pattern of the input '{name}' can't be read"),
            "the operator corrects the target; `clawhand targets check` shows where",
        )),
    }
}

/// Refuses values that would not stay where they belong, before anything is planned with them.
fn fits(operation: &Operation, call: &Call) -> Result<(), Refusal> {
    let filling = Filling {
        parameters: &call.parameters,
        response: None,
    };
    let filled = || -> Result<(), Unfit> {
        operation.path.path(&filling)?;
        for (key, value) in &operation.query {
            value.query(key, &filling)?;
        }
        for value in operation.headers.values() {
            value.header(&filling)?;
        }
        operation.body.as_ref().map(|body| filling.body(body)).transpose()?;
        let later = operation.cancel.iter().map(|cancel| &cancel.path);
        for path in later.filter(|path| path.parameters().count() == path.placeholders().count()) {
            path.path(&filling)?;
        }
        Ok(())
    };
    filled().map_err(|unfit| {
        let name = unfit.parameter.unwrap_or_default();
        Refusal::invalid(format!("the input '{name}' {}", unfit.why), "give a plain value")
    })
}

/// The step that makes a call.
pub(super) fn step(chosen: &Chosen<'_>, call: Call, bounds: &Bounds) -> PlanStep {
    let operation = chosen.operation;
    let own = operation.timeout.map_or(u64::MAX, |own| own.as_secs().max(1));
    PlanStep {
        name: chosen.name.to_owned(),
        summary: operation.summary.clone(),
        argv: Vec::new(),
        call: Some(call),
        cwd: String::new(),
        env: BTreeMap::new(),
        effects: operation.effects.clone(),
        repeatable: operation.idempotent,
        timeout_s: own.min(bounds.timeout_s),
        max_output_bytes: bounds.max_output_bytes,
        reader: ResultReader::ExitCode,
        accepted_exit_codes: Vec::new(),
    }
}

/// What the caller chose, in words for a person; each value visibly a quotation.
pub(super) fn in_words(call: &Call) -> Option<String> {
    let told = call.parameters.iter().map(|(name, value)| {
        let text = value.to_string();
        let short: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        let cut = if short.len() < text.len() { "…" } else { "" };
        format!("{name} = {short}{cut}")
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}
