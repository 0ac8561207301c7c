//! `kind = "group"`: several targets under one name. Which targets there are is known only when all files are read, so
//! the members are looked at in groups.rs.

use crate::domain::target::{ExecutorBlock, GroupBlock};
use crate::inventory::fields::Section;
use crate::inventory::words;

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    if section.place("members").is_none() {
        section.source().problem(
            section.at(),
            "members is missing",
            "write members = [\"vault-a\", \"vault-b\"]",
        );
    }
    ExecutorBlock::Group(GroupBlock {
        members: words::plain(section.texts("members")),
        at_once: number(section, "at_once", 1).unwrap_or(1),
        max_failures: number(section, "max_failures", 0).unwrap_or(0),
    })
}

fn number(section: &Section<'_, '_>, key: &'static str, least: u32) -> Option<u32> {
    let number = section.number(key)?;
    let read = u32::try_from(number.value).ok().filter(|number| *number >= least);
    if read.is_none() {
        section.source().problem(
            number.at,
            format!("{key} can't be {}", number.value),
            format!("write a number from {least} up"),
        );
    }
    read
}
