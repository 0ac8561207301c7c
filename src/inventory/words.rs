//! What names, globs and versions may look like in files of the inventory.

use globset::GlobBuilder;

use super::fields::{At, Source};

/// Whether a text is a semantic name: `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63 characters.
pub(super) fn is_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text is the word of an intent, a step or a parameter: `[a-z][a-z0-9_-]*`, at most 63 characters.
pub(super) fn is_word(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    text.len() <= 63 && text.bytes().all(inner) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Whether a text can be the name of an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    text.bytes().all(inner) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a path stays below the folder it starts from.
pub(super) fn is_inside(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

/// The intents of a list, each once.
pub(super) fn intents(source: &Source<'_>, given: Vec<At<String>>) -> Vec<At<String>> {
    let mut intents: Vec<At<String>> = Vec::new();
    for intent in given {
        if !is_word(&intent.value) {
            source.problem(
                intent.at,
                format!("'{}' can't be an intent", intent.value),
                "use lower-case letters, digits and '_', such as \"install_and_test\"",
            );
        } else if intents.iter().any(|have| have.value == intent.value) {
            source.problem(
                intent.at,
                format!("the intent '{}' is there twice", intent.value),
                "remove one",
            );
        } else {
            intents.push(intent);
        }
    }
    intents
}

/// The globs of a list that can be read.
pub(super) fn globs(source: &Source<'_>, given: Vec<At<String>>) -> Vec<String> {
    let mut globs = Vec::with_capacity(given.len());
    for At { value, at } in given {
        if check_glob(source, &value, at) {
            globs.push(value);
        }
    }
    globs
}

/// Whether a glob can be read; tells it when not.
pub(super) fn check_glob(source: &Source<'_>, glob: &str, at: usize) -> bool {
    if glob.is_empty() || !is_inside(glob) {
        source.problem(
            at,
            format!("'{glob}' leads out of the workspace"),
            "write it relative to the project, without '..'",
        );
        return false;
    }
    match GlobBuilder::new(glob).literal_separator(true).build() {
        Ok(_) => true,
        Err(why) => {
            source.problem(
                at,
                format!("'{glob}' is not a glob: {}", why.kind()),
                "`*` is one name, `**` any folders",
            );
            false
        }
    }
}

/// The plain values of a list.
pub(super) fn plain(given: Vec<At<String>>) -> Vec<String> {
    given.into_iter().map(|item| item.value).collect()
}
