//! The members of groups: looked at once every file is read, because only then it is known which targets there are.

use std::collections::BTreeMap;

use super::fields::{At, Source};
use super::problem::{Problem, suggest};
use crate::domain::Target;
use crate::domain::target::ExecutorBlock;

/// Replaces labels among the members of each group by the targets that have them, and tells every mistake. `files` has
/// the name and the text of the file of each target, by the target's name.
pub(super) fn settle(targets: &mut [Target], files: &BTreeMap<String, (String, String)>) -> Vec<Problem> {
    let known = targets.to_vec();
    let mut problems = Vec::new();
    for target in targets {
        let name = target.name.clone();
        let (ExecutorBlock::Group(block), Some((file, text))) = (&mut target.executor, files.get(&name)) else {
            continue;
        };
        let source = Source::new(file, text);
        if let Some(table) = source.parse() {
            let root = source.root(&table);
            let written = root.table("executor").map(|section| section.texts("members"));
            let group = Group {
                name: &name,
                intents: &target.intents,
                known: &known,
                source: &source,
            };
            let written = written.unwrap_or_default();
            block.members = group.members(&written);
            if written.is_empty() {
                let hint = "write members = [\"vault-a\", \"vault-b\"]";
                source.problem(root.at(), "the group has no member", hint);
            }
        }
        problems.extend(source.into_problems());
    }
    problems
}

/// A group whose members are looked at.
struct Group<'a> {
    name: &'a str,
    intents: &'a [String],
    known: &'a [Target],
    source: &'a Source<'a>,
}

impl Group<'_> {
    /// The names of its members, each once.
    fn members(&self, written: &[At<String>]) -> Vec<String> {
        let mut members: Vec<String> = Vec::new();
        for entry in written {
            let labelled = entry.value.contains('=');
            let found = match labelled {
                true => self.with_labels(entry),
                false => self.named(entry).into_iter().collect(),
            };
            for target in found {
                if !members.contains(&target.name) {
                    self.takes_intents(entry, target);
                    members.push(target.name.clone());
                } else if !labelled {
                    self.source
                        .problem(entry.at, format!("'{}' is there twice", entry.value), "remove one");
                }
            }
        }
        members
    }

    fn named(&self, entry: &At<String>) -> Option<&Target> {
        let names = || self.known.iter().filter(|target| is_single(target));
        let problem = |message: String, hint: String| {
            self.source.problem(entry.at, message, hint);
            None
        };
        if entry.value == self.name {
            return problem("a group can't be a member of itself".into(), "remove it".into());
        }
        match self.known.iter().find(|target| target.name == entry.value) {
            None => {
                let names: Vec<&str> = names().map(|target| target.name.as_str()).collect();
                problem(
                    format!("there is no target '{}'", entry.value),
                    suggest(&entry.value, &names),
                )
            }
            Some(target) => match &target.executor {
                ExecutorBlock::Group(inner) => problem(
                    format!("'{}' is a group itself", entry.value),
                    format!("write its members instead: {}", inner.members.join(", ")),
                ),
                _ => Some(target),
            },
        }
    }

    /// The single targets that have all these labels, in the order of their names.
    fn with_labels(&self, entry: &At<String>) -> Vec<&Target> {
        let has = |target: &Target| {
            entry.value.split(',').all(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                target.labels.get(key.trim()).is_some_and(|have| have == value.trim())
            })
        };
        let mut found: Vec<&Target> = self
            .known
            .iter()
            .filter(|target| is_single(target) && has(target))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        if found.is_empty() {
            let message = format!("no target has the labels {}", entry.value);
            self.source.problem(
                entry.at,
                message,
                "write them as in [labels] of the members: env=staging",
            );
        }
        found
    }

    fn takes_intents(&self, entry: &At<String>, member: &Target) {
        let missing = self.intents.iter().filter(|intent| !member.intents.contains(intent));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        if !missing.is_empty() {
            let message = format!("the member {} doesn't take: {}", member.name, missing.join(", "));
            let hint = "remove them from the intents of the group, or let the member take them";
            self.source.problem(entry.at, message, hint);
        }
    }
}

const fn is_single(target: &Target) -> bool {
    !matches!(target.executor, ExecutorBlock::Group(_))
}
