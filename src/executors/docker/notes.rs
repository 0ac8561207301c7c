//! What the supervisor in a container says on standard error, which is its own: the work's is part of the output.
//!
//! First `started`, or `refused: WHY` or `full: WHY` in its place; at last the lines of the exit note.

use super::fault::{Fault, Kind};
use crate::executors::contract::ExitReport;
use crate::executors::posix::exit_report;

/// What was said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing of the step.
    Nothing,
    /// The step was not started, and won't be.
    Refused(String),
    /// The step was started.
    Started,
    /// The step was started, and this is how it ended.
    Ended(ExitReport),
}

/// Reads all that was said.
pub(super) fn read(text: &str) -> Said {
    let mut lines = text.split_inclusive('\n');
    // A line without its end is still on its way.
    let whole = |line: &'_ &str| line.ends_with('\n');
    while let Some(line) = lines.next().filter(whole) {
        let line = line.trim_end();
        // Already: an earlier container of the attempt did, and what became of that one nobody knows.
        if line == "started" || line == "already" {
            let rest: String = lines.collect();
            return match exit_report(&rest) {
                Some(report) => Said::Ended(report),
                None => Said::Started,
            };
        }
        if line.starts_with("refused:") || line.starts_with("full:") {
            return Said::Refused(line.to_owned());
        }
    }
    Said::Nothing
}

/// A refusal as a fault.
pub(super) fn fault(why: &str) -> Fault {
    let kind = match why {
        _ if why.starts_with("full:") => Kind::Full,
        _ if why.contains("there is no ") => Kind::NoShell,
        _ => Kind::Refused,
    };
    Fault::new(
        kind,
        format!("the supervisor in the container did not start the step: {why}"),
    )
}
