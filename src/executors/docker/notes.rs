//! What the supervisor in a container answers whoever started it: one line.

use super::fault::{Fault, Kind};

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// No whole line yet.
    Nothing,
    /// The step was started, now or before.
    Started,
    /// The step was not started, and won't be.
    Refused(String),
}

/// Reads what was said so far.
pub(super) fn read(text: &str) -> Said {
    match text.split_once('\n').map(|(line, _)| line.trim_end()) {
        None => Said::Nothing,
        Some("started" | "already") => Said::Started,
        Some(other) => Said::Refused(other.to_owned()),
    }
}

/// A refusal as a fault.
pub(super) fn fault(why: &str) -> Fault {
    let kind = match why {
        _ if why.starts_with("full:") => Kind::Full,
        _ if why.contains("there is no ") || why.contains("not found") => Kind::NoShell,
        _ => Kind::Refused,
    };
    Fault::new(
        kind,
        format!("the supervisor in the container did not start the step: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_whole_line() {
        assert_eq!(read("star"), Said::Nothing);
        assert_eq!(read("started\n"), Said::Started);
        assert_eq!(read("already\nmore"), Said::Started);
        let refused = "refused: there is no setsid";
        assert_eq!(read(&format!("{refused}\n")), Said::Refused(refused.to_owned()));
        assert_eq!(fault(refused).kind, Kind::NoShell);
        assert_eq!(fault("full: x").kind, Kind::Full);
    }
}
