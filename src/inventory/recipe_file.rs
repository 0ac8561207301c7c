//! A recipe file: TOML in, [`Recipe`] out.

use std::collections::BTreeMap;

use super::fields::{At, Section, Source};
use super::problem::suggest;
use super::step_table::{self, Known};
use super::words;
use crate::domain::Recipe;
use crate::domain::recipe::{Contains, Detect, Parameter, ParameterType, ToolNeed, ValueForm, Variant};

/// Reads a recipe file; `stem` is the file's name without its ending, which must be the recipe's name.
pub(super) fn read(source: &Source<'_>, stem: &str) -> Option<Recipe> {
    let table = source.parse()?;
    let root = source.root(&table);
    let name = root.required("name", &format!("\"{stem}\""));
    if let Some(name) = name.as_ref().filter(|name| name.value != stem) {
        let message = format!("the recipe is called '{}', but its file {stem}.toml", name.value);
        source.problem(
            name.at,
            message,
            "give both the same name; that is how a built-in recipe is overridden",
        );
    }
    let title = root.required("title", "\"a Python project\"");
    let intents = words::intents(source, root.texts("intents"));
    if intents.is_empty() {
        let at = root.place("intents").unwrap_or(0);
        source.problem(
            at,
            "intents has nothing the recipe serves",
            "write intents = [\"test\"]",
        );
    }
    let priority = root.number("priority").and_then(|number| {
        let priority = i32::try_from(number.value).ok();
        if priority.is_none() {
            source.problem(
                number.at,
                format!("priority can't be {}", number.value),
                "write a number such as 50",
            );
        }
        priority
    });
    let intents = words::plain(intents);
    let parameters = parameters(&root);
    let known = Known {
        intents: &intents,
        parameters: &parameters,
    };
    let recipe = Recipe {
        name: name.map(|name| name.value).unwrap_or_default(),
        title: title.map(|title| title.value).unwrap_or_default(),
        priority: priority.unwrap_or(0),
        detect: detect(&root),
        variants: variants(&root, &known),
        outputs: words::globs(source, root.texts("outputs")),
        intents: intents.clone(),
        parameters: parameters.clone(),
    };
    root.close();
    Some(recipe)
}

fn detect(root: &Section<'_, '_>) -> Detect {
    let Some(section) = root.table("detect") else {
        if root.place("detect").is_none() {
            let hint = "write [detect] and any_files = [\"...\"] below, or nothing below it to fit any project";
            root.source().problem(root.at(), "the table [detect] is missing", hint);
        }
        return Detect::default();
    };
    let detect = Detect {
        any_files: words::globs(section.source(), section.texts("any_files")),
        all_files: words::globs(section.source(), section.texts("all_files")),
        no_files: words::globs(section.source(), section.texts("no_files")),
        contains: contains(&section, "contains"),
    };
    section.close();
    detect
}

/// What manifests must say, at a key.
pub(super) fn contains(section: &Section<'_, '_>, key: &'static str) -> Vec<Contains> {
    let mut all = Vec::new();
    for asked in section.tables(key) {
        let file = asked.required("file", "\"pyproject.toml\"");
        let contains = Contains {
            file: file.map(|file| file.value).unwrap_or_default(),
            keys: words::plain(asked.texts("keys")),
            text: asked.text("text").map(|text| text.value),
        };
        if contains.keys.is_empty() && contains.text.is_none() {
            asked.source().problem(
                asked.at(),
                format!("{key} asks nothing of the manifest"),
                "write keys = [...] or text = \"...\"",
            );
        }
        asked.close();
        all.push(contains);
    }
    all
}

fn parameters(root: &Section<'_, '_>) -> BTreeMap<String, Parameter> {
    let mut parameters = BTreeMap::new();
    for entry in root.entries("parameters") {
        if !words::is_word(&entry.key.value) {
            let message = format!("'{}' can't be the name of a parameter", entry.key.value);
            root.source()
                .problem(entry.key.at, message, "use lower-case letters, digits and '_'");
        }
        if let Some(section) = entry.table("write [parameters.NAME] and type = \"list\" below") {
            parameters.insert(entry.key.value.clone(), parameter(&section));
            section.close();
        }
    }
    parameters
}

fn parameter(section: &Section<'_, '_>) -> Parameter {
    let kinds = [
        ("string", ParameterType::String),
        ("integer", ParameterType::Integer),
        ("boolean", ParameterType::Boolean),
        ("list", ParameterType::List),
    ];
    let forms = [
        ("text", ValueForm::Text),
        ("name", ValueForm::Name),
        ("path", ValueForm::Path),
    ];
    let kind = section
        .required("type", "\"string\"")
        .and_then(|word| one_of(section, &word, &kinds));
    let form = section.text("form").and_then(|word| one_of(section, &word, &forms));
    let description = section.required("description", "\"what it is for, in words\"");
    let wrap = section.text("wrap");
    if let Some(wrap) = wrap.as_ref().filter(|wrap| wrap.value.matches("{value}").count() != 1) {
        section.source().problem(
            wrap.at,
            "wrap must have {value} once",
            "write for instance wrap = \".[{value}]\"",
        );
    }
    let kind = kind.unwrap_or(ParameterType::String);
    let when_true = section.texts("when_true");
    if kind == ParameterType::Boolean && when_true.is_empty() {
        let hint = "write when_true = [\"--flag\"]";
        section
            .source()
            .problem(section.at(), "a boolean parameter says nothing when it is true", hint);
    }
    Parameter {
        kind,
        form: form.unwrap_or_default(),
        description: description.map(|text| text.value).unwrap_or_default(),
        required: section.flag("required").unwrap_or(false),
        default: words::plain(section.texts("default")),
        wrap: wrap.map(|wrap| wrap.value),
        when_true: words::plain(when_true),
        one_of: words::plain(section.texts("one_of")),
        allow_options: section.flag("allow_options").unwrap_or(false),
    }
}

/// The value that a word stands for; tells it when there is none.
pub(super) fn one_of<T: Copy>(section: &Section<'_, '_>, word: &At<String>, known: &[(&str, T)]) -> Option<T> {
    let found = known
        .iter()
        .find(|(name, _)| *name == word.value)
        .map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        section.source().problem(
            word.at,
            format!("'{}' is not known here", word.value),
            suggest(&word.value, &names),
        );
    }
    found
}

fn variants(root: &Section<'_, '_>, known: &Known<'_>) -> Vec<Variant> {
    let mut variants: Vec<Variant> = Vec::new();
    for section in root.tables("variants") {
        let name = section.required("name", "\"default\"");
        if let Some(name) = name
            .as_ref()
            .filter(|name| variants.iter().any(|v| v.name == name.value))
        {
            section.source().problem(
                name.at,
                format!("the variant '{}' is there twice", name.value),
                "rename one",
            );
        }
        variants.push(Variant {
            name: name.map(|name| name.value).unwrap_or_default(),
            needs: needs(&section),
            capabilities: words::plain(section.texts("capabilities")),
            if_files: words::globs(section.source(), section.texts("if_files")),
            steps: step_table::steps(&section, known),
        });
        section.close();
    }
    if variants.is_empty() {
        let at = root.place("variants").unwrap_or(0);
        root.source().problem(
            at,
            "the recipe has no variant",
            "write [[variants]] and [[variants.steps]]",
        );
    }
    variants
}

/// The tools at `needs`.
pub(super) fn needs(section: &Section<'_, '_>) -> Vec<ToolNeed> {
    let mut needs = Vec::new();
    for need in section.tables("needs") {
        let tool = need.required("tool", "\"python3\"");
        let least = need.text("min_version");
        let dotted = |text: &str| text.split('.').all(|part| part.parse::<u64>().is_ok());
        if let Some(least) = least.as_ref().filter(|least| !dotted(&least.value)) {
            let message = format!("'{}' is not a version", least.value);
            need.source()
                .problem(least.at, message, "write dotted numbers, such as \"3.9\"");
        }
        let hint = need.required("hint", "\"install ...\"");
        needs.push(ToolNeed {
            tool: tool.map(|tool| tool.value).unwrap_or_default(),
            min_version: least.map(|least| least.value),
            hint: hint.map(|hint| hint.value).unwrap_or_default(),
        });
        need.close();
    }
    needs
}
