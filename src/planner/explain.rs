//! A plan in words that a caller may read and a person can approve.

use super::call::{self, Chosen};
use super::choose::{Choice, Fitting};
use super::resolve::{self, resolve};
use crate::domain::Target;
use crate::domain::plan::{Call, Effect, PlanStep};
use crate::domain::task::TaskSpec;

/// What there is to tell.
pub(super) struct Story<'a> {
    pub task: &'a TaskSpec,
    pub target: &'a Target,
    pub fitting: &'a Fitting<'a>,
    pub choice: &'a Choice<'a>,
    pub steps: &'a [PlanStep],
    pub approval: Option<&'a str>,
    /// Steps have no network on the target.
    pub offline: bool,
}

/// Why this target, why this recipe, what happens, who is asked.
pub(super) fn story(story: &Story<'_>) -> String {
    let Story {
        task,
        target,
        fitting,
        choice,
        steps,
        ..
    } = story;
    let mut lines = vec![place(task, target)];
    let tools: Vec<&str> = choice.variant.needs.iter().map(|need| need.tool.as_str()).collect();
    let with = if tools.is_empty() {
        String::new()
    } else {
        format!(", with {} of the target", tools.join(" and "))
    };
    lines.push(format!(
        "How: as {}, because {}{with}.",
        fitting.recipe.title, fitting.because
    ));
    for (index, step) in steps.iter().enumerate() {
        let effects = effects(&step.effects);
        lines.push(format!("Step {}, {}: {}{effects}.", index + 1, step.name, step.summary));
    }
    if story.offline && steps.iter().any(|step| step.effects.contains(&Effect::Network)) {
        lines
            .push("Note: steps have no network on this target; what they would download must be there already.".into());
    }
    lines.push(asked(story.approval));
    lines.join("\n")
}

/// The same for an operation of an API, with who is asked and how many files came along.
pub(super) fn call(
    task: &TaskSpec,
    target: &Target,
    (chosen, call): (&Chosen<'_>, &Call),
    (approval, files): (Option<&str>, usize),
) -> String {
    let Chosen {
        name,
        operation,
        because,
    } = chosen;
    let mut lines = vec![place(task, target)];
    lines.push(format!("How: by the operation {name}, because {because}."));
    let with = call::in_words(call).map_or_else(String::new, |values| format!(", with {values}"));
    let effects = effects(&operation.effects);
    lines.push(format!("Step 1, {name}: {}{effects}{with}.", operation.summary));
    if operation.poll.is_some() {
        lines.push("Then: waits until the work that this begins has ended.".to_owned());
    }
    if files > 0 {
        lines.push("Note: an operation takes inputs only; the uploaded files are not sent.".to_owned());
    }
    lines.push(asked(approval));
    lines.join("\n")
}

/// The same for an agent.
pub(super) fn delegate(task: &TaskSpec, target: &Target, step: &PlanStep, approval: Option<&str>) -> String {
    [
        place(task, target),
        "How: by an agent, which reads the goal, the context and the files and does what it thinks right.".to_owned(),
        format!("Step 1, {}: {}{}.", step.name, step.summary, effects(&step.effects)),
        asked(approval),
    ]
    .join("\n")
}

fn place(task: &TaskSpec, target: &Target) -> String {
    let why = resolve(&task.target_ref, std::slice::from_ref(target)).map(|resolved| resolved.how.because());
    match why {
        Ok(why) => format!(
            "Where: {}, because '{}' {why}.",
            target.name,
            resolve::shown(task.target_ref.trim())
        ),
        Err(_) => format!("Where: {}.", target.name),
    }
}

fn effects(effects: &[Effect]) -> String {
    let told: Vec<&str> = effects.iter().filter_map(|effect| in_words(*effect)).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(" ({})", told.join(", ")),
    }
}

fn asked(approval: Option<&str>) -> String {
    match approval {
        Some(question) => format!("Approval: {question}, because the target's operator says so."),
        None => "Approval: nobody is asked first.".to_owned(),
    }
}

/// What is worth telling; that a step writes in a workspace which is thrown away is not.
const fn in_words(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Workspace => None,
        Effect::Network => Some("uses the network"),
        Effect::RunsCode => Some("runs the project's code"),
        Effect::Target => Some("changes the target"),
    }
}
