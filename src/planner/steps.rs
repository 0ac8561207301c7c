//! The steps of a recipe that a task asks for, and the arguments they get.

use super::parameters::Arguments;
use super::{files, manifests};
use crate::domain::plan::PlanStep;
use crate::domain::recipe::{RecipeStep, Variant};
use crate::domain::{Listing, Refusal};

/// What decides whether a step is part of a plan.
pub(super) struct Situation<'a> {
    pub intent: &'a str,
    pub listing: &'a Listing,
    pub arguments: &'a Arguments,
}

/// What a step may use at most.
pub(super) struct Bounds {
    pub timeout_s: u64,
    pub max_output_bytes: u64,
}

/// The steps of a variant that are part of the plan.
pub(super) fn select<'a>(variant: &'a Variant, situation: &Situation<'_>) -> Result<Vec<&'a RecipeStep>, Refusal> {
    let mut chosen = Vec::new();
    if !asked(&variant.if_files, situation.listing)? {
        return Ok(chosen);
    }
    for step in &variant.steps {
        if wanted(step, situation)? {
            chosen.push(step);
        }
    }
    Ok(chosen)
}

fn asked(globs: &[String], listing: &Listing) -> Result<bool, Refusal> {
    Ok(globs.is_empty() || files::any(listing, globs)?)
}

fn wanted(step: &RecipeStep, situation: &Situation<'_>) -> Result<bool, Refusal> {
    let Situation {
        intent,
        listing,
        arguments,
    } = situation;
    Ok(
        (step.intents.is_empty() || step.intents.iter().any(|served| served == intent))
            && asked(&step.if_files, listing)?
            && !files::any(listing, &step.unless_files)?
            && step.if_contains.iter().all(|asked| manifests::says(listing, asked))
            && !step.unless_contains.iter().any(|asked| manifests::says(listing, asked))
            && step.if_parameters.iter().all(|name| arguments.contains_key(name))
            && !step.unless_parameters.iter().any(|name| arguments.contains_key(name)),
    )
}

/// The step with its arguments in place, or the glob of a file that is missing.
pub(super) fn build(
    step: &RecipeStep,
    situation: &Situation<'_>,
    bounds: &Bounds,
) -> Result<Result<PlanStep, String>, Refusal> {
    let mut argv = Vec::with_capacity(step.argv.len());
    for argument in &step.argv {
        match placeholder(argument) {
            None => argv.push(argument.clone()),
            Some(Placeholder::Parameter(name)) => {
                argv.extend(situation.arguments.get(name).into_iter().flatten().cloned());
            }
            Some(Placeholder::File(globs)) => match files::first(situation.listing, &globs)? {
                // A file that is called like an option must not become one.
                Some(path) if path.starts_with('-') => argv.push(format!("./{path}")),
                Some(path) => argv.push(path.to_owned()),
                None => return Ok(Err(globs.join(" or "))),
            },
        }
    }
    Ok(Ok(PlanStep {
        name: step.name.clone(),
        summary: step.summary.clone(),
        argv,
        call: None,
        cwd: step.cwd.clone(),
        env: step.env.clone(),
        effects: step.effects.clone(),
        repeatable: step.repeatable,
        timeout_s: step.timeout_s.map_or(bounds.timeout_s, |own| own.min(bounds.timeout_s)),
        max_output_bytes: bounds.max_output_bytes,
        reader: step.reader.clone(),
        accepted_exit_codes: step.accepted_exit_codes.clone(),
    }))
}

enum Placeholder<'a> {
    Parameter(&'a str),
    File(Vec<String>),
}

/// An argument that stands for something else.
fn placeholder(argument: &str) -> Option<Placeholder<'_>> {
    let inside = argument.strip_prefix('{')?.strip_suffix('}')?;
    Some(match inside.strip_prefix("file:") {
        Some(globs) => Placeholder::File(globs.split('|').map(str::to_owned).collect()),
        None => Placeholder::Parameter(inside),
    })
}
