//! A project folder as one `.tar.gz`, without what the work doesn't need.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;

/// Folders that are made anew by the work, or are about the project rather than of it.
const LEFT_OUT: [&str; 10] = [
    ".git",
    ".hg",
    ".venv",
    "venv",
    "node_modules",
    "target",
    "__pycache__",
    ".pytest_cache",
    ".tox",
    ".clawhand",
];

/// Packs `folder` into an unnamed file, read from its start. What `.gitignore` names is left out, and so is
/// [`LEFT_OUT`]. Blocking.
///
/// # Errors
/// When something can't be read, or is neither a file, a folder nor a link.
pub(super) fn pack(folder: &Path) -> anyhow::Result<File> {
    let file = tempfile::tempfile().context("no temporary file can be made")?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Deterministic);
    let walk = WalkBuilder::new(folder)
        .hidden(false)
        .require_git(false)
        .sort_by_file_path(Path::cmp)
        .filter_entry(|entry| entry.depth() == 0 || !LEFT_OUT.iter().any(|name| entry.file_name() == *name))
        .build();
    for entry in walk {
        let entry = entry.context("the project folder can't be read")?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if name.as_os_str().is_empty() || entry.file_type().is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        archive
            .append_path_with_name(entry.path(), name)
            .with_context(|| format!("{} can't be packed", entry.path().display()))?;
    }
    let packed = archive.into_inner().and_then(GzEncoder::finish).and_then(|mut file| {
        file.seek(io::SeekFrom::Start(0))?;
        Ok(file)
    });
    packed.context("the archive can't be written")
}
