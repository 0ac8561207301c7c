//! What is written down of a run, so that another process can find it at the gateway and follow it.
//!
//! Beside what [`crate::executors::attempts`] keeps:
//!
//! ```text
//! call.json         what is said, in which session, until when; on disk before start returns
//! progress.json     that it may have reached the gateway, and which run of the gateway that was; on disk before it is sent
//! ```
//!
//! Fields are only ever added, with a default: a later version reads what an earlier one wrote.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::UnixMs;
use crate::executors::folder::{AttemptFolder, read_whole};

/// The note of what is said.
pub(super) const CALL: &str = "call.json";
/// The note of how far it came.
const PROGRESS: &str = "progress.json";
/// The list of the files that go along, in the folder of the execution.
pub(super) const INPUTS: &str = "inputs.json";

/// What is said, and until when there may be a reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CallNote {
    pub message: String,
    /// The key of the session.
    pub session: String,
    pub begun_at: UnixMs,
    pub timeout_ms: u64,
    pub max_output_bytes: u64,
}

impl CallNote {
    /// What is left of its time.
    pub(super) fn time_left(&self, now: UnixMs) -> Duration {
        let gone = u64::try_from(now.0.saturating_sub(self.begun_at.0)).unwrap_or(0);
        Duration::from_millis(self.timeout_ms.saturating_sub(gone))
    }
}

/// That it may have reached the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// The run of the gateway to which it was sent. Another one may have forgotten it.
    #[serde(default)]
    pub boot: Option<String>,
    pub at: UnixMs,
}

/// A file that goes along.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InputNote {
    pub name: String,
    /// Its name in the folder of inputs.
    pub file: String,
}

pub(super) fn call(folder: &AttemptFolder) -> io::Result<Option<CallNote>> {
    read_whole(&folder.note(CALL))
}

/// On disk when this returns.
pub(super) fn write_sent(folder: &AttemptFolder, sent: &Sent) -> io::Result<()> {
    folder.write_note(PROGRESS, sent)
}

/// It is known not to have reached the gateway.
pub(super) fn forget_sent(folder: &AttemptFolder) -> io::Result<()> {
    std::fs::remove_file(folder.note(PROGRESS))
}

/// One that can't be read is as bad as one that says the worst.
pub(super) fn sent(folder: &AttemptFolder) -> io::Result<Option<Sent>> {
    let path = folder.note(PROGRESS);
    let unreadable = Sent {
        boot: None,
        at: UnixMs(0),
    };
    let is_there = path.try_exists()?;
    Ok(read_whole(&path)?.or(is_there.then_some(unreadable)))
}

/// The files that go along.
pub(super) fn inputs(folder: &AttemptFolder) -> io::Result<Vec<InputNote>> {
    let listed = read_whole(&folder.run_folder().join(INPUTS))?;
    Ok(listed.unwrap_or_default())
}
