//! Taking an execution off the machine: its processes first, then its files.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::observe::end_what_is_left;
use super::{ask_to_end, blocking, failed, readable};
use crate::executors::contract::ExecutorError;
use crate::executors::folder::{AttemptFolder, RunFolder, absent_is_none, boot_id};

/// How long a supervisor may take to end its tree by KILL before it is ended itself.
const SUPERVISOR_MAX: Duration = Duration::from_secs(10);
/// Between two looks at a supervisor that has not yet said who it is.
const TICK: Duration = Duration::from_millis(10);

/// Ends whatever still runs of an execution.
pub(super) async fn end_attempts(run: &RunFolder) -> Result<(), ExecutorError> {
    let attempts = run.attempts();
    let folders = blocking(move || list(&attempts).map_err(|error| failed("list the attempts", &error))).await?;
    for folder in folders {
        end_attempt(&folder)
            .await
            .map_err(|error| failed("end an attempt", &error))?;
        let what_is_left = move || {
            let same_boot = match folder.started()? {
                Some(started) => started.boot_id == boot_id()?,
                None => false,
            };
            // With an exit note the supervisor has seen the end of all of it.
            if same_boot && folder.exit()?.is_none() {
                end_what_is_left(&folder)
            } else {
                Ok(())
            }
        };
        blocking(move || what_is_left().map_err(|error| failed("end what an attempt left", &error))).await?;
    }
    Ok(())
}

/// How often a folder is removed anew because something was still writing there.
const DISCARD_TRIES: u32 = 100;
/// What the name of a run folder ends in that is being discarded.
const DISCARDED: &str = "discarded";

pub(super) fn is_discarded(run: &RunFolder) -> bool {
    run.path().extension().is_some_and(|ending| ending == DISCARDED)
}

/// Ends and removes an execution that nobody will ask about, without waiting for its supervisors to end it.
pub(super) fn discard(run: &RunFolder) -> io::Result<()> {
    // Under another name first: a supervisor that is just starting then can't write down that it has started.
    let away = run.path().with_extension(DISCARDED);
    if !is_discarded(run) && absent_is_none(std::fs::rename(run.path(), &away))?.is_none() {
        return Ok(());
    }
    let boot = boot_id()?;
    let mut tries = DISCARD_TRIES;
    loop {
        for folder in list(&RunFolder::at(away.clone()).attempts())? {
            if let Some(started) = folder.started()?.filter(|started| started.boot_id == boot) {
                started.supervisor.signal(Signal::SIGKILL)?;
                end_what_is_left(&folder)?;
            }
        }
        tries -= 1;
        match remove(&away) {
            // Something of it was just writing, and is found in the next round.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries > 0 => std::thread::yield_now(),
            removed => return removed,
        }
    }
}

fn list(attempts: &Path) -> io::Result<Vec<AttemptFolder>> {
    let Some(entries) = absent_is_none(std::fs::read_dir(attempts))? else {
        return Ok(Vec::new());
    };
    entries.map(|entry| Ok(AttemptFolder::at(entry?.path()))).collect()
}

/// Lets the supervisor end its tree, at once; ends the supervisor if it doesn't.
async fn end_attempt(folder: &AttemptFolder) -> io::Result<()> {
    if !folder.is_locked()? {
        return Ok(());
    }
    ask_to_end(folder, Duration::ZERO)?;
    let _ = tokio::time::timeout(SUPERVISOR_MAX, supervisor_ends(folder)).await;
    match folder.started()? {
        Some(started) if folder.is_locked()? => {
            started.supervisor.signal(Signal::SIGKILL)?;
            let _ = tokio::time::timeout(SUPERVISOR_MAX, supervisor_ends(folder)).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn supervisor_ends(folder: &AttemptFolder) -> io::Result<()> {
    while folder.is_locked()? {
        let pidfd = match folder.started()? {
            Some(started) => started.supervisor.pidfd()?,
            None => None,
        };
        match pidfd {
            Some(fd) => drop(readable(fd)?.readable().await?),
            // Between its lock and its note, or in the moment in which it ends.
            None => drop(tokio::time::timeout(TICK, std::future::pending::<()>()).await),
        };
    }
    Ok(())
}

/// Removes a tree; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // The work may have taken its own folders' permissions away, which stops everybody but root.
            open_up(path)?;
            absent_is_none(std::fs::remove_dir_all(path)).map(drop)
        }
        result => absent_is_none(result).map(drop),
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
