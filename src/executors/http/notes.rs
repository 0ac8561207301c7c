//! What is written down of an attempt, so that another process can tell what happened and go on.
//!
//! Beside what [`crate::executors::attempts`] keeps:
//!
//! ```text
//! call.json         what is to be asked; on disk before start returns
//! progress.json     whether a request may have left, and where the work that it began is asked for; on disk before that
//!                   request leaves, and before the first question
//! ```
//!
//! No secret is ever in one of them: credentials are read anew for each request. Fields are only ever added, with a
//! default: a later version reads what an earlier one wrote.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::UnixMs;
use crate::domain::plan::Call;
use crate::executors::contract::StartAttempt;
use crate::executors::folder::{AttemptFolder, read_whole};

/// The note of the call.
pub(super) const CALL: &str = "call.json";
/// The note of how far it came.
const PROGRESS: &str = "progress.json";

/// What is to be asked, and until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CallNote {
    pub call: Call,
    pub begun_at: UnixMs,
    pub timeout_ms: u64,
    pub max_output_bytes: u64,
}

impl CallNote {
    pub(super) fn new(call: &Call, start: &StartAttempt, now: UnixMs) -> Self {
        Self {
            call: call.clone(),
            begun_at: now,
            timeout_ms: u64::try_from(start.timeout.as_millis()).unwrap_or(u64::MAX),
            max_output_bytes: start.max_output_bytes,
        }
    }
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

pub(super) fn call(folder: &AttemptFolder) -> io::Result<Option<CallNote>> {
    read_whole(&folder.note(CALL))
}

/// On disk when this returns.
pub(super) fn write_progress(folder: &AttemptFolder, progress: &Progress) -> io::Result<()> {
    folder.write_note(PROGRESS, progress)
}

/// One that can't be read is as bad as one that says the worst.
pub(super) fn progress(folder: &AttemptFolder) -> io::Result<Progress> {
    let path = folder.note(PROGRESS);
    let unreadable = Progress {
        sent: path.try_exists()?,
        waiting: None,
    };
    Ok(read_whole(&path)?.unwrap_or(unreadable))
}

/// What is left of the time that an attempt has.
pub(super) fn time_left(note: &CallNote, now: UnixMs) -> Duration {
    let gone = u64::try_from(now.0.saturating_sub(note.begun_at.0)).unwrap_or(0);
    Duration::from_millis(note.timeout_ms.saturating_sub(gone))
}
