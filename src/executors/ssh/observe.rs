//! Seeing what an attempt printed and how it ended, resumed at any byte.

use std::time::Duration;

use bytes::Bytes;

use super::pool::{Body, Call, Purpose, Said};
use super::{QUICK, SshExecutor, WATCH, failed, script_text};
use crate::executors::contract::{AttemptState, ExecutorError, Handle, Observation};
use crate::executors::posix::exit_report;

/// `dd` reads whole blocks of this size; small, so that a line more costs little.
const BLOCK: u64 = 4096;
/// The most that is asked for at once.
const MAX: usize = 8 * 1024 * 1024;
/// The longest that a channel waits: one whose caller has gone is free again after that.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// The room that a supervisor keeps for its exit note.
const NOTE: usize = 2048;

/// Which part of the output is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub from: u64,
    pub max: usize,
}

impl SshExecutor {
    pub(super) async fn look(
        &self,
        handle: &Handle,
        window: Window,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        let window = Window {
            max: window.max.min(MAX),
            ..window
        };
        let skipped = window.from % BLOCK;
        // One byte more tells whether that was all.
        let blocks = (skipped + window.max as u64 + 1).div_ceil(BLOCK);
        let wait = wait.min(WAIT_MAX);
        let ticks = wait.as_millis().div_ceil(100);
        let settings = [
            ("dir", handle.place.clone()),
            ("attempt", handle.attempt.to_string()),
            ("from", window.from.to_string()),
            ("block", BLOCK.to_string()),
            ("blocks", blocks.to_string()),
            ("ticks", ticks.to_string()),
        ];
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = script_text(&settings, &format!("{WATCH}\ncw_watch\n"));
        let purpose = if wait.is_zero() {
            Purpose::Short
        } else {
            Purpose::Waiting
        };
        let call = Call {
            purpose,
            command: "sh -s",
            body: Body::Text(&text),
            max: usize::try_from(blocks * BLOCK)
                .unwrap_or(usize::MAX)
                .saturating_add(NOTE + 4096),
            within: wait + QUICK,
        };
        let said = self.host.run(call).await?;
        understood(&said, usize::try_from(skipped).unwrap_or(0), window.max)
    }
}

fn understood(said: &Said, skipped: usize, max: usize) -> Result<Observation, ExecutorError> {
    let unreadable = || failed("look at the attempt", said);
    if said.code != Some(0) {
        return Err(unreadable());
    }
    let end = said
        .stdout
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(unreadable)?;
    let (word, rest) = said.stdout.split_at(end);
    let mut rest = &rest[1..];
    let ended = |state, output: &[u8]| {
        Ok(Observation {
            output: Bytes::copy_from_slice(output),
            state,
        })
    };
    let mut report = None;
    if word == b"state exit" {
        let (note, after) = rest.split_at_checked(NOTE).ok_or_else(unreadable)?;
        report = Some(exit_report(&String::from_utf8_lossy(note)).ok_or_else(unreadable)?);
        rest = after;
    }
    let output = rest.get(skipped..).unwrap_or_default();
    let is_all = output.len() <= max;
    let output = &output[..output.len().min(max)];
    let lost = |why: &str| AttemptState::Lost(why.to_owned());
    let state = match (word, report) {
        (_, Some(report)) => AttemptState::Ended(report),
        (b"state running", None) => AttemptState::Running,
        (b"state gone", None) => lost("the attempt's folder is gone"),
        // It has a handle, so it was started; only a crash of the host takes that note away.
        (b"state never", None) => lost("the note of its start is gone"),
        (b"state restarted", None) => lost("the host was restarted"),
        (b"state lost", None) => lost("the supervisor was lost"),
        _ => return Err(unreadable()),
    };
    // What it printed is told first.
    if !is_all || (!output.is_empty() && matches!(state, AttemptState::Lost(_))) {
        return ended(AttemptState::Running, output);
    }
    ended(state, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::contract::ExitReport;

    fn said(parts: &[&[u8]]) -> Said {
        Said {
            stdout: parts.concat(),
            stderr: String::new(),
            code: Some(0),
        }
    }

    #[test]
    fn the_end_is_told_once_all_was_read() {
        let mut note = b"code=3\nend=1\n".to_vec();
        note.resize(NOTE, b' ');
        let ended = AttemptState::Ended(ExitReport {
            exit_code: Some(3),
            ..ExitReport::default()
        });
        for (skipped, max, output, state) in [
            (0, 10, &b"abcdef"[..], &ended),
            (2, 10, b"cdef", &ended),
            (2, 4, b"cdef", &ended),
            (2, 3, b"cde", &AttemptState::Running),
            (6, 3, b"", &ended),
            (9, 3, b"", &ended),
        ] {
            let seen = understood(&said(&[b"state exit\n", &note, b"abcdef"]), skipped, max).expect("is understood");
            assert_eq!((&seen.output[..], &seen.state), (output, state), "{skipped} {max}");
        }
        let seen = understood(&said(&[b"state lost\nabc"]), 1, 10).expect("is understood");
        assert_eq!((&seen.output[..], seen.state), (&b"bc"[..], AttemptState::Running));
        let seen = understood(&said(&[b"state lost\nabc"]), 3, 10).expect("is understood");
        assert!(matches!(seen.state, AttemptState::Lost(_)));
        assert!(understood(&said(&[b"state remains\n"]), 0, 10).is_err());
        assert!(understood(&said(&[b""]), 0, 10).is_err());
    }
}
