//! Asks an API for an operation that the target declares, as a step.
//!
//! The work is in clawhand's own process, so what was begun is written down before it happens and is on the disk before
//! a request leaves: whoever looks at an attempt that nobody drives any more goes on from there, and says that it was
//! lost where going on could do a thing twice. See [`notes`] for what is written and [`run`] for what it means.
//! Never here: an address that the target doesn't allow, a secret in a file or a log, a request without a note.
//! Start reading at [`HttpExecutor`], then [`run`].

mod answer;
mod auth;
mod client;
mod fault;
mod guard;
mod mask;
mod notes;
mod probe;
mod report;
mod request;
mod run;
mod stages;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::SecretReader;
use super::contract::{
    AttemptState, CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble,
    Workspace,
};
use super::folder::{AttemptFolder, CancelNote, RunFolder, absent_is_none, make_folder};
use super::local::{blocking, collect, failed};
use crate::domain::target::HttpBlock;
use crate::domain::{AttemptId, Clock, ExecutionId, Facts};
use notes::Notes;

pub use guard::{Names, system_names};

/// How often is looked at an attempt that another process drives.
const TICK: Duration = Duration::from_millis(100);

/// What ending the work of an attempt may take before its notes are removed all the same: longer than asking the API to
/// end it, also where another process drives it.
const END_MAX: Duration = Duration::from_secs(30);

/// What the executor needs beyond a target's block.
#[derive(Clone)]
pub struct HttpSettings {
    /// Where attempts are written down: on a disk that outlives the process.
    pub folder: PathBuf,
    /// For credentials.
    pub secrets: SecretReader,
    /// What time it is.
    pub now: Clock,
    /// What finds the addresses of a name.
    pub names: Names,
    /// Before the first repetition; each next one waits twice as long.
    pub backoff: Duration,
}

/// What attempts on all APIs share: the tasks that drive them, and tokens. Dropped, it ends them as a crash would.
#[derive(Clone)]
pub struct HttpPool(Arc<Pool>);

struct Pool {
    settings: HttpSettings,
    tokens: auth::Tokens,
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpPool {
    /// With nothing under way.
    pub fn new(settings: HttpSettings) -> Self {
        Self(Arc::new(Pool {
            settings,
            tokens: auth::Tokens::default(),
            live: Live::default(),
            tasks: Mutex::default(),
        }))
    }
}

/// Runs operations of one API.
#[derive(Clone)]
pub struct HttpExecutor {
    pool: HttpPool,
    block: Arc<HttpBlock>,
}

impl HttpExecutor {
    /// With the API that is meant.
    pub fn new(pool: HttpPool, block: HttpBlock) -> Self {
        Self {
            pool,
            block: Arc::new(block),
        }
    }

    fn settings(&self) -> &HttpSettings {
        &self.pool.0.settings
    }

    fn run_folder(&self, execution: ExecutionId) -> RunFolder {
        RunFolder::of(&self.settings().folder, execution)
    }

    fn driven(&self, attempt: AttemptId) -> Option<Driven> {
        locked(&self.pool.0.live).get(&attempt).cloned()
    }

    /// Drives an attempt from where it stands, unless somebody does already.
    fn drive(&self, attempt: AttemptId, execution: ExecutionId, notes: Notes) -> io::Result<()> {
        let mut live = locked(&self.pool.0.live);
        if live.contains_key(&attempt) {
            return Ok(());
        }
        // Another process that drives it, or one of ours that is just ending.
        let Some(lock) = notes.folder.take_lock()? else {
            return Ok(());
        };
        let (changes, changed) = watch::channel(0);
        let driven = Driven {
            execution,
            cancel: CancellationToken::new(),
            changed,
        };
        live.insert(attempt, driven.clone());
        let run = run::Run {
            settings: self.settings().clone(),
            tokens: self.pool.0.tokens.clone(),
            block: self.block.clone(),
            attempt,
            notes,
            cancel: driven.cancel,
            changes,
        };
        let registered = self.pool.0.live.clone();
        let mut tasks = locked(&self.pool.0.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            run.live().await;
            // The lock goes first: whoever then finds no driver must be able to become one.
            drop(lock);
            locked(&registered).remove(&attempt);
        });
        Ok(())
    }

    fn notes(handle: &Handle) -> Notes {
        Notes::at(AttemptFolder::at(PathBuf::from(&handle.place)))
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    async fn prepare(&self, execution: ExecutionId, _inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let run = self.run_folder(execution);
        let runs = self.settings().folder.clone();
        let make = move || {
            std::fs::create_dir_all(&runs)?;
            [runs, run.path().to_path_buf(), run.attempts(), run.work()]
                .iter()
                .try_for_each(|folder| make_folder(folder, 0o700))
        };
        blocking(move || make().map_err(|error| failed("make the folder of an execution", &error))).await?;
        Ok(self.workspace(execution))
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        let Some(call) = &start.call else {
            return Err(ExecutorError::Refused(
                "the step is a program and the target an API".to_owned(),
            ));
        };
        if !self.block.operations.contains_key(&call.operation) {
            let why = format!("the target has no operation {:?} any more", call.operation);
            return Err(ExecutorError::Refused(why));
        }
        let folder = self.run_folder(workspace.execution).attempt(start.attempt);
        let place = folder.path().to_string_lossy().into_owned();
        let notes = Notes::at(folder);
        let (executor, execution, start) = (self.clone(), workspace.execution, start.clone());
        let attempt = start.attempt;
        blocking(move || {
            let begin = || {
                notes.write_call(&start, executor.settings().now.now())?;
                match notes.end()? {
                    Some(_) => Ok(()),
                    None => executor.drive(attempt, execution, notes.clone()),
                }
            };
            begin().map_err(|error| failed("write the attempt down", &error))
        })
        .await?;
        Ok(Handle { attempt, place })
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        let notes = Self::notes(handle);
        let watching = async {
            loop {
                let driven = self.driven(handle.attempt);
                let mut changed = driven.map(|driven| driven.changed);
                // What comes after this look is told.
                changed.iter_mut().for_each(|changed| drop(changed.borrow_and_update()));
                let seen = {
                    let notes = notes.clone();
                    blocking(move || notes.look(from, max).map_err(|error| failed("observe", &error))).await?
                };
                if let Some(seen) = seen {
                    return Ok(seen);
                }
                match changed {
                    Some(mut changed) => drop(tokio::time::timeout(wait, changed.changed()).await),
                    None => {
                        self.take_over(handle, &notes)?;
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

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        let notes = Self::notes(handle);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // For whoever drives it, now or after a crash.
        let written = blocking(move || {
            absent_is_none(notes.folder.write_cancel(&CancelNote { grace_ms }))
                .map_err(|error| failed("cancel the attempt", &error))
        });
        written.await?;
        if let Some(driven) = self.driven(handle.attempt) {
            driven.cancel.cancel();
        }
        Ok(())
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
        for handle in self.going_on(execution).await? {
            self.end(&handle).await?;
        }
        let mine: Vec<Driven> = locked(&self.pool.0.live)
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

    async fn probe(&self) -> Result<Facts, Trouble> {
        probe::probe(self.settings(), &self.block, &self.pool.0.tokens).await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: self.run_folder(execution).work().to_string_lossy().into_owned(),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        let folder = self.settings().folder.clone();
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

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        // Read here so that they are scrubbed from all that the execution prints: the rules are made right after this.
        for secret in self
            .block
            .auth
            .iter()
            .map(crate::domain::target::http::HttpAuth::secret)
        {
            let _ = (self.settings().secrets)(secret);
        }
        let run = self.run_folder(execution);
        [
            (run.work(), "/workspace"),
            (run.path().to_path_buf(), "/run"),
            (self.settings().folder.clone(), "/runs"),
        ]
        .into_iter()
        .map(|(path, shown)| (path.to_string_lossy().into_owned(), shown.to_owned()))
        .collect()
    }
}

impl HttpExecutor {
    /// The attempts whose end is not written down.
    async fn going_on(&self, execution: ExecutionId) -> Result<Vec<Handle>, ExecutorError> {
        let attempts = self.run_folder(execution).attempts();
        let list = move || {
            let mut found = Vec::new();
            for entry in absent_is_none(std::fs::read_dir(&attempts))?.into_iter().flatten() {
                let entry = entry?;
                let name = entry.file_name();
                let Some(attempt) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                if Notes::at(AttemptFolder::at(entry.path())).end()?.is_none() {
                    let place = entry.path().to_string_lossy().into_owned();
                    found.push(Handle { attempt, place });
                }
            }
            Ok(found)
        };
        blocking(move || list().map_err(|error| failed("list the attempts of an execution", &error))).await
    }

    /// Ends an attempt, whoever drives it: work that goes on at the API would not end with its notes.
    async fn end(&self, handle: &Handle) -> Result<(), ExecutorError> {
        self.cancel(handle, Duration::ZERO).await?;
        let ended = async {
            while self.observe(handle, u64::MAX, 0, END_MAX).await?.state == AttemptState::Running {}
            Ok(())
        };
        tokio::time::timeout(END_MAX, ended).await.unwrap_or_else(|_| {
            tracing::warn!(attempt = %handle.attempt, "an attempt on an API can't be ended; what it began may go on");
            Ok(())
        })
    }

    /// Goes on with an attempt that nobody drives any more.
    fn take_over(&self, handle: &Handle, notes: &Notes) -> Result<(), ExecutorError> {
        let execution = notes.execution();
        let Some(execution) = execution.filter(|_| notes.folder.path().is_dir()) else {
            return Ok(());
        };
        self.drive(handle.attempt, execution, notes.clone())
            .map_err(|error| failed("go on with the attempt", &error))
    }
}
