//! `go test -json`: a JSON object per line, mixed with plain lines of the compiler.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tally::{Verdict, add_line, count};
use crate::domain::TestSummary;

/// The most tests and packages whose output is kept at once.
const OPEN_MAX: usize = 4096;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Go {
    summary: TestSummary,
    /// An event was seen: this is the output of `go test -json`.
    seen: bool,
    /// Output of tests that run, and of packages under an empty test name.
    output: BTreeMap<(String, String), String>,
    /// How many tests of a package failed.
    failed: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoEvent {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    import_path: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    failed_build: String,
}

impl Go {
    pub(super) fn line(&mut self, line: &str) {
        if !line.starts_with('{') {
            return;
        }
        let Ok(event) = serde_json::from_str::<GoEvent>(line) else {
            return;
        };
        let verdict = match event.action.as_str() {
            "pass" => Verdict::Passed,
            "fail" => Verdict::Failed,
            "skip" => Verdict::Skipped,
            "output" => return self.keep(event.package, event.test, &event.output),
            "build-output" => return self.keep(event.import_path, String::new(), &event.output),
            "run" | "start" | "pause" | "cont" | "bench" | "build-fail" => {
                self.seen = true;
                return;
            }
            _ => return,
        };
        self.seen = true;
        if event.test.is_empty() {
            self.package(&event, verdict);
        } else {
            self.test(event, verdict);
        }
    }

    pub(super) fn finish(self) -> Option<TestSummary> {
        self.seen.then_some(self.summary)
    }

    fn test(&mut self, event: GoEvent, verdict: Verdict) {
        let name = format!("{}.{}", event.package, event.test);
        if verdict == Verdict::Failed && (self.failed.len() < OPEN_MAX || self.failed.contains_key(&event.package)) {
            *self.failed.entry(event.package.clone()).or_default() += 1;
        }
        let message = self.output.remove(&(event.package, event.test)).unwrap_or_default();
        count(&mut self.summary, verdict, &name, &message);
    }

    /// A package that failed without a failed test did not compile, or ended before its tests did.
    fn package(&mut self, event: &GoEvent, verdict: Verdict) {
        let failed_tests = self.failed.remove(&event.package).unwrap_or(0);
        let own = self
            .output
            .remove(&(event.package.clone(), String::new()))
            .unwrap_or_default();
        if verdict == Verdict::Failed && failed_tests == 0 {
            let built = self
                .output
                .remove(&(event.failed_build.clone(), String::new()))
                .unwrap_or_default();
            count(&mut self.summary, verdict, &event.package, &format!("{built}{own}"));
        }
    }

    /// Keeps a line for the message of a failure, without what only frames it.
    fn keep(&mut self, package: String, test: String, output: &str) {
        let line = output.trim_end();
        let frame = [
            "=== RUN",
            "=== PAUSE",
            "=== CONT",
            "=== NAME",
            "--- FAIL",
            "--- PASS",
            "--- SKIP",
        ];
        if line.is_empty() || frame.iter().any(|start| line.trim_start().starts_with(start)) {
            return;
        }
        let key = (package, test);
        if self.output.len() < OPEN_MAX || self.output.contains_key(&key) {
            add_line(self.output.entry(key).or_default(), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<TestSummary> {
        let mut go = Go::default();
        text.lines().for_each(|line| go.line(line));
        go.finish()
    }

    #[test]
    fn a_package_that_does_not_compile_is_a_failure() {
        let summary = said(concat!(
            "{\"ImportPath\":\"m/a [m/a.test]\",\"Action\":\"build-output\",\"Output\":\"./a_test.go:3: undefined: x\\n\"}\n",
            "{\"ImportPath\":\"m/a [m/a.test]\",\"Action\":\"build-fail\"}\n",
            "{\"Action\":\"start\",\"Package\":\"m/a\"}\n",
            "{\"Action\":\"output\",\"Package\":\"m/a\",\"Output\":\"FAIL\\tm/a [build failed]\\n\"}\n",
            "{\"Action\":\"fail\",\"Package\":\"m/a\",\"Elapsed\":0,\"FailedBuild\":\"m/a [m/a.test]\"}\n",
        ))
        .expect("has tests");
        assert_eq!((summary.passed, summary.failed), (0, 1));
        assert_eq!(summary.failures[0].name, "m/a");
        assert_eq!(
            summary.failures[0].message,
            "./a_test.go:3: undefined: x\nFAIL\tm/a [build failed]"
        );
    }

    #[test]
    fn other_text_is_no_sign_of_tests() {
        assert_eq!(
            said("go: downloading x\n{\"level\":\"info\"}\n{broken\n{\"Action\":\"strange\"}"),
            None
        );
    }
}
