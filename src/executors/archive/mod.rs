//! Looks into archives that callers upload, and unpacks them.
//!
//! An archive is hostile until it was read to its end: a first pass decompresses everything, counts the real bytes and
//! builds the tree that would come out, and refuses what is unsafe; only then anything is written. Writing goes from
//! open folder to open folder and never follows a link, because it may happen as root in a folder that another user will
//! own. Links come last.
//!
//! Never runs what it unpacks, never keeps owners, times, setuid bits or devices. Synchronous: callers use a thread that
//! may block. Start reading at [`list`] and [`unpack`]; what is refused is in `tree.rs`.

mod lay;
mod read;
mod tree;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::domain::Listing;
use tree::{Node, Survey, Tree};

/// The forms of archives that are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// A tar compressed with gzip.
    TarGz,
    /// A tar.
    Tar,
    /// A zip with stored or deflated entries.
    Zip,
}

impl ArchiveKind {
    /// The kind that a name's ending tells.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let endings = [
            (".tar.gz", Self::TarGz),
            (".tgz", Self::TarGz),
            (".tar", Self::Tar),
            (".zip", Self::Zip),
        ];
        endings
            .into_iter()
            .find(|(ending, _)| name.ends_with(ending))
            .map(|(_, kind)| kind)
    }
}

/// How much an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Files, links and folders, also those that are only named as parents of others.
    pub entries: usize,
    /// All files together, expanded.
    pub bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 4 * 1024 * 1024 * 1024,
        }
    }
}

/// Why an archive was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It would write outside its folder, or expand without bound, or make what is no file.
    #[error("unsafe archive: {0}")]
    Unsafe(String),
    /// Reading or writing failed on this machine.
    #[error("archive: {0}")]
    Io(#[from] io::Error),
    /// It can't be read as what it is said to be.
    #[error("broken archive: {0}")]
    Broken(String),
}

/// What is inside, as it would lie in the workspace.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the place where the file stands moves: it is used up"
)]
pub fn list(file: File, kind: ArchiveKind, limits: &ArchiveLimits) -> Result<Listing, ArchiveError> {
    Ok(survey(&file, kind, limits)?.listing())
}

/// Unpacks into `dest`, which is made if it isn't there. What lies there already is replaced where the archive has a
/// file of the same name; a folder is never replaced.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the place where the file stands moves: it is used up"
)]
pub fn unpack(file: File, kind: ArchiveKind, dest: &Path, limits: &ArchiveLimits) -> Result<(), ArchiveError> {
    let tree = survey(&file, kind, limits)?;
    let mut ground = lay::Ground::open(dest)?;
    for (path, node) in tree.nodes() {
        if let Node::Folder { mode } = node {
            ground.folder(path, *mode)?;
        }
    }
    let mut index = 0;
    read::each(&file, kind, limits, &mut |_, body| {
        index += 1;
        match tree.content_of(index - 1) {
            Some((path, mode)) => ground.file(path, mode, body),
            None => Ok(()),
        }
    })?;
    for (path, node) in tree.nodes() {
        if let Node::HardLink { target } = node {
            ground.hard_link(path, target)?;
        }
    }
    for (path, node) in tree.nodes() {
        if let Node::Symlink { target } = node {
            ground.symlink(path, target)?;
        }
    }
    Ok(())
}

fn survey(file: &File, kind: ArchiveKind, limits: &ArchiveLimits) -> Result<Tree, ArchiveError> {
    let mut survey = Survey::new(limits);
    read::each(file, kind, limits, &mut |entry, body| survey.add(entry, body))?;
    survey.finish()
}
