//! A fake executor that does what a test tells it, for those who drive executors.
//!
//! It runs nothing and knows no time: what an attempt does is a list of [`Move`]s that is played as far as it goes
//! whenever somebody looks, and that a test holds at a [`Move::Wait`] until it calls [`Scripted::open`]. Clones share
//! everything, so a second worker with a clone finds the attempts of the first one, as on a real system.
//! Never here: a sleep. Start reading at [`Scripted::script`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::contract::{
    AttemptState, CollectLimit, Collected, CollectedFile, Executor, ExecutorError, ExitReport, Handle, Input,
    Observation, StartAttempt, Trouble, Workspace,
};
use super::folder::read_from;
use super::local::{check, failed};
use super::supervisor::output::Output;
use super::wanted::Wanted;
use crate::domain::{AttemptId, ExecutionId, Facts, UnixMs};

/// What an attempt does next.
#[derive(Debug, Clone)]
pub enum Move {
    /// Prints.
    Print(Vec<u8>),
    /// Learns what its system calls it, which callers read as `[attempt]`.
    Name(String),
    /// Leaves a file in the workspace.
    Leave(String, Vec<u8>),
    /// Goes no further until the gate of this name is opened, or somebody cancels.
    Wait(&'static str),
    /// As [`Move::Wait`], but takes no notice of cancelling.
    Insist(&'static str),
    /// Ends by itself with this code.
    Exit(i32),
    /// Ends as this report says.
    End(ExitReport),
    /// Is lost.
    Lose(String),
    /// Turns out never to have started.
    NeverStart(String),
    /// The next so many looks find the system unreachable.
    Unreachable(u32),
}

/// The fake. Without a script an attempt ends at once with exit code 0.
#[derive(Debug, Clone)]
pub struct Scripted {
    state: Arc<Mutex<State>>,
    /// Counts what happened, so that those who wait look again.
    changed: watch::Sender<u64>,
    facts: Facts,
}

#[derive(Debug, Default)]
struct State {
    scripts: VecDeque<Vec<Move>>,
    scripts_for: BTreeMap<AttemptId, Vec<Move>>,
    start_errors: VecDeque<ExecutorError>,
    prepare_errors: VecDeque<ExecutorError>,
    attempts: BTreeMap<AttemptId, Attempt>,
    started: Vec<StartAttempt>,
    start_calls: usize,
    open: BTreeSet<&'static str>,
    prepared: Vec<(ExecutionId, Vec<String>)>,
    /// What there is of executions: the files in the workspace of each.
    files: BTreeMap<ExecutionId, BTreeMap<String, Vec<u8>>>,
    names: BTreeMap<ExecutionId, Vec<String>>,
    cancelled: Vec<AttemptId>,
    cleaned: Vec<ExecutionId>,
}

#[derive(Debug)]
struct Attempt {
    execution: ExecutionId,
    moves: VecDeque<Move>,
    /// Bounded like any other's; nothing once the attempt has ended.
    output: Option<Output>,
    printed: File,
    end: Option<AttemptState>,
    cancelled: bool,
}

impl Attempt {
    fn new(execution: ExecutionId, moves: Vec<Move>, max_output_bytes: u64) -> std::io::Result<Self> {
        let printed = in_memory(&[])?;
        Ok(Self {
            execution,
            moves: moves.into(),
            output: Some(Output::new(printed.try_clone()?, max_output_bytes)),
            printed,
            end: None,
            cancelled: false,
        })
    }

    fn print(&mut self, bytes: &[u8]) {
        self.output.iter_mut().for_each(|output| output.push(bytes));
    }

    fn end(&mut self, end: AttemptState) {
        let dropped = self.output.take().map_or(0, Output::finish);
        self.end = Some(match end {
            AttemptState::Ended(report) if dropped > 0 => AttemptState::Ended(ExitReport {
                output_dropped: dropped,
                ..report
            }),
            end => end,
        });
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// A fake whose probe finds a Linux machine with nothing but a shell.
    pub fn new() -> Self {
        let shell = crate::domain::facts::Tool { version: String::new() };
        Self::with_facts(Facts {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            tools: BTreeMap::from([("sh".to_owned(), shell)]),
            isolation: Vec::new(),
            learned_at: UnixMs(0),
        })
    }

    /// A fake whose probe finds this.
    pub fn with_facts(facts: Facts) -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(0),
            facts,
        }
    }

    /// What the next attempt does that has no script yet: the first call is for the first attempt that is started,
    /// and so on.
    pub fn script(&self, moves: impl IntoIterator<Item = Move>) {
        self.state().scripts.push_back(moves.into_iter().collect());
    }

    /// What this attempt does, whenever it is started.
    pub fn script_for(&self, attempt: AttemptId, moves: impl IntoIterator<Item = Move>) {
        self.state().scripts_for.insert(attempt, moves.into_iter().collect());
    }

    /// The next start fails like this, and starts nothing.
    pub fn fail_start(&self, error: ExecutorError) {
        self.state().start_errors.push_back(error);
    }

    /// The next prepare fails like this.
    pub fn fail_prepare(&self, error: ExecutorError) {
        self.state().prepare_errors.push_back(error);
    }

    /// Lets through whoever waits at this gate, now and later.
    pub fn open(&self, gate: &'static str) {
        self.state().open.insert(gate);
        self.tell();
    }

    /// The attempts that were started, each once, in order.
    pub fn started(&self) -> Vec<StartAttempt> {
        self.state().started.clone()
    }

    /// The attempts that were started and have not been seen to end.
    pub fn going_on(&self) -> Vec<AttemptId> {
        let state = self.state();
        let going_on = state.attempts.iter().filter(|(_, attempt)| attempt.end.is_none());
        going_on.map(|(id, _)| *id).collect()
    }

    /// How often start was called, second calls for the same attempt and failures included.
    pub fn start_calls(&self) -> usize {
        self.state().start_calls
    }

    /// The executions that were prepared, each with the names of its inputs.
    pub fn prepared(&self) -> Vec<(ExecutionId, Vec<String>)> {
        self.state().prepared.clone()
    }

    /// The attempts that somebody cancelled, in order.
    pub fn cancelled(&self) -> Vec<AttemptId> {
        self.state().cancelled.clone()
    }

    /// The executions that were cleaned up, in order.
    pub fn cleaned(&self) -> Vec<ExecutionId> {
        self.state().cleaned.clone()
    }

    /// Waits until something holds of this fake: `fake.until(|fake| fake.started().len() == 2).await`.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !holds(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Plays as far as it goes; nothing if there is nothing to tell yet.
    fn look(&self, handle: &Handle, from: u64, max: usize) -> Result<Option<Observation>, ExecutorError> {
        let mut state = self.state();
        state.play(handle.attempt)?;
        let Some(attempt) = state.attempts.get(&handle.attempt) else {
            return Ok(Some(Observation {
                output: Bytes::new(),
                state: AttemptState::Lost("nothing is known of the attempt".to_owned()),
            }));
        };
        let (output, is_all) = read_from(&attempt.printed, from, max).map_err(|error| failed("observe", &error))?;
        Ok(match (&attempt.end, is_all) {
            (Some(end), true) => Some(Observation {
                output,
                state: end.clone(),
            }),
            _ if output.is_empty() => None,
            _ => Some(Observation {
                output,
                state: AttemptState::Running,
            }),
        })
    }
}

impl State {
    fn play(&mut self, id: AttemptId) -> Result<(), ExecutorError> {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return Ok(());
        };
        while attempt.end.is_none() {
            let next = attempt.moves.pop_front().unwrap_or(Move::Exit(0));
            match next {
                Move::Print(bytes) => attempt.print(&bytes),
                Move::Name(name) => self.names.entry(attempt.execution).or_default().push(name),
                Move::Leave(name, bytes) => {
                    self.files.entry(attempt.execution).or_default().insert(name, bytes);
                }
                Move::Wait(gate) | Move::Insist(gate) if self.open.contains(gate) => {}
                Move::Wait(_) if attempt.cancelled => {
                    attempt.end(AttemptState::Ended(ExitReport {
                        signal: Some(15),
                        cancelled: true,
                        ..ExitReport::default()
                    }));
                }
                Move::Wait(_) | Move::Insist(_) => {
                    attempt.moves.push_front(next);
                    return Ok(());
                }
                Move::Exit(code) => {
                    attempt.end(AttemptState::Ended(ExitReport {
                        exit_code: Some(code),
                        cancelled: attempt.cancelled,
                        ..ExitReport::default()
                    }));
                }
                Move::End(report) => attempt.end(AttemptState::Ended(report)),
                Move::Lose(why) => attempt.end(AttemptState::Lost(why)),
                Move::NeverStart(why) => attempt.end(AttemptState::NeverStarted(why)),
                Move::Unreachable(0) => {}
                Move::Unreachable(times) => {
                    attempt.moves.push_front(Move::Unreachable(times - 1));
                    return Err(ExecutorError::Unreachable("the script says so".to_owned()));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Executor for Scripted {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let mut state = self.state();
        if let Some(error) = state.prepare_errors.pop_front() {
            return Err(error);
        }
        let names = inputs.iter().map(|input| input.name.clone()).collect();
        state.prepared.push((execution, names));
        state.files.entry(execution).or_default();
        drop(state);
        self.tell();
        Ok(Workspace {
            execution,
            place: format!("scripted:{execution}"),
        })
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        if start.call.is_none() {
            check(start)?;
        }
        let mut state = self.state();
        state.start_calls += 1;
        if !state.attempts.contains_key(&start.attempt) {
            if let Some(error) = state.start_errors.pop_front() {
                return Err(error);
            }
            let moves = match state.scripts_for.remove(&start.attempt) {
                Some(moves) => moves,
                None => state.scripts.pop_front().unwrap_or_default(),
            };
            let attempt = Attempt::new(workspace.execution, moves, start.max_output_bytes)
                .map_err(|error| failed("start the attempt", &error))?;
            state.attempts.insert(start.attempt, attempt);
            state.files.entry(workspace.execution).or_default();
            state.started.push(start.clone());
        }
        drop(state);
        self.tell();
        Ok(Handle {
            attempt: start.attempt,
            place: format!("scripted:{}", start.attempt),
        })
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        let mut changed = self.changed.subscribe();
        let watching = async {
            loop {
                if let Some(seen) = self.look(handle, from, max)? {
                    return Ok(seen);
                }
                // The sender is in `self`, so it can't be gone.
                let _ = changed.changed().await;
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

    async fn cancel(&self, handle: &Handle, _grace: Duration) -> Result<(), ExecutorError> {
        let mut state = self.state();
        state.cancelled.push(handle.attempt);
        if let Some(attempt) = state.attempts.get_mut(&handle.attempt) {
            attempt.cancelled = true;
        }
        drop(state);
        self.tell();
        Ok(())
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        let wanted = Wanted::new(globs)?;
        let files = self
            .state()
            .files
            .get(&workspace.execution)
            .cloned()
            .unwrap_or_default();
        let mut collected = Collected::default();
        let mut left = limit.bytes;
        for (name, bytes) in files.into_iter().filter(|(name, _)| wanted.matches(name)) {
            let size = bytes.len() as u64;
            if collected.files.len() >= limit.files || size > left {
                collected.left_out.push((name, "over the limit".to_owned()));
                continue;
            }
            left -= size;
            let file = in_memory(&bytes).map_err(|error| ExecutorError::Unreachable(error.to_string()))?;
            collected.files.push(CollectedFile { name, size, file });
        }
        Ok(collected)
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        let mut state = self.state();
        state.cleaned.push(execution);
        state.files.remove(&execution);
        state.attempts.retain(|_, attempt| attempt.execution != execution);
        drop(state);
        self.tell();
        Ok(())
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        Ok(self.facts.clone())
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: format!("scripted:{execution}"),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        Ok(self.state().files.keys().copied().collect())
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let state = self.state();
        let names = state.names.get(&execution).into_iter().flatten();
        let names = names.map(|name| (name.clone(), "[attempt]".to_owned()));
        let place = (format!("scripted:{execution}"), "/workspace".to_owned());
        std::iter::once(place).chain(names).collect()
    }
}

/// A file that exists nowhere but in memory.
fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    // SAFETY: a constant name and no flags but close-on-exec; the result is checked.
    let fd = unsafe { libc::memfd_create(c"scripted".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
