//! A mistake in a file of the inventory, told so that it can be found and corrected.

use std::fmt;

use crate::domain::similar;

/// A mistake, where it is, and what to do about it. Never quotes a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the folder of the inventory.
    pub file: String,
    /// The line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The character in the line, from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem of a file as a whole.
    pub(super) fn whole(file: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.hint)
        }
    }
}

/// "did you mean 'x'?", or what there is when nothing comes close.
pub(super) fn suggest(word: &str, known: &[&str]) -> String {
    if let Some(meant) = similar::nearest(word, known.iter().copied()) {
        return format!("did you mean '{meant}'?");
    }
    let mut known = known.to_vec();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        "remove it".to_owned()
    } else {
        format!("known are: {}", known.join(", "))
    }
}
