//! `kind = "local"`: clawhand's own machine.

use super::check_absolute;
use crate::domain::target::{ExecutorBlock, LocalBlock};
use crate::inventory::fields::{At, Section};
use crate::inventory::words;

pub(super) fn read(section: &Section<'_, '_>) -> ExecutorBlock {
    let path = section.text("path");
    let read_paths = section.texts("read_paths");
    let entries = path
        .iter()
        .flat_map(|path| path.value.split(':').map(|value| At { value, at: path.at }));
    let folders = read_paths.iter().map(|path| At {
        value: path.value.as_str(),
        at: path.at,
    });
    check_absolute(section, entries.chain(folders));
    ExecutorBlock::Local(LocalBlock {
        user: section.text("user").map(|user| user.value),
        path: path.map(|path| path.value),
        network: section.flag("network").unwrap_or(false),
        read_paths: words::plain(read_paths),
    })
}
