//! Files on their way between clawhand's machine and a target, as tar.
//!
//! What goes there is laid out here first, by the same code that lays inputs on clawhand's own machine, so that an
//! archive is as harmless there as here. What comes from there was made by work that is not to be trusted: nothing of
//! it is ever written by name. Synchronous: callers use a thread that may block.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::executors::contract::{CollectLimit, Collected, CollectedFile, ExecutorError, Input};
use crate::executors::local::lay;
use crate::executors::wanted::Wanted;

/// Inputs as they will lie in the workspace, in a folder of clawhand's machine that goes away with this.
pub type LaidOut = tempfile::TempDir;

/// Lays inputs out below `scratch`; later ones win over earlier ones.
pub fn lay_out(inputs: &[Input], scratch: &Path) -> Result<LaidOut, ExecutorError> {
    let folder = tempfile::tempdir_in(scratch).map_err(|error| failed("make a folder for the inputs", &error))?;
    for input in inputs {
        lay(folder.path(), input)?;
    }
    Ok(folder)
}

/// Packs what is in a folder that was laid out, without the folder itself, into an unnamed file below `scratch` that
/// stands at its beginning. `owner` is the user and group number of every entry.
pub fn pack(folder: &Path, owner: (u32, u32), scratch: &Path) -> Result<File, ExecutorError> {
    let packed = || -> io::Result<File> {
        let mut tar = Builder::new(tempfile::tempfile_in(scratch)?);
        pack_folder(&mut tar, folder, Path::new(""), owner)?;
        let mut file = tar.into_inner()?;
        file.rewind()?;
        Ok(file)
    };
    packed().map_err(|error| failed("pack the inputs", &error))
}

fn pack_folder(tar: &mut Builder<File>, folder: &Path, inside: &Path, owner: (u32, u32)) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        let meta = std::fs::symlink_metadata(&path)?;
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o777);
        header.set_uid(owner.0.into());
        header.set_gid(owner.1.into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_size(0);
        if meta.is_dir() {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, &name, io::empty())?;
            pack_folder(tar, &path, &name, owner)?;
        } else if meta.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, &name, std::fs::read_link(&path)?)?;
        } else {
            header.set_entry_type(EntryType::Regular);
            header.set_size(meta.len());
            tar.append_data(&mut header, &name, File::open(&path)?)?;
        }
    }
    Ok(())
}

/// Takes what the globs ask for out of a tar of a workspace, whose entries begin with `prefix`. Each file is spooled
/// into an unnamed one below `scratch`.
pub fn collected(
    source: impl Read,
    (prefix, globs): (&str, &[String]),
    limit: CollectLimit,
    scratch: &Path,
) -> Result<Collected, ExecutorError> {
    let what = "read the outputs";
    let mut taking = Taking {
        wanted: Wanted::new(globs)?,
        limit,
        bytes_left: limit.bytes,
        scratch,
        at: HashMap::new(),
        collected: Collected::default(),
    };
    let mut archive = tar::Archive::new(source);
    // Where names are many, several archives follow one another.
    archive.set_ignore_zeros(true);
    for entry in archive.entries().map_err(|error| failed(what, &error))? {
        let mut entry = entry.map_err(|error| failed(what, &error))?;
        taking.take(&mut entry, prefix).map_err(|error| failed(what, &error))?;
    }
    let mut collected = taking.collected;
    collected.files.sort_by(|a, b| a.name.cmp(&b.name));
    collected.left_out.sort();
    Ok(collected)
}

struct Taking<'a> {
    wanted: Wanted,
    limit: CollectLimit,
    bytes_left: u64,
    scratch: &'a Path,
    /// Where in the result the file of a name is, for hard links.
    at: HashMap<String, usize>,
    collected: Collected,
}

impl Taking<'_> {
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, prefix: &str) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            return Ok(());
        }
        let bytes = entry.path_bytes().into_owned();
        let Ok(name) = std::str::from_utf8(&bytes) else {
            let shown = relative(&String::from_utf8_lossy(&bytes), prefix).to_owned();
            if self.wanted.matches(&shown) {
                self.leave_out(shown, "its name is not UTF-8");
            }
            return Ok(());
        };
        let name = relative(name, prefix).to_owned();
        if !self.wanted.matches(&name) {
            return Ok(());
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.take_file(entry, name),
            EntryType::Link => self.take_link(entry, name, prefix),
            EntryType::Symlink => {
                self.leave_out(name, "it is a link");
                Ok(())
            }
            _ => {
                self.leave_out(name, "it is not a regular file");
                Ok(())
            }
        }
    }

    fn take_file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, name: String) -> io::Result<()> {
        let size = entry.size();
        if !self.has_room(&name, size) {
            return Ok(());
        }
        let mut file = tempfile::tempfile_in(self.scratch)?;
        let copied = io::copy(entry, &mut file)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.rewind()?;
        self.keep(name, size, file);
        Ok(())
    }

    /// A second name of a file that came before: two files to whoever collects them.
    fn take_link<R: Read>(&mut self, entry: &tar::Entry<'_, R>, name: String, prefix: &str) -> io::Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let target = String::from_utf8_lossy(&target).into_owned();
        let found = self.at.get(relative(&target, prefix)).copied();
        let Some(first) = found.and_then(|index| self.collected.files.get(index)) else {
            self.leave_out(name, "it is a link");
            return Ok(());
        };
        // Opened anew, so that each has a place of its own in the file.
        let (size, file) = (
            first.size,
            File::open(format!("/proc/self/fd/{}", first.file.as_raw_fd()))?,
        );
        if self.has_room(&name, size) {
            self.keep(name, size, file);
        }
        Ok(())
    }

    fn has_room(&mut self, name: &str, size: u64) -> bool {
        let reason = if self.collected.files.len() >= self.limit.files {
            format!("more than {} files", self.limit.files)
        } else if size > self.bytes_left {
            format!("more than {} bytes in all", self.limit.bytes)
        } else {
            self.bytes_left -= size;
            return true;
        };
        self.leave_out(name.to_owned(), &reason);
        false
    }

    fn keep(&mut self, name: String, size: u64, file: File) {
        self.at.insert(name.clone(), self.collected.files.len());
        self.collected.files.push(CollectedFile { name, size, file });
    }

    fn leave_out(&mut self, name: String, why: &str) {
        self.collected.left_out.push((name, why.to_owned()));
    }
}

fn relative<'a>(name: &'a str, prefix: &str) -> &'a str {
    let name = name.strip_prefix("./").unwrap_or(name);
    name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('/')
}

/// A disk of clawhand's own that is full may have room again soon, and so may everything else here.
fn failed(what: &str, error: &io::Error) -> ExecutorError {
    let text = format!("failed to {what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExecutorError::StorageFull(text),
        _ => ExecutorError::Unreachable(text),
    }
}
