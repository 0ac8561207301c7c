//! Runs steps on clawhand's own machine, each under a supervisor process of its own.
//!
//! Everything that is known of an attempt is in its folder ([`super::folder`]), so any clawhand process on the
//! machine can go on where another one ended. The work itself is never a child of clawhand: see
//! [`super::supervisor`]. Never here: a step's process, a thread that waits, a poll where the kernel can tell.
//! Start reading at [`LocalExecutor`].

pub(super) mod collect;
mod confine;
mod observe;
mod prepare;
mod probe;
mod remove;
mod start;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use super::folder::{AttemptFolder, CancelNote, RunFolder, boot_id};
use crate::domain::target::LocalBlock;
use crate::domain::{Clock, ExecutionId, Facts};

pub use confine::RUN_USER;
pub(super) use prepare::lay;
pub(super) use probe::version_in;
pub(super) use start::check;

/// What the local executor needs to know of the program it is part of.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// Where run folders are made: `runs` in clawhand's data folder. The run user must be able to pass through the
    /// folders above it.
    pub runs: PathBuf,
    /// The program whose `supervise DIR` is the supervisor: clawhand itself.
    pub program: PathBuf,
    /// The PATH that clawhand was started with.
    pub path: String,
    /// What time it is.
    pub now: Clock,
}

/// Runs steps on this machine.
#[derive(Debug, Clone)]
pub struct LocalExecutor {
    settings: LocalSettings,
    block: LocalBlock,
}

impl LocalExecutor {
    /// With how the target wants its steps to be run.
    pub fn new(settings: LocalSettings, block: LocalBlock) -> Self {
        Self { settings, block }
    }

    fn run_folder(&self, execution: ExecutionId) -> RunFolder {
        RunFolder::of(&self.settings.runs, execution)
    }

    fn path(&self) -> &str {
        self.block.path.as_deref().unwrap_or(&self.settings.path)
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let (executor, inputs) = (self.clone(), inputs.to_vec());
        blocking(move || executor.lay_out(execution, &inputs)).await
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        self.start_attempt(workspace, start).await
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        observe::observe(folder_of(handle), observe::Window { from, max }, wait).await
    }

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        let folder = folder_of(handle);
        blocking(move || ask_to_end(&folder, grace).map_err(|error| failed("cancel the attempt", &error))).await
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        let (work, globs) = (PathBuf::from(&workspace.place), globs.to_vec());
        blocking(move || collect::collect(&work, &globs, limit)).await
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        remove::end_attempts(&self.run_folder(execution)).await?;
        let run = self.run_folder(execution);
        blocking(move || remove::remove(run.path()).map_err(|error| failed("remove the run folder", &error))).await
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        probe::probe(self).await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: self.run_folder(execution).work().to_string_lossy().into_owned(),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        let runs = self.settings.runs.clone();
        blocking(move || {
            let unreadable =
                |error: std::io::Error| ExecutorError::Unreachable(format!("read the run folders: {error}"));
            let folders = std::fs::read_dir(&runs).map_err(unreadable)?;
            let mut leftovers = Vec::new();
            for folder in folders.flatten() {
                match probe::sweep(&RunFolder::at(folder.path())) {
                    Ok(false) => {
                        let id = folder
                            .file_name()
                            .to_str()
                            .and_then(|name| name.parse::<ExecutionId>().ok());
                        leftovers.extend(id);
                    }
                    Ok(true) => {}
                    Err(error) => tracing::warn!(%error, "what is left of a probe can't be removed now"),
                }
            }
            Ok(leftovers)
        })
        .await
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let run = self.run_folder(execution);
        let mut texts: Vec<(String, String)> = [
            (run.work(), "/workspace"),
            (run.home(), "/home"),
            (run.tmp(), "/tmp"),
            (run.path().to_path_buf(), "/run"),
            (self.settings.runs.clone(), "/runs"),
        ]
        .into_iter()
        .map(|(path, shown)| (path.to_string_lossy().into_owned(), shown.to_owned()))
        .collect();
        if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            texts.push((host.trim().to_owned(), "[host]".to_owned()));
        }
        if let Some(name) = self.run_user_name() {
            texts.push((name, "[user]".to_owned()));
        }
        texts
    }
}

fn folder_of(handle: &Handle) -> AttemptFolder {
    AttemptFolder::at(PathBuf::from(&handle.place))
}

/// Leaves the note for a supervisor that is just starting, then tells the one that runs.
fn ask_to_end(folder: &AttemptFolder, grace: Duration) -> io::Result<()> {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    match folder.write_cancel(&CancelNote { grace_ms }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Without the note the supervisor goes by the grace that it was started with.
        Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error),
        _ => {}
    }
    match folder.started()? {
        Some(started) if started.boot_id == boot_id()? => started.supervisor.signal(nix::sys::signal::Signal::SIGTERM),
        _ => Ok(()),
    }
}

/// Runs what waits for the disk, or for a channel, where it holds nobody up. For every kind of executor.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, ExecutorError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ExecutorError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ExecutorError::Unreachable(format!(
            "a task of the executor ended early: {error}"
        ))),
    }
}

/// A descriptor of ours whose readiness can be awaited.
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor for as long as it lives, which is as long as the result.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// An error of the system as one of the contract. What names and kinds of files cause is the same each time.
pub(super) fn failed(what: &str, error: &io::Error) -> ExecutorError {
    let text = format!("failed to {what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExecutorError::StorageFull(text),
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidFilename => ExecutorError::Refused(text),
        _ => ExecutorError::Unreachable(text),
    }
}

/// The parts of a relative `/`-separated name, if it is one that stays below where it starts.
fn plain_parts(name: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &&str| !matches!(*part, "" | "." | "..") && !part.contains('\0');
    parts.iter().all(plain).then_some(parts)
}

/// As text, for the fields of the contract.
fn text_of(path: &Path) -> Result<String, ExecutorError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| ExecutorError::Refused("the runs folder has a name that is not UTF-8".to_owned()))
}
