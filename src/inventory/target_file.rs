//! A target file: TOML in, [`Target`] out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fields::{At, Section, Source};
use super::problem::suggest;
use super::{executor_block, quantity, words};
use crate::domain::Target;
use crate::domain::target::{ApprovalRule, ExecutorBlock, Limits, OpenclawBlock, SecretRef};

/// A target, and where its names are, to compare them with those of other files.
pub(super) struct TargetFile {
    pub target: Target,
    /// The name and the aliases in lower case, each with its place.
    pub names: Vec<At<String>>,
}

/// Reads a target file. `served` are the intents that recipes serve; nothing when that isn't known.
pub(super) fn read(source: &Source<'_>, served: Option<&BTreeSet<&str>>) -> Option<TargetFile> {
    let table = source.parse()?;
    let root = source.root(&table);
    let name = root.required("name", "\"vault-staging\"");
    if let Some(name) = name.as_ref().filter(|name| !words::is_name(&name.value)) {
        source.problem(
            name.at,
            format!("'{}' can't be the name of a target", name.value),
            "use lower-case letters, digits and '-', at most 63 characters, with a letter or digit at both ends",
        );
    }
    let description = root.required("description", "\"what this is, for people and models\"");
    let aliases = aliases(&root);
    let labels = labels(&root);
    let executor = executor_block::read(&root);
    let intents = match &executor {
        ExecutorBlock::Http(block) => {
            let served = block.operations.values().flat_map(|operation| &operation.intents);
            intents(&root, Some(&served.map(String::as_str).collect()), "operation")
        }
        // Its members say what they take; an agent takes any.
        ExecutorBlock::Group(_) | ExecutorBlock::Openclaw(_) => intents(&root, None, "recipe"),
        _ => intents(&root, served, "recipe"),
    };
    let environment = environment(&root);
    let secrets = secrets(&root, &environment);
    check_variables_are_used(&root, &executor);
    let target = Target {
        name: name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
        description: description.map(|text| text.value.trim().to_owned()).unwrap_or_default(),
        labels,
        aliases: aliases.iter().map(|alias| alias.value.clone()).collect(),
        capabilities: words::plain(root.texts("capabilities")),
        disabled: root.flag("disabled").unwrap_or(false),
        approval: approval(&root, &intents),
        intents: words::plain(intents),
        approval_expires: duration(&root, "approval_expires").unwrap_or(Target::APPROVAL_EXPIRES),
        environment,
        secrets,
        limits: limits(&root),
        executor,
    };
    root.close();
    let lower = |name: At<String>| At {
        value: name.value.trim().to_lowercase(),
        at: name.at,
    };
    let names = name.into_iter().chain(aliases).map(lower).collect();
    Some(TargetFile { target, names })
}

fn aliases(root: &Section<'_, '_>) -> Vec<At<String>> {
    let mut kept = Vec::new();
    for alias in root.texts("aliases") {
        if alias.value.trim().is_empty() || alias.value.contains(['=', ',']) || alias.value.len() > 100 {
            root.source().problem(
                alias.at,
                format!("'{}' can't be an alias", alias.value),
                "an alias has 1 to 100 characters and neither '=' nor ',', which mean labels",
            );
        } else {
            kept.push(alias);
        }
    }
    kept
}

fn labels(root: &Section<'_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for entry in root.entries("labels") {
        let Some(value) = entry.text() else { continue };
        let clean = |text: &str| !text.is_empty() && !text.contains(['=', ',']) && text.trim() == text;
        if clean(&entry.key.value) && clean(&value.value) {
            labels.insert(entry.key.value, value.value);
        } else {
            root.source().problem(
                entry.key.at,
                format!("the label {}={} can't be referred to", entry.key.value, value.value),
                "a label has a key and a value without '=', ',' and space around them",
            );
        }
    }
    labels
}

/// `by` is what serves intents on the target.
fn intents(root: &Section<'_, '_>, served: Option<&BTreeSet<&str>>, by: &str) -> Vec<At<String>> {
    let intents = words::intents(root.source(), root.texts("intents"));
    if intents.is_empty() && root.place("intents").is_none() {
        root.source().problem(
            root.at(),
            "intents is missing",
            "write intents = [\"test\", \"install_and_test\"]",
        );
    }
    if let Some(served) = served {
        let known: Vec<&str> = served.iter().copied().collect();
        for intent in intents
            .iter()
            .filter(|intent| intent.value != OpenclawBlock::DELEGATE || by != "recipe")
        {
            if !served.contains(intent.value.as_str()) {
                let message = format!("no {by} serves the intent '{}'", intent.value);
                root.source()
                    .problem(intent.at, message, suggest(&intent.value, &known));
            }
        }
    }
    intents
}

fn approval(root: &Section<'_, '_>, intents: &[At<String>]) -> BTreeMap<String, ApprovalRule> {
    let known: Vec<&str> = intents.iter().map(|intent| intent.value.as_str()).collect();
    let mut rules = BTreeMap::new();
    for entry in root.entries("approval") {
        if !known.contains(&entry.key.value.as_str()) {
            let message = format!(
                "approval names the intent '{}', which the target doesn't take",
                entry.key.value
            );
            root.source()
                .problem(entry.key.at, message, suggest(&entry.key.value, &known));
        }
        let Some(rule) = entry.text() else { continue };
        match rule.value.as_str() {
            "always" => rules.insert(entry.key.value, ApprovalRule::Always),
            "never" => rules.insert(entry.key.value, ApprovalRule::Never),
            other => {
                let message = format!("'{other}' is not a rule for approvals");
                root.source()
                    .problem(rule.at, message, suggest(other, &["always", "never"]));
                None
            }
        };
    }
    rules
}

/// A table that nothing reads would let an operator believe that it has an effect.
fn check_variables_are_used(root: &Section<'_, '_>, executor: &ExecutorBlock) {
    let (what, hint) = match executor {
        ExecutorBlock::Group(_) => ("a group", "write them into the files of its members"),
        ExecutorBlock::Http(_) => (
            "an API",
            "write credentials into [executor.auth], and what varies into the operations",
        ),
        ExecutorBlock::Openclaw(_) => ("an agent", "what its tools need is set up at the gateway"),
        _ => return,
    };
    for key in ["environment", "secrets"] {
        if let Some(at) = root.place(key) {
            let message = format!("{what} has no {key} of its own");
            root.source().problem(at, message, hint);
        }
    }
}

fn environment(root: &Section<'_, '_>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for entry in root.entries("environment") {
        variable(root.source(), &entry.key);
        let Some(value) = entry.text() else { continue };
        if sounds_secret(&entry.key.value) || looks_secret(&value.value) {
            root.source().problem(
                value.at,
                format!(
                    "the environment variable {} holds a secret in plain text",
                    entry.key.value
                ),
                format!(
                    "move it to [secrets]: {} = {{ env = \"...\" }} or {{ file = \"/...\" }}",
                    entry.key.value
                ),
            );
        } else if value.value.contains('\0') {
            root.source().problem(
                value.at,
                format!("{} has a NUL character", entry.key.value),
                "remove it",
            );
        } else {
            environment.insert(entry.key.value, value.value);
        }
    }
    environment
}

fn secrets(root: &Section<'_, '_>, environment: &BTreeMap<String, String>) -> BTreeMap<String, SecretRef> {
    let mut secrets = BTreeMap::new();
    for entry in root.entries("secrets") {
        variable(root.source(), &entry.key);
        let name = &entry.key.value;
        let hint =
            format!("write {name} = {{ env = \"VARIABLE\" }} or {{ file = \"/path\" }}; secrets never stand here");
        if entry.as_text().is_some() {
            root.source()
                .problem(entry.at(), format!("the secret {name} is written into the file"), hint);
            continue;
        }
        if environment.contains_key(name) {
            root.source().problem(
                entry.key.at,
                format!("{name} is in [environment] as well"),
                "remove one of the two",
            );
        }
        let Some(section) = entry.table(&hint) else { continue };
        if let Some(reference) = secret(&section, name, &hint) {
            secrets.insert(name.clone(), reference);
        }
        section.close();
    }
    secrets
}

/// The reference to a secret that a table is.
pub(super) fn secret(section: &Section<'_, '_>, name: &str, hint: &str) -> Option<SecretRef> {
    let source = section.source();
    match (section.text("env"), section.text("file")) {
        (Some(env), None) if words::is_variable(&env.value) => Some(SecretRef::Env(env.value)),
        // What is written there may be the secret itself: it is not repeated.
        (Some(env), None) => {
            source.problem(
                env.at,
                format!("the secret {name} doesn't name an environment variable"),
                hint,
            );
            None
        }
        (None, Some(file)) if file.value.starts_with('/') => Some(SecretRef::File(file.value)),
        (None, Some(file)) => {
            source.problem(
                file.at,
                format!("the secret {name} doesn't name a file by an absolute path"),
                hint,
            );
            None
        }
        (Some(_), Some(_)) => {
            source.problem(
                section.at(),
                format!("the secret {name} is read from two places"),
                "keep env or file",
            );
            None
        }
        (None, None) => {
            source.problem(
                section.at(),
                format!("the secret {name} doesn't say where it is read from"),
                hint,
            );
            None
        }
    }
}

fn variable(source: &Source<'_>, key: &At<String>) {
    if !words::is_variable(&key.value) {
        let message = format!("'{}' can't be the name of an environment variable", key.value);
        source.problem(key.at, message, "use letters, digits and '_'");
    }
}

/// Whether a variable is called like a secret.
fn sounds_secret(name: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "CREDENTIALS",
    ];
    let name = name.to_ascii_uppercase();
    ENDINGS
        .iter()
        .any(|ending| name == *ending || name.ends_with(&format!("_{ending}")))
}

/// Whether a value is one that only secrets have: a private key, or an address with a password in it.
fn looks_secret(value: &str) -> bool {
    let login = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    let password = login.is_some_and(|(login, _)| login.split_once(':').is_some_and(|(_, word)| !word.is_empty()));
    password || (value.contains("-----BEGIN") && value.contains("PRIVATE KEY"))
}

fn limits(root: &Section<'_, '_>) -> Limits {
    let defaults = Limits::default();
    let Some(section) = root.table("limits") else {
        return defaults;
    };
    let limits = Limits {
        timeout: duration(&section, "timeout").unwrap_or(defaults.timeout),
        max_output_bytes: size(&section, "max_output").unwrap_or(defaults.max_output_bytes),
        max_artifact_bytes: size(&section, "max_artifacts").unwrap_or(defaults.max_artifact_bytes),
        max_file_bytes: size(&section, "max_file"),
        max_memory_bytes: size(&section, "max_memory"),
        max_processes: count(&section, "max_processes"),
        max_concurrent: count(&section, "max_concurrent")
            .and_then(|many| u32::try_from(many).ok())
            .unwrap_or(defaults.max_concurrent),
    };
    section.close();
    limits
}

/// A duration at a key.
pub(super) fn duration(section: &Section<'_, '_>, key: &'static str) -> Option<Duration> {
    quantity_at(section, key, "a duration", "\"30m\"", quantity::duration)
}

/// A size at a key.
pub(super) fn size(section: &Section<'_, '_>, key: &'static str) -> Option<u64> {
    quantity_at(section, key, "a size", "\"64 MiB\"", quantity::size)
}

fn quantity_at<T>(
    section: &Section<'_, '_>,
    key: &'static str,
    what: &str,
    example: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    section.place(key)?;
    let text = section.quantity(key, what, example)?;
    match read(&text.value) {
        Ok(value) => Some(value),
        Err(hint) => {
            section
                .source()
                .problem(text.at, format!("'{}' is not {what} for {key}", text.value), hint);
            None
        }
    }
}

fn count(section: &Section<'_, '_>, key: &'static str) -> Option<u64> {
    let number = section.number(key)?;
    match u32::try_from(number.value) {
        Ok(many) if many > 0 => Some(u64::from(many)),
        _ => {
            section.source().problem(
                number.at,
                format!("{key} can't be {}", number.value),
                "write a number from 1 up",
            );
            None
        }
    }
}
