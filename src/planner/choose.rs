//! Which recipe fits the files, and which of its variants the target's facts allow.

use super::{files, manifests};
use crate::domain::facts::Tool;
use crate::domain::recipe::{Detect, Recipe, RecipeStep, ToolNeed, Variant};
use crate::domain::{Code, Facts, Listing, Refusal};

/// A recipe that fits.
pub(super) struct Fitting<'a> {
    pub recipe: &'a Recipe,
    /// Continues "because ...".
    pub because: String,
}

/// The recipe of the highest priority that serves the intent and fits the files; of equals, the one whose name sorts
/// first. So the order of `recipes` never matters.
pub(super) fn recipe<'a>(serving: &[&'a Recipe], listing: &Listing) -> Result<Option<Fitting<'a>>, Refusal> {
    let mut ordered = serving.to_vec();
    ordered.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    for recipe in ordered {
        if let Some(because) = fits(&recipe.detect, listing)? {
            return Ok(Some(Fitting { recipe, because }));
        }
    }
    Ok(None)
}

/// Why a project fits, or nothing when it doesn't.
fn fits(detect: &Detect, listing: &Listing) -> Result<Option<String>, Refusal> {
    let by_any = files::first(listing, &detect.any_files)?;
    let missing = (!detect.any_files.is_empty() && by_any.is_none())
        || files::unmatched(listing, &detect.all_files)?.is_some()
        || files::any(listing, &detect.no_files)?
        || !detect.contains.iter().all(|asked| manifests::says(listing, asked));
    if missing {
        return Ok(None);
    }
    let by_all = match detect.all_files.first() {
        Some(glob) => files::first(listing, std::slice::from_ref(glob))?,
        None => None,
    };
    Ok(Some(match by_any.or(by_all) {
        Some(path) => format!("the project has {path}"),
        None => "it fits any project".to_owned(),
    }))
}

/// The steps of a variant that are part of the plan, in order.
pub(super) struct Choice<'a> {
    pub variant: &'a Variant,
    pub steps: Vec<&'a RecipeStep>,
}

/// What the target has: what was learned about it, and what its file says of it.
pub(super) struct Offered<'a> {
    pub facts: &'a Facts,
    pub capabilities: &'a [String],
}

/// The first variant whose tools are there. `possible` holds those that have steps for this task.
pub(super) fn variant<'a>(
    recipe: &Recipe,
    possible: Vec<Choice<'a>>,
    offered: &Offered<'_>,
) -> Result<Choice<'a>, Refusal> {
    let Offered { facts, capabilities } = offered;
    let mut lacking: Vec<String> = Vec::new();
    let mut hints: Vec<&str> = Vec::new();
    for choice in possible {
        let needs = choice
            .variant
            .needs
            .iter()
            .chain(choice.steps.iter().flat_map(|step| &step.needs));
        let missing: Vec<&ToolNeed> = needs.filter(|need| !met(need, facts)).collect();
        let incapable: Vec<&String> = choice
            .variant
            .capabilities
            .iter()
            .filter(|name| !capabilities.contains(name))
            .collect();
        if missing.is_empty() && incapable.is_empty() {
            return Ok(choice);
        }
        let tools = missing.iter().map(|need| lacks(need, facts));
        let told = tools.chain(incapable.iter().map(|name| format!("the capability {name}")));
        let told = told.collect::<Vec<_>>().join(" and ");
        if !lacking.contains(&told) {
            lacking.push(told);
        }
        // The last variant is the plainest; what it needs is what to install.
        hints = missing.iter().map(|need| need.hint.as_str()).collect();
        hints.dedup();
        if !incapable.is_empty() {
            hints.push("choose a target that has the capability");
        }
    }
    Err(Refusal::new(
        Code::MissingFacts,
        format!(
            "the target lacks what the recipe {} needs: {}",
            recipe.name,
            lacking.join(", or ")
        ),
        hints.join("; "),
    ))
}

fn lacks(need: &ToolNeed, facts: &Facts) -> String {
    match (&need.min_version, facts.tools.get(&need.tool)) {
        (Some(least), Some(tool)) if !tool.version.is_empty() => {
            format!("{} {least} or newer (it has {})", need.tool, tool.version)
        }
        (Some(least), _) => format!("{} {least} or newer", need.tool),
        (None, _) => need.tool.clone(),
    }
}

fn met(need: &ToolNeed, facts: &Facts) -> bool {
    let Some(Tool { version }) = facts.tools.get(&need.tool) else {
        return false;
    };
    need.min_version
        .as_deref()
        .is_none_or(|least| numbers(version) >= numbers(least))
}

/// The numbers of a dotted version; what isn't a number ends it.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}
