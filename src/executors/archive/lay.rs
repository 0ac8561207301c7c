//! Writes below one folder without ever following a link.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::ArchiveError;

/// Neither setuid nor writable for others, whatever the archive says; the owner may always read and write.
const MODE_MASK: u32 = 0o755;

/// The folder that is written to.
pub(super) struct Ground {
    root: OwnedFd,
    /// The folder that was written to last: entries of one folder mostly follow one another.
    last: Option<(String, OwnedFd)>,
}

impl Ground {
    /// Opens the folder, makes it if it isn't there.
    pub(super) fn open(dest: &Path) -> Result<Self, ArchiveError> {
        std::fs::create_dir_all(dest)?;
        let root = open(dest, folder_flags(), Mode::empty()).map_err(io::Error::from)?;
        Ok(Self { root, last: None })
    }

    /// Makes a folder, or takes the one that is there.
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<(), ArchiveError> {
        let folder = self.enter(path)?;
        fchmod(folder, bits(mode | 0o700)).map_err(|errno| failed(path, errno))
    }

    /// Writes a file in place of the one that is there.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let (folder, name) = self.free(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file: File = openat(folder, name, flags, bits(0o600))
            .map_err(|errno| failed(path, errno))?
            .into();
        io::copy(content, &mut file)?;
        fchmod(&file, bits(mode | 0o600)).map_err(|errno| failed(path, errno))
    }

    /// Links to a file that was written before.
    pub(super) fn hard_link(&mut self, path: &str, target: &str) -> Result<(), ArchiveError> {
        let (parent, name) = split(target);
        let source = self.enter(parent)?.try_clone()?;
        let (folder, new) = self.free(path)?;
        linkat(&source, name, folder, new, AtFlags::empty()).map_err(|errno| failed(path, errno))
    }

    /// Writes a link; where it leads was checked.
    pub(super) fn symlink(&mut self, path: &str, target: &str) -> Result<(), ArchiveError> {
        let (folder, name) = self.free(path)?;
        symlinkat(target, folder, name).map_err(|errno| failed(path, errno))
    }

    /// The folder and the name of a path, with nothing left there.
    fn free<'a>(&mut self, path: &'a str) -> Result<(&OwnedFd, &'a str), ArchiveError> {
        let (parent, name) = split(path);
        let folder = self.enter(parent)?;
        match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((folder, name)),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    /// Opens a folder below the root, one name at a time; makes what is missing.
    fn enter(&mut self, path: &str) -> Result<&OwnedFd, ArchiveError> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        let known = self.last.take().filter(|(last, _)| last == path);
        let folder = match known {
            Some((_, folder)) => folder,
            None => self.walk(path)?,
        };
        Ok(&self.last.insert((path.to_owned(), folder)).1)
    }

    fn walk(&self, path: &str) -> Result<OwnedFd, ArchiveError> {
        let mut at = self.root.try_clone()?;
        for name in path.split('/') {
            match mkdirat(&at, name, bits(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(path, errno)),
            }
            at = openat(&at, name, folder_flags(), Mode::empty()).map_err(|errno| failed(path, errno))?;
        }
        Ok(at)
    }
}

fn folder_flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & MODE_MASK)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn failed(path: &str, errno: Errno) -> ArchiveError {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR | Errno::EISDIR | Errno::EEXIST => {
            ArchiveError::Unsafe(format!("something else is in the way of {path:?}"))
        }
        errno => ArchiveError::Io(errno.into()),
    }
}
