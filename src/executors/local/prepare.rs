//! Making a workspace and laying inputs into it.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::confine::give_to;
use super::{LocalExecutor, failed, plain_parts, remove, text_of};
use crate::domain::ExecutionId;
use crate::executors::archive::{ArchiveError, ArchiveKind, ArchiveLimits, unpack};
use crate::executors::contract::{ExecutorError, Input, Workspace};
use crate::executors::folder::{AttemptFolder, RunFolder, absent_is_none, make_folder};

impl LocalExecutor {
    /// Makes the run folder. Before the first attempt has started it begins from nothing each time; after that the
    /// workspace holds work, and is found rather than made.
    pub(super) fn lay_out(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let run = self.run_folder(execution);
        let workspace = Workspace {
            execution,
            place: text_of(&run.work())?,
        };
        if has_started(&run).map_err(|error| failed("look at the run folder", &error))? {
            return Ok(workspace);
        }
        let owner = self.run_user()?;
        self.make_folders(&run)
            .map_err(|error| failed("make the workspace", &error))?;
        self.check_passable(&run.work())?;
        for input in inputs {
            lay(&run.work(), input)?;
        }
        for folder in [run.work(), run.home(), run.tmp()] {
            give_to(&folder, owner).map_err(|error| failed("give the workspace to the run user", &error))?;
        }
        Ok(workspace)
    }

    /// Makes the run folder of an execution, with nothing in it.
    pub(super) fn make_run(&self, run: &RunFolder) -> io::Result<()> {
        std::fs::create_dir_all(&self.settings.runs)?;
        // Others may pass, as the run user must, but not look around.
        make_folder(&self.settings.runs, 0o711)?;
        make_folder(run.path(), 0o711)
    }

    fn make_folders(&self, run: &RunFolder) -> io::Result<()> {
        self.make_run(run)?;
        make_folder(&run.attempts(), 0o700)?;
        for folder in [run.work(), run.home(), run.tmp()] {
            remove::remove(&folder)?;
            make_folder(&folder, 0o700)?;
        }
        Ok(())
    }
}

/// Whether work was ever done in the workspace. An attempt that was only written down doesn't count: after a crash
/// of the machine its inputs may be damaged, and nothing is lost by laying them anew.
fn has_started(run: &RunFolder) -> io::Result<bool> {
    let entries = absent_is_none(std::fs::read_dir(run.attempts()))?;
    for entry in entries.into_iter().flatten() {
        if AttemptFolder::at(entry?.path()).started()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lays one input into a folder that stands for the workspace.
pub(in crate::executors) fn lay(work: &Path, input: &Input) -> Result<(), ExecutorError> {
    let what = format!("lay the input {:?} into the workspace", input.name);
    let file = File::open(&input.file).map_err(|error| failed(&what, &error))?;
    if input.archive {
        let kind = ArchiveKind::of_name(&input.name)
            .ok_or_else(|| ExecutorError::Refused(format!("the input {:?} is of no known archive kind", input.name)))?;
        return unpack(file, kind, work, &ArchiveLimits::default()).map_err(|error| match error {
            ArchiveError::Io(error) => failed(&what, &error),
            other => ExecutorError::UnsafeArchive(other.to_string()),
        });
    }
    let parts = plain_parts(&input.name)
        .ok_or_else(|| ExecutorError::Refused(format!("the input name {:?} leaves the workspace", input.name)))?;
    lay_file(work, &parts, file, input.mode).map_err(|error| match failed(&what, &error) {
        // Two inputs that can't both be there: whoever uploaded them must hear it.
        ExecutorError::Refused(why) => ExecutorError::UnsafeArchive(why),
        other => other,
    })
}

/// Writes a file without passing through any link that an archive may have brought.
fn lay_file(work: &Path, parts: &[&str], mut from: File, mode: u32) -> io::Result<()> {
    let Some((name, folders)) = parts.split_last() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut folder: OwnedFd = File::open(work)?.into();
    for part in folders {
        folder = enter_or_make(&folder, part)?;
    }
    // A file that an earlier input brought is replaced; a link is removed, not followed.
    match nix::unistd::unlinkat(&folder, *name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut to = File::from(openat(&folder, *name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    io::copy(&mut from, &mut to)?;
    to.set_permissions(Permissions::from_mode(mode & 0o755 | 0o600))
}

fn enter_or_make(folder: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(folder, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}
