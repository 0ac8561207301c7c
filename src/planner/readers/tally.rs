//! Counting tests within the bounds of a summary.

use crate::domain::{TestFailure, TestSummary};

/// The longest name of a test, in bytes.
const NAME_MAX: usize = 512;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// Counts a test and lists its name while there is room.
pub(super) fn count(summary: &mut TestSummary, verdict: Verdict, name: &str, message: &str) {
    let room = |have: usize| have < TestSummary::LISTED;
    match verdict {
        Verdict::Passed => {
            summary.passed = summary.passed.saturating_add(1);
            if room(summary.passed_names.len()) {
                summary.passed_names.push(clipped(name, NAME_MAX));
            }
        }
        Verdict::Skipped => {
            summary.skipped = summary.skipped.saturating_add(1);
            if room(summary.skipped_names.len()) {
                summary.skipped_names.push(clipped(name, NAME_MAX));
            }
        }
        Verdict::Failed => {
            summary.failed = summary.failed.saturating_add(1);
            if room(summary.failures.len()) {
                let message = clipped(message.trim(), TestSummary::MESSAGE_MAX);
                summary.failures.push(TestFailure {
                    name: clipped(name, NAME_MAX),
                    message,
                });
            }
        }
    }
}

/// The text, or as much of its beginning as fits with a mark that more was there.
pub(super) fn clipped(text: &str, max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(MARK.len()));
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

/// Adds a line to a message that is being collected, as long as there is room.
pub(super) fn add_line(message: &mut String, line: &str) {
    // A little more than is shown, so that the clip is marked.
    if message.len() <= TestSummary::MESSAGE_MAX {
        message.push_str(line);
        message.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_stay_within_their_bounds() {
        let mut summary = TestSummary::default();
        for _ in 0..300 {
            for verdict in [Verdict::Passed, Verdict::Failed, Verdict::Skipped] {
                count(&mut summary, verdict, &"ä".repeat(1000), &"ö".repeat(10_000));
            }
        }
        assert_eq!((summary.passed, summary.failed, summary.skipped), (300, 300, 300));
        assert_eq!(summary.passed_names.len(), TestSummary::LISTED);
        assert_eq!(summary.skipped_names.len(), TestSummary::LISTED);
        assert_eq!(summary.failures.len(), TestSummary::LISTED);
        let first = &summary.failures[0];
        assert!(first.name.len() <= NAME_MAX && first.message.len() <= TestSummary::MESSAGE_MAX);
        assert!(first.message.ends_with('…'));
    }
}
