//! A plan for an agent: one message, and whatever the agent makes of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolve::shown;
use super::steps::Bounds;
use crate::domain::plan::{Call, Effect, PlanStep, ResultReader};
use crate::domain::target::OpenclawBlock;
use crate::domain::task::TaskSpec;
use crate::domain::{Digest, Refusal};

/// What a chat may be given beside its message.
const SESSION: &str = "session_id";
/// The same, which only its place in the queue goes by.
const PRIORITY: &str = "priority";

/// The step that gives the task to the agent, or says to it what the task is made of where that is all that is wanted.
pub(super) fn step(task: &TaskSpec, inputs: &BTreeMap<String, Digest>, bounds: &Bounds) -> Result<PlanStep, Refusal> {
    let is_chat = task.execution_intent == OpenclawBlock::CHAT;
    let mut parameters = BTreeMap::new();
    for (name, value) in &task.inputs {
        match (name.as_str(), value) {
            (SESSION, Value::String(_)) if is_chat => drop(parameters.insert(SESSION.to_owned(), value.clone())),
            (PRIORITY, Value::Number(_)) if is_chat => {}
            _ => return Err(unknown(name, is_chat)),
        }
    }
    let (name, summary, effects, message) = match is_chat {
        true => (
            OpenclawBlock::CHAT,
            "an agent answers a message",
            vec![Effect::Network],
            task.goal.clone(),
        ),
        // Nobody knows beforehand what an agent does.
        false => (
            OpenclawBlock::DELEGATE,
            "an agent does the task as it sees fit",
            vec![Effect::Network, Effect::RunsCode, Effect::Target],
            message(task, inputs, bounds),
        ),
    };
    parameters.insert("message".to_owned(), Value::String(message));
    Ok(PlanStep {
        name: name.to_owned(),
        summary: summary.to_owned(),
        argv: Vec::new(),
        call: Some(Call {
            operation: name.to_owned(),
            parameters,
        }),
        cwd: String::new(),
        env: BTreeMap::new(),
        effects,
        repeatable: false,
        timeout_s: bounds.timeout_s,
        max_output_bytes: bounds.max_output_bytes,
        reader: ResultReader::ExitCode,
        accepted_exit_codes: Vec::new(),
    })
}

fn unknown(name: &str, is_chat: bool) -> Refusal {
    let hint = match is_chat {
        true => "a chat takes session_id, a text, and priority, a whole number",
        false => "leave inputs out; say it in the goal or in the context",
    };
    Refusal::invalid(format!("an agent takes no input '{}'", shown(name)), hint)
}

/// The task in words. It begins with a word of ours, so that no goal is taken for a command of the gateway.
fn message(task: &TaskSpec, inputs: &BTreeMap<String, Digest>, bounds: &Bounds) -> String {
    let mut parts = vec![format!("Task for the project {}:\n{}", task.project_name, task.goal)];
    if task.execution_intent != OpenclawBlock::DELEGATE {
        parts.push(format!("What kind of work it is: {}", task.execution_intent));
    }
    if let Some(context) = &task.context {
        parts.push(format!("Background:\n{context}"));
    }
    if !inputs.is_empty() {
        let names: Vec<&str> = inputs.keys().map(String::as_str).collect();
        parts.push(format!("Files that come with it: {}", names.join(", ")));
    }
    parts.push(format!(
        "It has to be done within {} seconds. Reply with the result; nobody can answer questions meanwhile.",
        bounds.timeout_s
    ));
    parts.join("\n\n")
}
