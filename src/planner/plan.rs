//! From a task to a plan, or to what is still missing, or to a refusal.

use std::collections::BTreeMap;

use super::call;
use super::choose::{self, Choice, Fitting, Offered};
use super::delegate;
use super::explain::{self, Story};
use super::parameters;
use super::resolve::shown;
use super::steps::{self, Bounds, Situation};
use crate::domain::plan::{Effect, Need, Plan, PlanStep, Risk};
use crate::domain::recipe::RecipeStep;
use crate::domain::target::{ApprovalRule, ExecutorBlock, HttpBlock, OpenclawBlock};
use crate::domain::task::{Constraints, TaskSpec};
use crate::domain::{Code, Digest, Facts, Listing, Recipe, Refusal, Target, similar};

/// All that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is wanted.
    pub task: &'a TaskSpec,
    /// Where: what the task's reference resolved to.
    pub target: &'a Target,
    /// What is known of the target; nothing before it was probed.
    pub facts: Option<&'a Facts>,
    /// The files of all inputs, as they will lie in the workspace.
    pub listing: &'a Listing,
    /// The digests of the inputs by name.
    pub inputs: &'a BTreeMap<String, Digest>,
    /// What there is to choose from, in any order.
    pub recipes: &'a [Recipe],
}

/// A plan, or what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What will run; nothing while something is missing.
    pub plan: Option<Plan>,
    /// What is missing, by code: `project_files`, `no_recipe`, `parameter`, `facts`.
    pub needs: Vec<Need>,
    /// What a person will be asked before it runs.
    pub approvals: Vec<String>,
}

/// Makes the plan for a task on a target. The same values always give the same plan.
pub fn plan(request: &Request<'_>) -> Result<Planned, Refusal> {
    let Request {
        task, target, listing, ..
    } = *request;
    may(task, target)?;
    let bounds = bounds(&task.constraints, target)?;
    let approvals: Vec<String> = approval(task, target).into_iter().collect();
    if let ExecutorBlock::Http(block) = &target.executor {
        return plan_call(request, block, &bounds);
    }
    if let ExecutorBlock::Openclaw(_) = &target.executor {
        return plan_delegate(request, &bounds);
    }
    let lacking = |needs: Vec<Need>| Planned {
        plan: None,
        needs,
        approvals: approvals.clone(),
    };

    let intent = task.execution_intent.as_str();
    let serving: Vec<&Recipe> = request
        .recipes
        .iter()
        .filter(|r| r.intents.iter().any(|i| i == intent))
        .collect();
    if serving.is_empty() {
        return Err(no_recipe_serves(intent));
    }
    let Some(fitting) = choose::recipe(&serving, listing)? else {
        parameters::known(&task.inputs, &serving)?;
        return Ok(lacking(vec![no_project(intent, &serving, listing)]));
    };
    let (arguments, mut needs) = parameters::arguments(fitting.recipe, &task.inputs)?;
    let situation = Situation {
        intent,
        listing,
        arguments: &arguments,
    };
    let possible = possible(fitting.recipe, &situation)?;
    if possible.is_empty() && needs.is_empty() {
        return Ok(lacking(vec![nothing_to_do(intent, fitting.recipe)]));
    }
    let Some(facts) = request.facts else {
        needs.push(no_facts(target));
        return Ok(lacking(needs));
    };
    if !needs.is_empty() {
        return Ok(lacking(needs));
    }
    let choice = choose::variant(
        fitting.recipe,
        possible,
        &Offered {
            facts,
            capabilities: &target.capabilities,
        },
    )?;
    let steps = match built(&choice, &situation, &bounds)? {
        Ok(steps) => steps,
        Err(need) => return Ok(lacking(vec![need])),
    };
    let plan = assemble(request, &fitting, &choice, steps);
    Ok(Planned {
        plan: Some(plan),
        needs: Vec::new(),
        approvals,
    })
}

/// The plan on an API: one of its operations, whatever files and recipes there are.
fn plan_call(request: &Request<'_>, block: &HttpBlock, bounds: &Bounds) -> Result<Planned, Refusal> {
    let Request {
        task, target, inputs, ..
    } = *request;
    let approval = approval(task, target);
    let chosen = call::choose(task, target, block)?;
    let (call, needs) = call::values(&chosen, &task.inputs)?;
    let approvals = approval.clone().into_iter().collect();
    if !needs.is_empty() {
        return Ok(Planned {
            plan: None,
            needs,
            approvals,
        });
    }
    let explanation = explain::call(task, target, (&chosen, &call), (approval.as_deref(), inputs.len()));
    let steps = vec![call::step(&chosen, call, bounds)];
    let plan = Plan {
        target: target.name.clone(),
        intent: task.execution_intent.clone(),
        recipe: chosen.name.to_owned(),
        variant: "operation".to_owned(),
        risk: risk(&steps),
        steps,
        outputs: ["response.*", "submitted.*", "result.json"].map(str::to_owned).to_vec(),
        inputs: inputs.clone(),
        binding: None,
        approval,
        group: None,
        explanation,
    };
    Ok(Planned {
        plan: Some(plan),
        needs: Vec::new(),
        approvals,
    })
}

/// The plan for an agent, which does any task: recipes are for what runs programs.
fn plan_delegate(request: &Request<'_>, bounds: &Bounds) -> Result<Planned, Refusal> {
    let Request {
        task, target, inputs, ..
    } = *request;
    let approval = approval(task, target);
    let step = delegate::step(task, inputs, bounds)?;
    let explanation = explain::delegate(task, target, &step, approval.as_deref());
    let steps = vec![step];
    let plan = Plan {
        target: target.name.clone(),
        intent: task.execution_intent.clone(),
        recipe: "agent".to_owned(),
        variant: "message".to_owned(),
        risk: risk(&steps),
        steps,
        outputs: [OpenclawBlock::REPLY, "files/*"].map(str::to_owned).to_vec(),
        inputs: inputs.clone(),
        binding: None,
        approval: approval.clone(),
        group: None,
        explanation,
    };
    Ok(Planned {
        plan: Some(plan),
        needs: Vec::new(),
        approvals: approval.into_iter().collect(),
    })
}

/// Whether the target takes the intent at all.
pub(super) fn may(task: &TaskSpec, target: &Target) -> Result<(), Refusal> {
    if target.disabled {
        return Err(Refusal::new(
            Code::DisabledTarget,
            format!("the target {} is switched off", target.name),
            "choose another target; list_targets shows them",
        ));
    }
    let intent = &task.execution_intent;
    if target.intents.contains(intent) {
        return Ok(());
    }
    let meant = similar::nearest(intent, target.intents.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean '{meant}'? "));
    Err(Refusal::new(
        Code::IntentNotAllowed,
        format!("the target {} doesn't take the intent '{}'", target.name, shown(intent)),
        format!("{meant}it takes: {}", target.intents.join(", ")),
    ))
}

/// The target's limits, or what the caller set below them.
fn bounds(asked: &Constraints, target: &Target) -> Result<Bounds, Refusal> {
    let limits = &target.limits;
    let least = |name: &str, asked: Option<u64>, limit: u64| match asked {
        Some(0) => Err(Refusal::invalid(
            format!("constraints.{name} can't be 0"),
            "leave it out for the target's own limit",
        )),
        Some(asked) => Ok(asked.min(limit)),
        None => Ok(limit),
    };
    Ok(Bounds {
        timeout_s: least("timeout_s", asked.timeout_s, limits.timeout.as_secs().max(1))?,
        max_output_bytes: least("max_output_bytes", asked.max_output_bytes, limits.max_output_bytes)?,
    })
}

/// What a person is asked first, if the target wants one to be asked.
fn approval(task: &TaskSpec, target: &Target) -> Option<String> {
    let intent = &task.execution_intent;
    match target.approval_for(intent) {
        ApprovalRule::Never => None,
        ApprovalRule::Always => Some(format!("a person must allow each {intent} on {}", target.name)),
    }
}

fn no_recipe_serves(intent: &str) -> Refusal {
    Refusal::new(
        Code::NoRecipe,
        format!("no recipe serves the intent '{}'", shown(intent)),
        "the operator adds a recipe for it, or choose another intent",
    )
}

/// No files yet, or none that a recipe knows.
fn no_project(intent: &str, serving: &[&Recipe], listing: &Listing) -> Need {
    let mut kinds: Vec<String> = serving.iter().map(|recipe| looks_for(recipe)).collect();
    kinds.sort();
    if listing.files.is_empty() {
        return Need {
            code: "project_files".to_owned(),
            message: "there are no project files yet".to_owned(),
            hint: "upload the project with upload_artifact, as an archive (.tar.gz, .zip) or file by file".to_owned(),
        };
    }
    Need {
        code: "no_recipe".to_owned(),
        message: format!(
            "no recipe for '{intent}' recognises the {} uploaded so far",
            count(listing.files.len())
        ),
        hint: format!("recognised are: {}", kinds.join("; ")),
    }
}

fn count(files: usize) -> String {
    if files == 1 {
        "file".to_owned()
    } else {
        format!("{files} files")
    }
}

/// "a Go module (go.mod)".
fn looks_for(recipe: &Recipe) -> String {
    let globs: Vec<&str> = recipe
        .detect
        .any_files
        .iter()
        .chain(&recipe.detect.all_files)
        .map(String::as_str)
        .collect();
    if globs.is_empty() {
        recipe.title.clone()
    } else {
        format!("{} ({})", recipe.title, globs.join(", "))
    }
}

fn nothing_to_do(intent: &str, recipe: &Recipe) -> Need {
    Need {
        code: "project_files".to_owned(),
        message: format!(
            "{} was recognised, but nothing in it says how to do '{intent}'",
            recipe.title
        ),
        hint: format!(
            "the recipe {} serves: {}; upload what is missing or give inputs",
            recipe.name,
            recipe.intents.join(", ")
        ),
    }
}

fn no_facts(target: &Target) -> Need {
    Need {
        code: "facts".to_owned(),
        message: format!("it isn't known yet what the target {} offers", target.name),
        hint: "it is learned shortly; ask again, or the operator runs `clawhand targets probe`".to_owned(),
    }
}

/// The variants that have steps for this task, with those steps.
fn possible<'a>(recipe: &'a Recipe, situation: &Situation<'_>) -> Result<Vec<Choice<'a>>, Refusal> {
    let mut choices = Vec::new();
    for variant in &recipe.variants {
        let steps = steps::select(variant, situation)?;
        if steps.iter().any(|step| !step.setup) {
            choices.push(Choice { variant, steps });
        }
    }
    Ok(choices)
}

/// The steps with their arguments, or the file that one of them lacks.
fn built(
    choice: &Choice<'_>,
    situation: &Situation<'_>,
    bounds: &Bounds,
) -> Result<Result<Vec<PlanStep>, Need>, Refusal> {
    let mut built = Vec::with_capacity(choice.steps.len());
    for step in &choice.steps {
        match steps::build(step, situation, bounds)? {
            Ok(step) => built.push(step),
            Err(glob) => return Ok(Err(no_file(step, &glob))),
        }
    }
    Ok(Ok(built))
}

fn no_file(step: &RecipeStep, glob: &str) -> Need {
    let instead = match step.unless_parameters.as_slice() {
        [] => String::new(),
        inputs => format!(", or submit the task with the input {}", inputs.join(" or ")),
    };
    Need {
        code: "project_files".to_owned(),
        message: format!("the step {} needs a file that matches {glob}", step.name),
        hint: format!("upload it with upload_artifact{instead}"),
    }
}

fn assemble(request: &Request<'_>, fitting: &Fitting<'_>, choice: &Choice<'_>, steps: Vec<PlanStep>) -> Plan {
    let Request {
        task, target, inputs, ..
    } = *request;
    let approval = approval(task, target);
    let explanation = explain::story(&Story {
        task,
        target,
        fitting,
        choice,
        steps: &steps,
        approval: approval.as_deref(),
        offline: !target.executor.has_network(),
    });
    Plan {
        target: target.name.clone(),
        intent: task.execution_intent.clone(),
        recipe: fitting.recipe.name.clone(),
        variant: choice.variant.name.clone(),
        risk: risk(&steps),
        steps,
        outputs: fitting.recipe.outputs.clone(),
        inputs: inputs.clone(),
        binding: None,
        approval,
        group: None,
        explanation,
    }
}

fn risk(steps: &[PlanStep]) -> Risk {
    let effects = || steps.iter().flat_map(|step| &step.effects);
    if effects().any(|effect| *effect == Effect::Target) {
        Risk::High
    } else if effects().any(|effect| matches!(effect, Effect::Network | Effect::RunsCode)) {
        Risk::Medium
    } else {
        Risk::Low
    }
}
