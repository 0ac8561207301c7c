//! What the manifests among a task's files say.
//!
//! Manifests come from callers: whatever can't be parsed says nothing, and that is no error here. The tool that the
//! manifest is for will tell what is wrong with it.

use crate::domain::Listing;
use crate::domain::recipe::Contains;

/// Whether the manifest says all that is asked of it.
pub(super) fn says(listing: &Listing, asked: &Contains) -> bool {
    let Some(text) = listing.manifests.get(&asked.file) else {
        return false;
    };
    let has = |part: &str| asked.text.as_deref().is_none_or(|wanted| part.contains(wanted));
    if asked.keys.is_empty() {
        return has(text);
    }
    asked
        .keys
        .iter()
        .any(|key| value(&asked.file, text, key).is_some_and(|value| has(&value)))
}

/// The value at a key, as text.
fn value(file: &str, text: &str, key: &str) -> Option<String> {
    let name = file.rsplit('/').next().unwrap_or(file);
    if name.ends_with(".json") {
        let root: serde_json::Value = serde_json::from_str(text).ok()?;
        let found = key.split('.').try_fold(&root, |value, part| value.get(part))?;
        return Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned));
    }
    if name.ends_with(".toml") {
        let root: toml::Table = text.parse().ok()?;
        let mut parts = key.split('.');
        let found = parts.next().and_then(|part| root.get(part))?;
        let found = parts.try_fold(found, |value, part| value.get(part))?;
        return Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned));
    }
    if name.eq_ignore_ascii_case("makefile") || name == "GNUmakefile" {
        return rule(text, key);
    }
    None
}

/// The line of the rule that makes `target`.
fn rule(makefile: &str, target: &str) -> Option<String> {
    let makes = |line: &&str| match line.split_once(':') {
        Some((targets, rest)) if !line.starts_with(['\t', ' ', '#']) && !rest.starts_with('=') => {
            targets.split_whitespace().any(|name| name == target)
        }
        _ => false,
    };
    makefile.lines().find(makes).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(file: &str, text: &str, key: &str, wanted: Option<&str>) -> bool {
        let mut listing = Listing::default();
        listing.manifests.insert(file.to_owned(), text.to_owned());
        let keys = if key.is_empty() { vec![] } else { vec![key.to_owned()] };
        says(
            &listing,
            &Contains {
                file: file.to_owned(),
                keys,
                text: wanted.map(str::to_owned),
            },
        )
    }

    #[test]
    fn keys_and_texts_of_every_kind_of_manifest() {
        let pyproject = "[project]\nname='x'\n[project.optional-dependencies]\ntest = [ 'pytest' ]\n";
        let package = r#"{"scripts": {"test": "node --test"}}"#;
        let makefile = ".PHONY: test\nCC := cc\nall test-unit: x\n\techo check:\ntest : all\n";
        for (file, text, key, wanted, answer) in [
            (
                "pyproject.toml",
                pyproject,
                "project.optional-dependencies.test",
                None,
                true,
            ),
            (
                "pyproject.toml",
                pyproject,
                "project.optional-dependencies.dev",
                None,
                false,
            ),
            ("pyproject.toml", "not = = toml", "not", None, false),
            ("pyproject.toml", pyproject, "project.name", Some("x"), true),
            ("package.json", package, "scripts.test", Some("node --test"), true),
            ("package.json", package, "scripts.test", Some("jest"), false),
            ("package.json", "{", "scripts", None, false),
            ("Makefile", makefile, "test", None, true),
            ("Makefile", makefile, "test-unit", None, true),
            ("Makefile", makefile, "CC", None, false),
            ("Makefile", makefile, "check", None, false),
            ("go.mod", "module x", "module", None, false),
            ("pom.xml", "<project/>", "", Some("<project"), true),
        ] {
            assert_eq!(ask(file, text, key, wanted), answer, "{file} {key} {wanted:?}");
        }
    }
}
