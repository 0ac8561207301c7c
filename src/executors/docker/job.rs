//! The job of the supervisor in a container: what is the same for every attempt, and what goes in by standard input.

use super::container::{ROOT, WORK};
use super::fault::Fault;
use crate::executors::contract::{ProcessLimits, StartAttempt};
use crate::executors::posix::{self, Layout, OutputMode};

/// PATH of steps where neither the target nor the image says one.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The label that says after how many milliseconds the supervisor follows TERM with KILL.
pub(super) const GRACE: &str = "io.clawhand.grace";

/// A job that is ready to be delivered.
pub(super) struct Written {
    /// The main process of the container.
    pub program: Vec<String>,
    /// What it reads on standard input, secrets and all. Of a text that was cut off nothing is executed.
    pub text: String,
    pub grace_ms: u128,
}

pub(super) fn write(start: &StartAttempt, path: &str) -> Result<Written, Fault> {
    let layout = Layout {
        attempt: format!("{ROOT}/attempts/{}", start.attempt),
        work: WORK.to_owned(),
        home: format!("{ROOT}/home"),
        tmp: format!("{ROOT}/tmp"),
        path: path.to_owned(),
        output: OutputMode::File,
    };
    let inside = StartAttempt {
        // The container as a whole has these; a limit of address space would only stop what reserves more than it uses.
        limits: ProcessLimits {
            max_memory_bytes: None,
            max_processes: None,
            ..start.limits
        },
        ..start.clone()
    };
    let job = posix::job(&inside, &layout).map_err(|error| Fault::refused(error.to_string()))?;
    Ok(Written {
        program: vec!["/bin/sh".to_owned(), "-s".to_owned()],
        text: job.whole(),
        grace_ms: start.grace.as_millis(),
    })
}
