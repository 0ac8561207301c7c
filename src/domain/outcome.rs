//! What came of an execution, in the caller's words.

use serde::{Deserialize, Serialize};

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestFailure {
    /// Its full name.
    pub name: String,
    /// What it said, shortened.
    pub message: String,
}

/// What the tests said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSummary {
    /// How many passed.
    pub passed: u64,
    /// How many failed, errors among them.
    pub failed: u64,
    /// How many were skipped.
    pub skipped: u64,
    /// The failed ones, at most [`TestSummary::LISTED`].
    pub failures: Vec<TestFailure>,
    /// The names of the passed ones, at most [`TestSummary::LISTED`].
    #[serde(default)]
    pub passed_names: Vec<String>,
    /// The names of the skipped ones, at most [`TestSummary::LISTED`].
    #[serde(default)]
    pub skipped_names: Vec<String>,
}

impl TestSummary {
    /// The most names that are listed of each kind.
    pub const LISTED: usize = 200;
    /// The longest message of a failure, in bytes.
    pub const MESSAGE_MAX: usize = 4096;

    /// Adds what another report says.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        let room = |have: usize| Self::LISTED.saturating_sub(have);
        let (failures, passed, skipped) = (
            room(self.failures.len()),
            room(self.passed_names.len()),
            room(self.skipped_names.len()),
        );
        self.failures.extend(other.failures.into_iter().take(failures));
        self.passed_names.extend(other.passed_names.into_iter().take(passed));
        self.skipped_names.extend(other.skipped_names.into_iter().take(skipped));
    }
}

/// Why an execution did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For machines: `exit_code`, `signal`, `timeout`, `cancelled`, `supervisor_lost`, ...
    pub code: String,
    /// What happened.
    pub message: String,
    /// Whether starting the task again may end better.
    pub retryable: bool,
    /// What to do.
    pub hint: String,
}

/// What came of an execution; stored once, when it reaches a terminal state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of the step that decided.
    pub exit_code: Option<i32>,
    /// One or two sentences.
    pub summary: String,
    /// What the tests said, when there were any.
    pub tests: Option<TestSummary>,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
}
