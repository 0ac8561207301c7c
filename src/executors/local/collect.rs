//! Finding files in a workspace whose content is not to be trusted.
//!
//! Folders are entered by descriptor and without following links, and files are opened the same way, so nothing that
//! the work does to its folders can lead out of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::failed;
use crate::executors::contract::{CollectLimit, Collected, CollectedFile, ExecutorError};
use crate::executors::wanted::Wanted;

/// Deeper folders are left out: each level costs a descriptor.
const DEPTH_MAX: usize = 64;
/// More entries than this are not looked at.
const ENTRIES_MAX: usize = 1_000_000;

pub(super) fn collect(work: &Path, globs: &[String], limit: CollectLimit) -> Result<Collected, ExecutorError> {
    let mut search = Search {
        wanted: Wanted::new(globs)?,
        found: Vec::new(),
        left_out: Vec::new(),
        entries: 0,
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let what = "look through the workspace";
    let root = nix::fcntl::open(work, flags, Mode::empty()).map_err(|error| failed(what, &error.into()))?;
    search.folder(&root, "", 0).map_err(|error| failed(what, &error))?;
    search.found.sort();
    search.left_out.sort();
    Ok(take(&root, search, limit))
}

struct Search {
    wanted: Wanted,
    found: Vec<String>,
    left_out: Vec<(String, String)>,
    entries: usize,
}

impl Search {
    fn folder(&mut self, fd: &OwnedFd, prefix: &str, depth: usize) -> io::Result<()> {
        // The descriptor and not the path, which may lead elsewhere by now.
        for entry in std::fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd()))? {
            let name = entry?.file_name();
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                break;
            }
            let Some(text) = name.to_str() else {
                let shown = format!("{prefix}{}", name.to_string_lossy());
                if self.wanted.matches(&shown) {
                    self.left_out.push((shown, "its name is not UTF-8".to_owned()));
                }
                continue;
            };
            let path = format!("{prefix}{text}");
            match fstatat(fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
                    self.entry(fd, &path, kind, depth);
                }
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.entries > ENTRIES_MAX && depth == 0 {
            self.left_out.push((
                prefix.to_owned(),
                format!("more than {ENTRIES_MAX} files in the workspace"),
            ));
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, path: &str, kind: SFlag, depth: usize) {
        if kind == SFlag::S_IFDIR {
            return self.below(folder, path, depth);
        }
        if !self.wanted.matches(path) {
            return;
        }
        let reason = match kind {
            SFlag::S_IFREG => return self.found.push(path.to_owned()),
            SFlag::S_IFLNK => "it is a link",
            _ => "it is not a regular file",
        };
        self.left_out.push((path.to_owned(), reason.to_owned()));
    }

    fn below(&mut self, folder: &OwnedFd, path: &str, depth: usize) {
        if depth >= DEPTH_MAX {
            return self
                .left_out
                .push((format!("{path}/"), "too many folders deep".to_owned()));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let result = openat(folder, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|fd| self.folder(&fd, &format!("{path}/"), depth + 1));
        if let Err(error) = result {
            self.left_out
                .push((format!("{path}/"), format!("it can't be read: {error}")));
        }
    }
}

/// Opens what was found, in the order of the names, as far as the limit goes.
fn take(root: &OwnedFd, search: Search, limit: CollectLimit) -> Collected {
    let mut collected = Collected {
        files: Vec::new(),
        left_out: search.left_out,
    };
    let mut bytes_left = limit.bytes;
    for name in search.found {
        let reason = if collected.files.len() >= limit.files {
            format!("more than {} files", limit.files)
        } else {
            match open_below(root, &name) {
                Ok((_, size)) if size > bytes_left => format!("more than {} bytes in all", limit.bytes),
                Ok((file, size)) => {
                    bytes_left -= size;
                    collected.files.push(CollectedFile { name, size, file });
                    continue;
                }
                Err(error) => format!("it can't be read: {error}"),
            }
        };
        collected.left_out.push((name, reason));
    }
    collected
}

/// Opens a regular file without following a link in any part of its name, and without waiting for a pipe's writer.
fn open_below(root: &OwnedFd, name: &str) -> io::Result<(File, u64)> {
    let mut folder = root.try_clone()?;
    let mut parts = name.split('/').peekable();
    let folder_flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file_flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            folder = openat(&folder, part, folder_flags, Mode::empty())?;
            continue;
        }
        let file = File::from(openat(&folder, part, file_flags, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            break;
        }
        return Ok((file, meta.len()));
    }
    Err(io::Error::other("it is not a regular file"))
}
