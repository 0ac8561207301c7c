//! The log of an attempt, in words for callers: what was asked, what came back, what it meant. Never a host.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::Value;
use tokio::sync::watch;

use super::answer::Answer;
use super::client::Request;
use super::mask::Mask;
use crate::executors::supervisor::output::Output;

/// What of a body is shown, in bytes.
const SHOWN: usize = 16 * 1024;
/// What of a single value is shown, in characters.
const VALUE: usize = 1000;
/// Headers that tell something and nothing of where.
const HEADERS: [&str; 5] = [
    "content-type",
    "retry-after",
    "x-request-id",
    "request-id",
    "x-correlation-id",
];

/// Writes the log.
pub(super) struct Report {
    output: Output,
    changes: watch::Sender<u64>,
    base_path: String,
    pub mask: Mask,
}

impl Report {
    /// Goes on after what is there already.
    pub(super) fn open(path: &Path, max: u64, changes: watch::Sender<u64>, base_url: &str) -> io::Result<Self> {
        let file: File = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written = file.metadata()?.len();
        let base_path = reqwest::Url::parse(base_url).map_or_else(|_| String::new(), |url| url.path().to_owned());
        Ok(Self {
            output: Output::new(file, max.saturating_sub(written)),
            changes,
            base_path: base_path.trim_end_matches('/').to_owned(),
            mask: Mask::default(),
        })
    }

    /// Adds a line.
    pub(super) fn line(&mut self, text: &str) {
        let text = self.mask.text(text);
        self.output.push(text.as_bytes());
        self.output.push(b"\n");
        self.changes.send_modify(|count| *count += 1);
    }

    /// What is asked: below the base URL, which is nobody's business.
    pub(super) fn request(&mut self, request: &Request) {
        let path = request.url.path();
        let path = path.strip_prefix(&self.base_path).unwrap_or(path);
        let query = request
            .url
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        self.line(&format!("{} {path}{query}", request.method));
    }

    /// What came back.
    pub(super) fn answer(&mut self, answer: &Answer) {
        self.line(&format!("HTTP {}", answer.line));
        for name in HEADERS {
            let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
            if let Some(value) = value {
                self.line(&format!("{name}: {}", shortened(value)));
            }
        }
        if answer.too_large || answer.size == 0 {
            return;
        }
        if !answer.is_text() {
            return self.line(&format!("[{} bytes that are no text]", answer.size));
        }
        let Ok(bytes) = answer.beginning(SHOWN) else {
            return;
        };
        self.output.push(&bytes);
        if bytes.last() != Some(&b'\n') {
            self.output.push(b"\n");
        }
        let left = answer.size.saturating_sub(SHOWN as u64);
        match left {
            0 => self.changes.send_modify(|count| *count += 1),
            left => self.line(&format!("[... {left} bytes more are in the artifact ...]")),
        }
    }

    /// A value of the result.
    pub(super) fn value(&mut self, name: &str, value: &Value) {
        self.line(&format!("result {name}: {}", shortened(&value.to_string())));
    }

    /// Writes the end, and says how many bytes were not kept.
    pub(super) fn finish(self) -> (u64, watch::Sender<u64>) {
        (self.output.finish(), self.changes)
    }
}

/// A text that is not too long for a line, and stays on it.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(VALUE).collect();
    if text.chars().count() > VALUE {
        short.push('…');
    }
    short
}
