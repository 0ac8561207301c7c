//! Which target a reference means: exact name, then alias, then labels, then words. Never a guess: several that fit
//! equally are a refusal, and so is none.

use std::collections::BTreeSet;

use crate::domain::similar::likeness;
use crate::domain::{Code, Refusal, Target};

/// A longer reference is refused before anything looks at it.
const REFERENCE_MAX: usize = 256;
/// The most names that a refusal lists.
const LISTED: usize = 5;
/// Below this likeness a name is not offered as what was meant.
const OFFERED: f64 = 0.5;

/// Words that tell nothing about which target is meant.
const STOP_WORDS: &[&str] = &[
    "a",
    "an",
    "and",
    "at",
    "box",
    "cluster",
    "environment",
    "env",
    "for",
    "from",
    "host",
    "in",
    "inside",
    "instance",
    "into",
    "is",
    "it",
    "its",
    "machine",
    "my",
    "of",
    "on",
    "one",
    "onto",
    "our",
    "please",
    "server",
    "servers",
    "service",
    "system",
    "target",
    "that",
    "the",
    "their",
    "there",
    "this",
    "to",
    "under",
    "use",
    "using",
    "with",
    "your",
];

/// Words that say which environment is meant. A description only mentions them ("like production, but smaller"), so
/// there they don't count: only a name, an alias or a label says what a target is.
const ENVIRONMENT_WORDS: &[&str] = &[
    "prod",
    "production",
    "live",
    "preprod",
    "preproduction",
    "staging",
    "stage",
    "test",
    "qa",
    "uat",
    "dev",
    "development",
    "sandbox",
    "demo",
    "canary",
];

/// How a reference was found to mean a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchKind {
    /// It is the target's name.
    Name,
    /// It is one of its aliases.
    Alias,
    /// All its `key=value` pairs are labels of the target.
    Labels,
    /// All its words are words of the target.
    Words,
}

impl MatchKind {
    /// Continues "the reference ..." for a caller.
    pub const fn because(self) -> &'static str {
        match self {
            Self::Name => "is its name",
            Self::Alias => "is one of its other names",
            Self::Labels => "names labels that only it has",
            Self::Words => "uses words that only it fits",
        }
    }
}

/// The target that a reference means.
#[derive(Debug, Clone, Copy)]
pub struct Resolved<'a> {
    /// The target.
    pub target: &'a Target,
    /// How the reference was found to mean it.
    pub how: MatchKind,
}

/// How one target was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Its name.
    pub target: String,
    /// Whether the reference means it.
    pub chosen: bool,
    /// Why, or why not.
    pub why: String,
}

/// How well a target fits a reference. A stronger kind of fit wins over any number of weaker ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Some words are only in its description.
    WordsWithDescription,
    /// All words are in its names and labels.
    Words,
    /// The words are those of a name, all of them.
    WordsOfName,
    Labels,
    Alias,
    Name,
}

impl Fit {
    const fn kind(self) -> MatchKind {
        match self {
            Self::Name => MatchKind::Name,
            Self::Alias => MatchKind::Alias,
            Self::Labels => MatchKind::Labels,
            Self::WordsOfName | Self::Words | Self::WordsWithDescription => MatchKind::Words,
        }
    }
}

/// Finds the one target that `reference` means. The order of `targets` never matters.
pub fn resolve<'a>(reference: &str, targets: &'a [Target]) -> Result<Resolved<'a>, Refusal> {
    let reference = reference.trim();
    if reference.is_empty() || reference.len() > REFERENCE_MAX || reference.contains('\0') {
        return Err(Refusal::invalid(
            format!("target_ref must have 1 to {REFERENCE_MAX} bytes of text"),
            offer(reference, targets),
        ));
    }
    let fits: Vec<(Fit, &Target)> = targets
        .iter()
        .filter_map(|t| Some((fit(reference, t).ok()?, t)))
        .collect();
    let Some(best) = fits.iter().map(|(fit, _)| *fit).max() else {
        return Err(Refusal::new(
            Code::UnknownTarget,
            format!("no target fits '{}'", shown(reference)),
            offer(reference, targets),
        ));
    };
    let mut winners: Vec<&Target> = fits.iter().filter(|(fit, _)| *fit == best).map(|(_, t)| *t).collect();
    winners.sort_by(|a, b| a.name.cmp(&b.name));
    match winners.as_slice() {
        [target] if target.disabled => Err(Refusal::new(
            Code::DisabledTarget,
            format!("the target {} is switched off", target.name),
            offer(reference, targets),
        )),
        [target] => Ok(Resolved {
            target,
            how: best.kind(),
        }),
        several => Err(Refusal::new(
            Code::AmbiguousTarget,
            format!("'{}' fits several targets: {}", shown(reference), names(several)),
            "write the name of the one you mean",
        )),
    }
}

/// How each target was judged for `reference`, in the order of their names.
pub fn explain(reference: &str, targets: &[Target]) -> Vec<Considered> {
    let reference = reference.trim();
    let best = targets.iter().filter_map(|t| fit(reference, t).ok()).max();
    let equals = targets.iter().filter(|t| fit(reference, t).ok() == best).count();
    let mut considered: Vec<Considered> = targets
        .iter()
        .map(|target| {
            let (chosen, why) = match fit(reference, target) {
                Err(why) => (false, why),
                Ok(fit) if Some(fit) < best => (
                    false,
                    format!("'{}' {}, but another fits better", shown(reference), words_of(fit)),
                ),
                Ok(fit) if equals > 1 => (
                    false,
                    format!("'{}' {}, but others fit as well", shown(reference), words_of(fit)),
                ),
                Ok(fit) if target.disabled => (
                    false,
                    format!("'{}' {}, but it is switched off", shown(reference), words_of(fit)),
                ),
                Ok(fit) => (true, format!("'{}' {}", shown(reference), words_of(fit))),
            };
            Considered {
                target: target.name.clone(),
                chosen,
                why,
            }
        })
        .collect();
    considered.sort_by(|a, b| a.target.cmp(&b.target));
    considered
}

/// Continues "the reference ..." when the target may not be the only one.
const fn words_of(fit: Fit) -> &'static str {
    match fit {
        Fit::Name => "is its name",
        Fit::Alias => "is one of its other names",
        Fit::Labels => "names labels that it has",
        Fit::WordsOfName => "has exactly the words of its name",
        Fit::Words => "has only words of its names and labels",
        Fit::WordsWithDescription => "has only words of its names, labels and description",
    }
}

/// How `target` fits, or in words why it doesn't.
fn fit(reference: &str, target: &Target) -> Result<Fit, String> {
    if reference.eq_ignore_ascii_case(&target.name) {
        return Ok(Fit::Name);
    }
    let wanted = reference.to_lowercase();
    if target.aliases.iter().any(|alias| alias.trim().to_lowercase() == wanted) {
        return Ok(Fit::Alias);
    }
    if reference.contains('=') {
        return fit_labels(reference, target);
    }
    fit_words(&wanted, target)
}

fn fit_labels(reference: &str, target: &Target) -> Result<Fit, String> {
    for pair in reference.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("'{}' is not key=value", shown(pair.trim())));
        };
        let (key, value) = (key.trim(), value.trim());
        if target.labels.get(key).is_none_or(|have| have != value) {
            return Err(format!("it doesn't have the label {}={}", shown(key), shown(value)));
        }
    }
    Ok(Fit::Labels)
}

fn fit_words(wanted: &str, target: &Target) -> Result<Fit, String> {
    let wanted = meaningful(wanted);
    if wanted.is_empty() {
        return Err("the reference has no word that tells anything".to_owned());
    }
    let names = || std::iter::once(&target.name).chain(&target.aliases);
    if names().any(|name| meaningful(name) == wanted) {
        return Ok(Fit::WordsOfName);
    }
    let mut known: BTreeSet<String> = names().flat_map(|name| meaningful(name)).collect();
    known.extend(
        target
            .labels
            .iter()
            .flat_map(|(key, value)| [meaningful(key), meaningful(value)])
            .flatten(),
    );
    let described = meaningful(&target.description);
    let mut fit = Fit::Words;
    let mut identified = false;
    for word in &wanted {
        if known.contains(word) {
            identified = true;
        } else if described.contains(word) && !ENVIRONMENT_WORDS.contains(&word.as_str()) {
            fit = Fit::WordsWithDescription;
        } else {
            return Err(format!("it has no word '{}'", shown(word)));
        }
    }
    // A description may mention anything; alone it doesn't say what a target is.
    if identified {
        Ok(fit)
    } else {
        Err("only its description has these words".to_owned())
    }
}

/// The words of a text in lower case, without those that tell nothing.
fn meaningful(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !STOP_WORDS.contains(&word.as_str()))
        .collect()
}

/// The hint of a refusal: the names that come closest among those that take tasks.
fn offer(reference: &str, targets: &[Target]) -> String {
    let wanted = reference.to_lowercase();
    let words = meaningful(&wanted);
    let mut scored: Vec<(f64, &Target)> = targets
        .iter()
        .filter(|t| !t.disabled)
        .map(|t| (closeness(&wanted, &words, t), t))
        .collect();
    scored.sort_by(|(left, a), (right, b)| right.total_cmp(left).then_with(|| a.name.cmp(&b.name)));
    let close: Vec<&Target> = scored
        .iter()
        .filter(|(score, _)| *score >= OFFERED)
        .take(LISTED)
        .map(|(_, t)| *t)
        .collect();
    if !close.is_empty() {
        return format!("the closest targets are: {}", names(&close));
    }
    let some: Vec<&Target> = scored.iter().take(LISTED).map(|(_, t)| *t).collect();
    match some.len() {
        0 => "no target takes tasks now".to_owned(),
        all if all == scored.len() => format!("the targets are: {}", names(&some)),
        _ => format!("targets are, among others: {}; list_targets shows all", names(&some)),
    }
}

/// How near a target's names and words come to what was written, from 0 to 1.
fn closeness(wanted: &str, words: &BTreeSet<String>, target: &Target) -> f64 {
    let names = || std::iter::once(&target.name).chain(&target.aliases);
    let by_name = names()
        .map(|name| likeness(wanted, &name.to_lowercase()))
        .fold(0.0, f64::max);
    let known: Vec<String> = names()
        .chain(target.labels.values())
        .flat_map(|text| meaningful(text))
        .collect();
    let hits = words
        .iter()
        .filter(|word| known.iter().any(|have| likeness(word, have) > 0.84))
        .count();
    #[expect(clippy::cast_precision_loss, reason = "a reference has few words")]
    let by_words = if words.is_empty() {
        0.0
    } else {
        hits as f64 / words.len() as f64
    };
    by_name.max(by_words)
}

fn names(targets: &[&Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
    names.join(", ")
}

/// What a caller wrote, fit to be shown: without control characters and not too long.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut clean: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        clean.push('…');
    }
    clean
}
