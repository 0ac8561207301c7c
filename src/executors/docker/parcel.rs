//! Archives on the way to and from a volume. Both ends are made of unlinked temporary files, never of memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use crate::executors::contract::{CollectLimit, Collected, CollectedFile, ExecutorError, Input};
use crate::executors::local::lay;
use crate::executors::posix::pack;
use crate::executors::wanted::Wanted;

/// More entries than this are not looked at.
const ENTRIES_MAX: usize = 1_000_000;

/// The folders of a fresh workspace with its inputs in them, as an archive in which all of it belongs to `owner`.
pub(super) fn packed(inputs: &[Input], scratch: &Path, owner: (u32, u32)) -> Result<File, ExecutorError> {
    let failed = |error: io::Error| trouble("lay the inputs out", &error);
    let folder = tempfile::tempdir_in(scratch).map_err(failed)?;
    for part in ["work", "home", "tmp", "attempts"] {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(folder.path().join(part))
            .map_err(failed)?;
    }
    for input in inputs {
        lay(&folder.path().join("work"), input)?;
    }
    pack(folder.path(), owner, scratch)
}

/// Takes out of archives what matches.
pub(super) struct Collector {
    wanted: Wanted,
    limit: CollectLimit,
    scratch: PathBuf,
    found: BTreeMap<String, (File, u64)>,
    left_out: BTreeMap<String, String>,
    /// Names that share their content with another one, which is the only place where the archive has it.
    pub linked: Vec<String>,
    bytes: u64,
    entries: usize,
}

impl Collector {
    pub(super) fn new(globs: &[String], limit: CollectLimit, scratch: &Path) -> Result<Self, ExecutorError> {
        Ok(Self {
            wanted: Wanted::new(globs)?,
            limit,
            scratch: scratch.to_path_buf(),
            found: BTreeMap::new(),
            left_out: BTreeMap::new(),
            linked: Vec::new(),
            bytes: 0,
            entries: 0,
        })
    }

    /// A link, which is left out if it is one that was asked for.
    pub(super) fn link(&mut self, path: &str) {
        if self.wanted.matches(path) {
            self.left_out.insert(path.to_owned(), "it is a link".to_owned());
        }
    }

    /// Reads an archive of what is at `place`, relative to the workspace.
    pub(super) fn read(&mut self, archive: impl Read, place: &str) -> Result<(), ExecutorError> {
        let failed = |error: io::Error| trouble("read the archive of the outputs", &error);
        let mut archive = Archive::new(archive);
        for entry in archive.entries().map_err(failed)? {
            self.entry(&mut entry.map_err(failed)?, place).map_err(failed)?;
            self.entries += 1;
            if self.entries == ENTRIES_MAX {
                let why = format!("more than {ENTRIES_MAX} files in the workspace");
                self.left_out.insert(format!("{place}/"), why);
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, place: &str) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let bytes = entry.path_bytes().into_owned();
        let Some(path) = inside(&String::from_utf8_lossy(&bytes), place).filter(|path| self.wanted.matches(path))
        else {
            return Ok(());
        };
        let reason = match kind {
            EntryType::Directory => return Ok(()),
            EntryType::Symlink => "it is a link".to_owned(),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Link
                if std::str::from_utf8(&bytes).is_err() =>
            {
                "its name is not UTF-8".to_owned()
            }
            EntryType::Link => {
                self.linked.push(path);
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => match self.keep(entry, &path)? {
                Some(reason) => reason,
                None => return Ok(()),
            },
            _ => "it is not a regular file".to_owned(),
        };
        self.left_out.insert(path, reason);
        Ok(())
    }

    /// Spools a file, or says why it is left out.
    fn keep(&mut self, entry: &mut Entry<'_, impl Read>, path: &str) -> io::Result<Option<String>> {
        if self.found.contains_key(path) {
            return Ok(None);
        }
        if self.found.len() >= self.limit.files {
            return Ok(Some(format!("more than {} files", self.limit.files)));
        }
        let size = entry.size();
        if size > self.limit.bytes - self.bytes {
            return Ok(Some(format!("more than {} bytes in all", self.limit.bytes)));
        }
        let mut file = tempfile::tempfile_in(&self.scratch)?;
        let size = io::copy(&mut entry.take(size), &mut file)?;
        file.seek(SeekFrom::Start(0))?;
        self.bytes += size;
        self.found.insert(path.to_owned(), (file, size));
        Ok(None)
    }

    pub(super) fn finish(self) -> Collected {
        let file = |(name, (file, size))| CollectedFile { name, size, file };
        Collected {
            files: self.found.into_iter().map(file).collect(),
            left_out: self.left_out.into_iter().collect(),
        }
    }
}

/// The path in the workspace of an entry whose first part is the last one of `place`, as daemons name them.
fn inside(entry: &str, place: &str) -> Option<String> {
    let entry = entry.trim_start_matches("./").trim_end_matches('/');
    let below = entry.split_once('/').map_or("", |(_, below)| below);
    let path = match (place.is_empty(), below.is_empty()) {
        (true, _) => below.to_owned(),
        (false, true) => place.to_owned(),
        (false, false) => format!("{place}/{below}"),
    };
    let is_plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    is_plain.then_some(path)
}

fn trouble(what: &str, error: &io::Error) -> ExecutorError {
    let text = format!("failed to {what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExecutorError::StorageFull(text),
        _ => ExecutorError::Unreachable(text),
    }
}

/// The parts of the workspace in which globs can match, none inside of another; empty for all of it.
pub(super) fn places(globs: &[String]) -> Vec<String> {
    let mut places: Vec<String> = globs.iter().map(|glob| place_of(glob)).collect();
    places.sort_by_key(String::len);
    let mut apart: Vec<String> = Vec::new();
    for place in places {
        let is_inside = |whole: &String| {
            whole.is_empty()
                || place == *whole
                || place
                    .strip_prefix(whole.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if !apart.iter().any(is_inside) {
            apart.push(place);
        }
    }
    apart
}

/// The part of a glob before anything in it that stands for more than itself.
fn place_of(glob: &str) -> String {
    let is_plain = |part: &&str| !part.is_empty() && !part.contains(['*', '?', '[', ']', '{', '}', '!', '\\']);
    let parts: Vec<&str> = glob.split('/').take_while(is_plain).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_the_folders_that_globs_can_match_in_are_asked_for() {
        for (globs, wanted) in [
            (&["reports/**", "reports/junit/*.xml"][..], &["reports"][..]),
            (&[".clawhand/junit.xml"], &[".clawhand/junit.xml"]),
            (&["dist/*.whl", "dist-old/x"], &["dist", "dist-old/x"]),
            (&["dist/*.whl", "**/*.xml"], &[""]),
            (&["a/{b,c}/d", "a[b]/c"], &[""]),
            (&["a/b?/c", "a/d"], &["a"]),
            (&[], &[]),
        ] {
            assert_eq!(places(&owned(globs)), owned(wanted), "{globs:?}");
        }
    }

    #[test]
    fn entries_are_named_from_the_workspace_on() {
        for (entry, place, path) in [
            ("work/a/b", "", Some("a/b")),
            ("work/", "", None),
            ("junit.xml", ".clawhand/junit.xml", Some(".clawhand/junit.xml")),
            ("reports/x/y", "out/reports", Some("out/reports/x/y")),
            ("reports/../../y", "reports", None),
            ("/etc/passwd", "reports", Some("reports/etc/passwd")),
        ] {
            assert_eq!(inside(entry, place).as_deref(), path, "{entry} at {place}");
        }
    }
}
