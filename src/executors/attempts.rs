//! Attempts whose work is in clawhand's own process: their folders, who drives each of them, and how its end is told.
//!
//! ```text
//! <folder>/<execution>/
//!   work/               what came of it
//!   attempts/<attempt>/
//!     out               the log
//!     lock              locked for as long as somebody drives the attempt
//!     cancel            somebody asked to end it
//!     exit.json         how it ended
//! ```
//!
//! What else is written down, and what driving means, is the kind's own: it gives a [`Begin`]. Whoever looks at an
//! attempt that nobody drives any more becomes its driver. Never here: what an attempt does.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::contract::{
    AttemptState, CollectLimit, Collected, ExecutorError, ExitReport, Handle, Observation, Workspace,
};
use super::folder::{
    AttemptFolder, CancelNote, RunFolder, absent_is_none, make_folder, read_printed, read_whole, sync_folder,
    write_whole,
};
use super::local::{blocking, collect, failed};
use crate::domain::{AttemptId, ExecutionId};

/// How often is looked at an attempt that another process drives.
const TICK: Duration = Duration::from_millis(100);

/// Between two looks for a note that somebody else cancelled.
const LOOK: Duration = Duration::from_millis(500);

/// What ending the work of an attempt may take before its notes are removed all the same: longer than asking the system to
/// end it, also where another process drives it.
const END_MAX: Duration = Duration::from_secs(30);

/// How an attempt ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Ended(ExitReport),
    NeverStarted(String),
    Lost(String),
}

impl From<End> for AttemptState {
    fn from(end: End) -> Self {
        match end {
            End::Ended(report) => Self::Ended(report),
            End::NeverStarted(why) => Self::NeverStarted(why),
            End::Lost(why) => Self::Lost(why),
        }
    }
}

/// What the task that drives an attempt is given.
pub(super) struct Driving {
    pub attempt: AttemptId,
    pub folder: AttemptFolder,
    /// Somebody in this process wants it ended.
    pub cancel: CancellationToken,
    /// Told of whatever is new in the folder.
    pub changes: watch::Sender<u64>,
}

impl Driving {
    /// Returns when somebody wants it ended, through this process or through a note.
    pub(super) async fn cancelled(&self) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return,
                _ = looks.tick() => if self.folder.is_cancelled() { return },
            }
        }
    }
}

/// Drives an attempt from wherever it stands to its end.
pub(super) type Begin<'a> = &'a (dyn Fn(Driving) -> BoxFuture<'static, ()> + Send + Sync);

/// The attempts below one folder, and the tasks of this process that drive some of them. Dropped, it ends those as a crash
/// would.
#[derive(Clone)]
pub(super) struct Attempts(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    live: Live,
    tasks: Mutex<JoinSet<()>>,
}

/// The attempts that are driven from here.
type Live = Arc<Mutex<HashMap<AttemptId, Driven>>>;

/// How to talk to the task that drives an attempt.
#[derive(Clone)]
struct Driven {
    execution: ExecutionId,
    cancel: CancellationToken,
    changed: watch::Receiver<u64>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AttemptFolder {
    /// Where a note of this name is.
    pub(super) fn note(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a note; on disk when this returns.
    pub(super) fn write_note(&self, name: &str, note: &impl Serialize) -> io::Result<()> {
        write_whole(&self.note(name), note)?.sync_all()?;
        sync_folder(self.path())
    }

    /// The first note of an attempt; on disk when this returns, with the folders that lead to it. One that is there stays.
    pub(super) fn write_first(&self, name: &str, note: &impl Serialize) -> io::Result<()> {
        make_folder(self.path(), 0o700)?;
        if self.note(name).exists() {
            return Ok(());
        }
        self.write_note(name, note)?;
        let above = self.path().ancestors().skip(1).take(3);
        above.into_iter().try_for_each(sync_folder)
    }

    /// Where what came of the execution is kept.
    pub(super) fn work(&self) -> PathBuf {
        self.run_folder().join("work")
    }

    /// Whose attempt it is.
    pub(super) fn execution(&self) -> Option<ExecutionId> {
        self.run_folder().file_name()?.to_str()?.parse().ok()
    }

    pub(super) fn end(&self) -> io::Result<Option<End>> {
        read_whole(&self.note("exit.json"))
    }

    /// Writes the end into the room that was kept for it; on disk when this returns.
    pub(super) fn write_end(&self, room: &std::fs::File, end: &End) -> io::Result<()> {
        self.write_exit(room, end)?;
        room.sync_all()?;
        sync_folder(self.path())
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel().is_ok_and(|note| note.is_some())
    }

    /// What there is to tell from an offset on; nothing if there is nothing new.
    fn look(&self, from: u64, max: usize) -> io::Result<Option<Observation>> {
        // The order matters: once the end is written, the output doesn't grow any more.
        let end = self.end()?;
        let (output, is_all) = read_printed(&self.out(), from, max)?;
        let state = match end {
            Some(end) if is_all => end.into(),
            None if output.is_empty() && self.path().is_dir() => return Ok(None),
            None if output.is_empty() => AttemptState::Lost("nothing is left of the attempt".to_owned()),
            _ => AttemptState::Running,
        };
        Ok(Some(Observation { output, state }))
    }
}

/// The folder that a handle leads to.
fn folder_of(handle: &Handle) -> AttemptFolder {
    AttemptFolder::at(PathBuf::from(&handle.place))
}

impl Attempts {
    /// Those below `folder`, of which nothing is under way here.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            folder,
            live: Live::default(),
            tasks: Mutex::default(),
        }))
    }

    pub(super) fn run_folder(&self, execution: ExecutionId) -> RunFolder {
        RunFolder::of(&self.0.folder, execution)
    }

    pub(super) fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: self.run_folder(execution).work().to_string_lossy().into_owned(),
        }
    }

    /// Makes the folders of an execution.
    pub(super) async fn prepare(&self, execution: ExecutionId) -> Result<Workspace, ExecutorError> {
        let (runs, run) = (self.0.folder.clone(), self.run_folder(execution));
        let make = move || {
            std::fs::create_dir_all(&runs)?;
            [runs, run.path().to_path_buf(), run.attempts(), run.work()]
                .iter()
                .try_for_each(|folder| make_folder(folder, 0o700))
        };
        blocking(move || make().map_err(|error| failed("make the folder of an execution", &error))).await?;
        Ok(self.workspace(execution))
    }

    /// Writes the first note of an attempt and drives it, unless it has ended or somebody does already.
    pub(super) fn start(
        &self,
        (execution, attempt): (ExecutionId, AttemptId),
        (name, note): (&str, &impl Serialize),
        begin: Begin<'_>,
    ) -> io::Result<Handle> {
        let folder = self.run_folder(execution).attempt(attempt);
        let place = folder.path().to_string_lossy().into_owned();
        folder.write_first(name, note)?;
        if folder.end()?.is_none() {
            self.drive(attempt, execution, folder, begin)?;
        }
        Ok(Handle { attempt, place })
    }

    /// Drives an attempt from where it stands, unless somebody does already.
    fn drive(
        &self,
        attempt: AttemptId,
        execution: ExecutionId,
        folder: AttemptFolder,
        begin: Begin<'_>,
    ) -> io::Result<()> {
        let mut live = locked(&self.0.live);
        if live.contains_key(&attempt) {
            return Ok(());
        }
        // Another process that drives it, or one of ours that is just ending.
        let Some(lock) = folder.take_lock()? else {
            return Ok(());
        };
        let (changes, changed) = watch::channel(0);
        let driven = Driven {
            execution,
            cancel: CancellationToken::new(),
            changed,
        };
        live.insert(attempt, driven.clone());
        let living = begin(Driving {
            attempt,
            folder,
            cancel: driven.cancel,
            changes,
        });
        let registered = self.0.live.clone();
        let mut tasks = locked(&self.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            living.await;
            // The lock goes first: whoever then finds no driver must be able to become one.
            drop(lock);
            locked(&registered).remove(&attempt);
        });
        Ok(())
    }

    /// Goes on with an attempt that nobody drives any more.
    fn take_over(&self, attempt: AttemptId, folder: &AttemptFolder, begin: Begin<'_>) -> Result<(), ExecutorError> {
        let Some(execution) = folder.execution().filter(|_| folder.path().is_dir()) else {
            return Ok(());
        };
        self.drive(attempt, execution, folder.clone(), begin)
            .map_err(|error| failed("go on with the attempt", &error))
    }

    /// As [`super::Executor::observe`].
    pub(super) async fn observe(
        &self,
        handle: &Handle,
        (from, max, wait): (u64, usize, Duration),
        begin: Begin<'_>,
    ) -> Result<Observation, ExecutorError> {
        let folder = folder_of(handle);
        let watching = async {
            loop {
                let driven = locked(&self.0.live).get(&handle.attempt).cloned();
                let mut changed = driven.map(|driven| driven.changed);
                // What comes after this look is told.
                changed.iter_mut().for_each(|changed| drop(changed.borrow_and_update()));
                let seen = {
                    let folder = folder.clone();
                    blocking(move || folder.look(from, max).map_err(|error| failed("observe", &error))).await?
                };
                if let Some(seen) = seen {
                    return Ok(seen);
                }
                match changed {
                    Some(mut changed) => drop(tokio::time::timeout(wait, changed.changed()).await),
                    None => {
                        self.take_over(handle.attempt, &folder, begin)?;
                        // Also when it was taken over: one that can't be driven must not be tried without a pause.
                        let _ = tokio::time::timeout(TICK, std::future::pending::<()>()).await;
                    }
                }
            }
        };
        match tokio::time::timeout(wait, watching).await {
            Ok(result) => result,
            Err(_) => Ok(Observation {
                output: Bytes::new(),
                state: AttemptState::Running,
            }),
        }
    }

    /// As [`super::Executor::cancel`].
    pub(super) async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        let folder = folder_of(handle);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // For whoever drives it, now or after a crash.
        let written = blocking(move || {
            absent_is_none(folder.write_cancel(&CancelNote { grace_ms }))
                .map_err(|error| failed("cancel the attempt", &error))
        });
        written.await?;
        let driven = locked(&self.0.live).get(&handle.attempt).cloned();
        if let Some(driven) = driven {
            driven.cancel.cancel();
        }
        Ok(())
    }

    /// As [`super::Executor::collect`].
    pub(super) async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        let (work, globs) = (PathBuf::from(&workspace.place), globs.to_vec());
        blocking(move || collect::collect(&work, &globs, limit)).await
    }

    /// As [`super::Executor::clean_up`].
    pub(super) async fn clean_up(&self, execution: ExecutionId, begin: Begin<'_>) -> Result<(), ExecutorError> {
        for handle in self.going_on(execution).await? {
            self.end(&handle, begin).await?;
        }
        let mine: Vec<Driven> = locked(&self.0.live)
            .values()
            .filter(|driven| driven.execution == execution)
            .cloned()
            .collect();
        for mut driven in mine {
            driven.cancel.cancel();
            while driven.changed.changed().await.is_ok() {}
        }
        let path = self.run_folder(execution).path().to_path_buf();
        let remove = move || absent_is_none(std::fs::remove_dir_all(&path)).map(drop);
        blocking(move || remove().map_err(|error| failed("remove the folder of an execution", &error))).await
    }

    /// The attempts whose end is not written down.
    async fn going_on(&self, execution: ExecutionId) -> Result<Vec<Handle>, ExecutorError> {
        let attempts = self.run_folder(execution).attempts();
        blocking(move || unended(&attempts).map_err(|error| failed("list the attempts of an execution", &error))).await
    }

    /// Ends an attempt, whoever drives it: work that goes on elsewhere would not end with its notes.
    async fn end(&self, handle: &Handle, begin: Begin<'_>) -> Result<(), ExecutorError> {
        self.cancel(handle, Duration::ZERO).await?;
        let ended = async {
            let look = (u64::MAX, 0, END_MAX);
            while self.observe(handle, look, begin).await?.state == AttemptState::Running {}
            Ok(())
        };
        tokio::time::timeout(END_MAX, ended).await.unwrap_or_else(|_| {
            tracing::warn!(attempt = %handle.attempt, "an attempt can't be ended; what it began elsewhere may go on");
            Ok(())
        })
    }

    /// As [`super::Executor::leftovers`].
    pub(super) async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        let folder = self.0.folder.clone();
        blocking(move || {
            let unreadable = |error: io::Error| ExecutorError::Unreachable(format!("read the attempts: {error}"));
            let entries = absent_is_none(std::fs::read_dir(&folder)).map_err(unreadable)?;
            let ids = entries.into_iter().flatten().flatten();
            Ok(ids
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect())
        })
        .await
    }

    /// The folders, with what callers may read instead.
    pub(super) fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let run = self.run_folder(execution);
        [
            (run.work(), "/workspace"),
            (run.path().to_path_buf(), "/run"),
            (self.0.folder.clone(), "/runs"),
        ]
        .into_iter()
        .map(|(path, shown)| (path.to_string_lossy().into_owned(), shown.to_owned()))
        .collect()
    }
}

fn unended(attempts: &Path) -> io::Result<Vec<Handle>> {
    let mut found = Vec::new();
    for entry in absent_is_none(std::fs::read_dir(attempts))?.into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name();
        let Some(attempt) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if AttemptFolder::at(entry.path()).end()?.is_none() {
            let place = entry.path().to_string_lossy().into_owned();
            found.push(Handle { attempt, place });
        }
    }
    Ok(found)
}
