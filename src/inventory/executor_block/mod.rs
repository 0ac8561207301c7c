//! The table `[executor]` of a target file: a kind, and what only that kind has.

mod docker;
mod group;
mod http;
mod kubernetes;
mod local;
mod openclaw;
mod ssh;

use super::fields::{At, Section};
use super::problem::suggest;
use crate::domain::target::{ExecutorBlock, LocalBlock};

/// Reads the table of one kind.
type Reader = fn(&Section<'_, '_>) -> ExecutorBlock;

/// The kinds of executor that a target file may name.
const KINDS: &[(&str, Reader)] = &[
    ("local", local::read),
    ("docker", docker::read),
    ("group", group::read),
    ("http", http::read),
    ("kubernetes", kubernetes::read),
    ("openclaw", openclaw::read),
    ("ssh", ssh::read),
];

/// Reads the executor of a target. After a problem the result is of no use and nobody gets to see it.
pub(super) fn read(root: &Section<'_, '_>) -> ExecutorBlock {
    let Some(section) = root.table("executor") else {
        if root.place("executor").is_none() {
            root.source().problem(
                root.at(),
                "the table [executor] is missing",
                "write [executor] and kind = \"local\" below",
            );
        }
        return ExecutorBlock::Local(LocalBlock::default());
    };
    let kind = section.required("kind", "\"local\"");
    let known = kind
        .as_ref()
        .and_then(|kind| KINDS.iter().find(|(name, _)| *name == kind.value));
    let block = match (known, kind) {
        (Some((_, reader)), _) => reader(&section),
        (None, Some(kind)) => {
            let message = format!("there is no executor of the kind '{}'", kind.value);
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            section.source().problem(kind.at, message, suggest(&kind.value, &names));
            // What else is in the table depends on the kind, so nothing more can be said of it.
            return ExecutorBlock::Local(LocalBlock::default());
        }
        (None, None) => local::read(&section),
    };
    section.close();
    block
}

/// Complains of each path that isn't absolute.
fn check_absolute<'a>(section: &Section<'_, '_>, paths: impl Iterator<Item = At<&'a str>>) {
    for path in paths {
        if !path.value.starts_with('/') {
            let message = format!("'{}' is not an absolute path", path.value);
            section.source().problem(path.at, message, "begin each path with '/'");
        }
    }
}
