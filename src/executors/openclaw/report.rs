//! The log of a run: the agent's text as it comes, and what clawhand has to say about it. Never an address.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tokio::sync::watch;

use crate::executors::folder::read_from;
use crate::executors::supervisor::output::Output;

/// Writes the log.
pub(super) struct Report {
    output: Output,
    changes: watch::Sender<u64>,
    /// What of the agent's last words is in the log.
    said: String,
    /// Whether the log ends within a line.
    is_open: bool,
}

impl Report {
    /// Goes on after what is there already.
    pub(super) fn open(path: &Path, max: u64, changes: watch::Sender<u64>) -> io::Result<Self> {
        let mut opening = OpenOptions::new();
        opening.create(true).append(true).read(true).mode(0o600);
        let file: File = opening.open(path)?;
        let written = file.metadata()?.len();
        let (last, _) = read_from(&file, written.saturating_sub(1), 1)?;
        Ok(Self {
            output: Output::new(file, max.saturating_sub(written)),
            changes,
            said: String::new(),
            is_open: last.first().is_some_and(|byte| *byte != b'\n'),
        })
    }

    /// Takes all that the agent has said so far: what is new of it is added. Other words begin on a line of their own.
    pub(super) fn says(&mut self, text: &str) {
        match text.strip_prefix(self.said.as_str()) {
            Some("") => return,
            Some(new) => self.push(new),
            // A text that is whole is trimmed, which doesn't take anything back.
            None if self.said.trim_end() == text.trim_end() => return,
            None => {
                self.end_line();
                self.push(text);
            }
        }
        self.said = text.to_owned();
    }

    /// Adds a line.
    pub(super) fn line(&mut self, text: &str) {
        self.end_line();
        self.push(text);
        self.push("\n");
        self.said.clear();
    }

    fn end_line(&mut self) {
        if self.is_open {
            self.push("\n");
        }
    }

    fn push(&mut self, text: &str) {
        self.output.push(text.as_bytes());
        self.is_open = !text.ends_with('\n');
        self.changes.send_modify(|count| *count += 1);
    }

    /// Writes the end, and says how many bytes were not kept.
    pub(super) fn finish(mut self) -> u64 {
        self.end_line();
        self.output.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_there_once_however_they_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let open = || Report::open(&path, 1000, watch::Sender::new(0)).expect("opens");
        let mut report = open();
        for text in [
            "one",
            "one two\n",
            "one two\nthree",
            "one two\nthree",
            "one two\nthree \n",
        ] {
            report.says(text);
        }
        report.says("one two\nthree");
        report.line("[a note]");
        report.says("after a tool");
        report.says("something else");
        assert_eq!(report.finish(), 0);
        let mut report = open();
        report.line("[again]");
        report.finish();
        let log = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(
            log,
            "one two\nthree \n[a note]\nafter a tool\nsomething else\n[again]\n"
        );
    }
}
