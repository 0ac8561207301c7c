//! The contract that every kind of executor fulfils.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::plan::Call;
use crate::domain::{AttemptId, Decision, Digest, ExecutionId, Facts, UnixMs};

/// What runs a step. Start is idempotent by attempt id; work outlives the process that started it.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Makes the workspace of an execution and lays its inputs there. Called again after a crash it finishes the
    /// job: inputs that are there already are laid anew.
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError>;

    /// Starts an attempt, or finds it if it was started before.
    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError>;

    /// What the attempt printed from byte `from` on, at most `max` bytes, and whether it has ended. Returns as soon
    /// as there is something to tell, at the latest after `wait`; dropping the future loses nothing.
    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError>;

    /// Asks the whole tree to end, TERM first, KILL after `grace`. Returns at once; the end is seen by observing.
    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError>;

    /// What a running attempt asks a person before it goes on; none while that isn't known, as after a restart. That it asks,
    /// and that it asks no longer, also shows in what it prints, so that whoever observes it knows when to look here.
    async fn questions(&self, _handle: &Handle) -> Option<Vec<Question>> {
        Some(Vec::new())
    }

    /// Tells an attempt what was answered to one of its questions. False if it doesn't ask any more: it was answered
    /// elsewhere, or the attempt is over. Telling it twice does no harm.
    async fn answer(&self, _handle: &Handle, _key: &str, _decision: Decision) -> Result<bool, ExecutorError> {
        Ok(false)
    }

    /// Finds the files in the workspace that match the globs. Links are not followed and never returned.
    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError>;

    /// Removes the workspace and every trace of its attempts, and ends what still runs of them. Of a workspace that
    /// is gone already it says nothing.
    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError>;

    /// Where the workspace of an execution is, whether it was prepared or not: a worker that takes over asks this.
    fn workspace(&self, execution: ExecutionId) -> Workspace;

    /// The executions of which something is still on the system.
    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError>;

    /// Learns what the system offers, as the user that steps run as.
    async fn probe(&self) -> Result<Facts, Trouble>;

    /// The literal texts that tell something of the infrastructure and that steps are likely to print, each with
    /// what callers may read instead: the workspace's absolute path becomes `/workspace`. There may be more of them after
    /// a call: whatever the system gave a name or an id is among them before anything that it printed is returned.
    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)>;
}

/// An input as it is laid into the workspace.
#[derive(Debug, Clone)]
pub struct Input {
    /// A relative path; for an archive its name.
    pub name: String,
    /// Where its bytes are on clawhand's machine, digest verified.
    pub file: PathBuf,
    /// Whether it is unpacked into the workspace instead of laid there as a file.
    pub archive: bool,
    /// Bits of a Unix mode.
    pub mode: u32,
}

/// A workspace that was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Whose it is.
    pub execution: ExecutionId,
    /// The executor's own words for where it is. Private.
    pub place: String,
}

/// What is to be started.
#[derive(Debug, Clone)]
pub struct StartAttempt {
    /// The idempotency key of the start.
    pub attempt: AttemptId,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What is asked of an API, in place of a program.
    pub call: Option<Call>,
    /// Relative to the workspace; empty is the workspace.
    pub cwd: String,
    /// The whole environment, secrets left out; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Environment that must be neither in a file nor in an argument.
    pub secrets: BTreeMap<String, String>,
    /// From start to end; the executor itself ends the tree then, with clawhand or without.
    pub timeout: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// What is kept of the output: its beginning, and of what comes after, the end.
    pub max_output_bytes: u64,
    /// Limits of single processes.
    pub limits: ProcessLimits,
}

/// Limits of the processes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// RLIMIT_FSIZE in bytes.
    pub max_file_bytes: Option<u64>,
    /// RLIMIT_AS in bytes.
    pub max_memory_bytes: Option<u64>,
    /// RLIMIT_NPROC.
    pub max_processes: Option<u64>,
}

/// How to find a started attempt again: stored, and enough for another process after a crash. Private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The executor's own words for where it is.
    pub place: String,
}

/// What was seen of an attempt.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Output from the offset that was asked for; empty when there is none.
    pub output: Bytes,
    /// Where it stands. `Ended` is told only when no output is left after `output`.
    pub state: AttemptState,
}

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// It runs, or has output left to read.
    Running,
    /// It ended, and how is known.
    Ended(ExitReport),
    /// It is known never to have started.
    NeverStarted(String),
    /// It may have run; how it ended can't be established. What was left of it has been ended.
    Lost(String),
}

/// What a running attempt asks a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The executor's own name for it. Private.
    pub key: String,
    /// In words, what it wants to do.
    pub text: String,
    /// Of exactly that.
    pub digest: Digest,
    /// Until when it waits.
    pub expires_at: UnixMs,
    /// Whether it takes an answer that lasts.
    pub may_always: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// The exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Ended because it ran longer than it may.
    pub timed_out: bool,
    /// Ended because somebody cancelled.
    pub cancelled: bool,
    /// The program could not be executed; the text says why. Then the exit code is 126 or 127, as a shell has it. Of an
    /// API that said no, what it said, in words fit for callers; then the exit code is 1.
    pub exec_error: Option<String>,
    /// Processes that were still there after the main one ended, and were ended.
    pub leftovers: u32,
    /// Bytes of output that were not kept.
    pub output_dropped: u64,
    /// From start to end, in milliseconds.
    pub duration_ms: u64,
}

/// How much may be collected.
#[derive(Debug, Clone, Copy)]
pub struct CollectLimit {
    /// The most files.
    pub files: usize,
    /// The most bytes in all.
    pub bytes: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Collected {
    /// In the order of their names.
    pub files: Vec<CollectedFile>,
    /// Names of what matched but was left out, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// A file that was found. Its bytes are read through [`CollectedFile::file`], which was opened without following
/// links, so that no later change of the path can lead elsewhere.
#[derive(Debug)]
pub struct CollectedFile {
    /// Relative to the workspace.
    pub name: String,
    /// Bytes at the time it was found.
    pub size: u64,
    /// Open for reading.
    pub file: std::fs::File,
}

/// What is wrong with a target, for its operator: the words may tell of the system behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Trouble {
    /// What happened, and where.
    pub what: String,
    /// What the operator can do about it.
    pub hint: String,
}

impl Trouble {
    /// With what happened and what to do.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl From<ExecutorError> for Trouble {
    fn from(error: ExecutorError) -> Self {
        let hint = match &error {
            ExecutorError::Refused(_) | ExecutorError::UnsafeArchive(_) => {
                "correct the target's file or the system it names"
            }
            ExecutorError::Unreachable(_) => "see that the system runs and can be reached from here, then try again",
            ExecutorError::StorageFull(_) => "make room on the target's disk",
        };
        Self::new(error.to_string(), hint)
    }
}

/// Why an executor could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// Nothing was started, and trying again as it is won't help.
    #[error("{0}")]
    Refused(String),
    /// The system can't be reached now; what was started before may go on.
    #[error("{0}")]
    Unreachable(String),
    /// No space is left.
    #[error("no space left: {0}")]
    StorageFull(String),
    /// An input that can't be laid as it is: an archive that would write outside the workspace or expand without bound,
    /// or a name that another input has taken for a folder. The text is for whoever uploaded it.
    #[error("{0}")]
    UnsafeArchive(String),
}
