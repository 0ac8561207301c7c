//! What is written down of an attempt, so that another process can tell what happened and go on.
//!
//! ```text
//! <scratch>/http/<execution>/
//!   work/               what came of it: the answer, the result
//!   attempts/<attempt>/
//!     call.json         what is to be asked; on disk before start returns
//!     progress.json     whether a request may have left, and where the work that it began is asked for; on disk before
//!                       that request leaves, and before the first question
//!     out               the log
//!     lock              locked for as long as somebody drives the attempt
//!     cancel            somebody asked to end it
//!     exit.json         how it ended
//! ```
//!
//! No secret is ever in one of them: credentials are read anew for each request. Fields are only ever added, with a
//! default: a later version reads what an earlier one wrote.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::plan::Call;
use crate::domain::{ExecutionId, UnixMs};
use crate::executors::contract::{AttemptState, ExitReport, Observation, StartAttempt};
use crate::executors::folder::{AttemptFolder, make_folder, read_printed, read_whole, sync_folder, write_whole};

/// What is to be asked, and until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CallNote {
    pub call: Call,
    pub begun_at: UnixMs,
    pub timeout_ms: u64,
    pub max_output_bytes: u64,
}

/// How far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// A request may have reached the API.
    pub sent: bool,
    /// The API has begun work that goes on.
    #[serde(default)]
    pub waiting: Option<Waiting>,
}

/// Work that goes on at the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Where its state is asked for.
    pub url: String,
    /// Where it is ended: method and URL.
    #[serde(default)]
    pub cancel: Option<(String, String)>,
}

/// How it ended.
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

/// The notes of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub folder: AttemptFolder,
}

impl Notes {
    pub(super) fn at(folder: AttemptFolder) -> Self {
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where what came of it is kept.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.run_folder().join("work")
    }

    /// Where an answer lies while it comes in.
    pub(super) fn incoming(&self) -> PathBuf {
        self.path("answer")
    }

    /// Whose attempt it is.
    pub(super) fn execution(&self) -> Option<ExecutionId> {
        self.folder.run_folder().file_name()?.to_str()?.parse().ok()
    }

    /// On disk when this returns, with the folders that lead to it. A call that is there stays.
    pub(super) fn write_call(&self, start: &StartAttempt, now: UnixMs) -> io::Result<()> {
        make_folder(self.folder.path(), 0o700)?;
        let Some(call) = start.call.clone().filter(|_| !self.path("call.json").exists()) else {
            return Ok(());
        };
        let note = CallNote {
            call,
            begun_at: now,
            timeout_ms: u64::try_from(start.timeout.as_millis()).unwrap_or(u64::MAX),
            max_output_bytes: start.max_output_bytes,
        };
        self.write(&self.path("call.json"), &note)?;
        let above = self.folder.path().ancestors().skip(1).take(3);
        above.into_iter().try_for_each(sync_folder)
    }

    pub(super) fn call(&self) -> io::Result<Option<CallNote>> {
        read_whole(&self.path("call.json"))
    }

    /// On disk when this returns.
    pub(super) fn write_progress(&self, progress: &Progress) -> io::Result<()> {
        self.write(&self.path("progress.json"), progress)
    }

    /// One that can't be read is as bad as one that says the worst.
    pub(super) fn progress(&self) -> io::Result<Progress> {
        let path = self.path("progress.json");
        let unreadable = Progress {
            sent: path.try_exists()?,
            waiting: None,
        };
        Ok(read_whole(&path)?.unwrap_or(unreadable))
    }

    fn write<T: Serialize>(&self, path: &Path, note: &T) -> io::Result<()> {
        write_whole(path, note)?.sync_all()?;
        sync_folder(self.folder.path())
    }

    pub(super) fn end(&self) -> io::Result<Option<End>> {
        read_whole(&self.path("exit.json"))
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.folder.cancel().is_ok_and(|note| note.is_some())
    }

    /// What there is to tell from an offset on; nothing if there is nothing new.
    pub(super) fn look(&self, from: u64, max: usize) -> io::Result<Option<Observation>> {
        // The order matters: once the end is written, the output doesn't grow any more.
        let end = self.end()?;
        let (output, is_all) = read_printed(&self.folder.out(), from, max)?;
        let state = match end {
            Some(end) if is_all => end.into(),
            None if output.is_empty() && self.folder.path().is_dir() => return Ok(None),
            None if output.is_empty() => AttemptState::Lost("nothing is left of the attempt".to_owned()),
            _ => AttemptState::Running,
        };
        Ok(Some(Observation { output, state }))
    }
}

/// What is left of the time that an attempt has.
pub(super) fn time_left(note: &CallNote, now: UnixMs) -> Duration {
    let gone = u64::try_from(now.0.saturating_sub(note.begun_at.0)).unwrap_or(0);
    Duration::from_millis(note.timeout_ms.saturating_sub(gone))
}
