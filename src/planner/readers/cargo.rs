//! `cargo test` and `cargo nextest run`, as they print for people.

use super::tally::{Verdict, add_line, count};
use crate::domain::TestSummary;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Cargo {
    /// Names and messages; the counts of the lines that named them.
    summary: TestSummary,
    /// Counts of test binaries that said their result.
    told: Counts,
    /// Counts of lines since the last result.
    open: Counts,
    /// A result or a test was seen.
    seen: bool,
    /// It is nextest that speaks; what looks like cargo test is the output of a test.
    nextest: bool,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

#[derive(Debug, Default)]
enum State {
    /// Lines say how tests ended.
    #[default]
    Tests,
    /// The output of a failed test, by its place in the list of failures.
    Output(usize),
    /// nextest said its summary; what follows repeats the failures.
    Over,
}

impl Cargo {
    pub(super) fn line(&mut self, line: &str) {
        let trimmed = line.trim();
        if matches!(self.state, State::Over) {
            return;
        }
        if let Some(result) = trimmed.strip_prefix("Summary [") {
            self.nextest_summary(result);
        } else if let Some((verdict, name)) = nextest_line(trimmed) {
            self.nextest(verdict, name);
        } else if self.nextest || !self.libtest(line) {
            self.output(line);
        }
    }

    pub(super) fn finish(mut self) -> Option<TestSummary> {
        self.close();
        self.summary.passed = self.told.passed;
        self.summary.failed = self.told.failed;
        self.summary.skipped = self.told.skipped;
        for failure in &mut self.summary.failures {
            failure.message = super::tally::clipped(failure.message.trim(), TestSummary::MESSAGE_MAX);
        }
        self.seen.then_some(self.summary)
    }

    /// Takes a line of cargo test; says whether it was one.
    fn libtest(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
        } else if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.state = self.failure(name).map_or(State::Tests, State::Output);
        } else if let Some((verdict, name)) = libtest_line(line) {
            self.one(verdict, name);
            self.state = State::Tests;
        } else {
            return false;
        }
        true
    }

    /// Takes a line of nextest. A test that is tried again replaces what its last try said.
    fn nextest(&mut self, verdict: Verdict, name: &str) {
        self.nextest = true;
        if let Some(index) = self.failure(name) {
            self.summary.failures.remove(index);
            self.open.failed = self.open.failed.saturating_sub(1);
        }
        self.one(verdict, name);
        self.state = match verdict {
            Verdict::Failed => self.failure(name).map_or(State::Tests, State::Output),
            _ => State::Tests,
        };
    }

    /// Counts a test that was named.
    fn one(&mut self, verdict: Verdict, name: &str) {
        self.seen = true;
        count(&mut self.summary, verdict, name, "");
        let field = match verdict {
            Verdict::Passed => &mut self.open.passed,
            Verdict::Failed => &mut self.open.failed,
            Verdict::Skipped => &mut self.open.skipped,
        };
        *field = field.saturating_add(1);
    }

    /// The last failure of a name.
    fn failure(&self, name: &str) -> Option<usize> {
        self.summary.failures.iter().rposition(|failure| failure.name == name)
    }

    /// Takes any other line.
    fn output(&mut self, line: &str) {
        let State::Output(index) = self.state else { return };
        if line == "failures:" || line.starts_with("────") {
            self.state = State::Tests;
        } else if let Some(failure) = self.summary.failures.get_mut(index) {
            // While it runs, nextest tells of tests that take long.
            if !line.trim_start().starts_with("SLOW [") {
                add_line(&mut failure.message, line);
            }
        }
    }

    /// "FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s": of one test binary.
    /// It is believed more than the lines before it, of which some may be missing.
    fn result(&mut self, text: &str) {
        let said = |word: &str| number_before(text, word);
        let (Some(passed), Some(failed)) = (said(" passed"), said(" failed")) else {
            return;
        };
        self.open = Counts {
            passed,
            failed,
            skipped: said(" ignored").unwrap_or(0),
        };
        self.seen = true;
        self.state = State::Tests;
        self.close();
    }

    /// "   0.010s] 4 tests run: 2 passed, 1 failed, 1 timed out, 1 skipped": of all.
    fn nextest_summary(&mut self, text: &str) {
        let said = |word: &str| number_before(text, word).unwrap_or(0);
        let failed = [" failed", " timed out", " exec failed"].iter().map(|word| said(word));
        let failed = failed.fold(0, u64::saturating_add);
        self.open = Counts {
            passed: said(" passed"),
            failed,
            skipped: said(" skipped"),
        };
        self.seen = true;
        self.state = State::Over;
        self.close();
    }

    /// Adds what is open to what is told.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.told.passed = self.told.passed.saturating_add(open.passed);
        self.told.failed = self.told.failed.saturating_add(open.failed);
        self.told.skipped = self.told.skipped.saturating_add(open.skipped);
    }
}

/// "test a::b ... ok", also "FAILED" and "ignored, why".
fn libtest_line(line: &str) -> Option<(Verdict, &str)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    match result.trim_end() {
        "ok" => Some((Verdict::Passed, name)),
        "FAILED" => Some((Verdict::Failed, name)),
        result if result == "ignored" || result.starts_with("ignored, ") => Some((Verdict::Skipped, name)),
        _ => None,
    }
}

/// "PASS [   0.004s] (1/3) package::binary module::test": the name without the time and the count.
fn nextest_line(line: &str) -> Option<(Verdict, &str)> {
    let (status, rest) = line.split_once(" [")?;
    let verdict = match status.trim() {
        "PASS" | "LEAK" => Verdict::Passed,
        "FAIL" | "TIMEOUT" | "ABORT" | "LEAK-FAIL" => Verdict::Failed,
        signal if signal.starts_with("SIG") && signal.bytes().all(|c| c.is_ascii_alphanumeric()) => Verdict::Failed,
        flaky if flaky.starts_with("FLAKY ") => Verdict::Passed,
        // With retries each try is told; this is one that didn't help, and the summary says whether a later one did.
        tried if tried.starts_with("TRY ") && tried.ends_with(" FAIL") => Verdict::Failed,
        _ => return None,
    };
    let (time, name) = rest.split_once(']')?;
    if !time.trim().ends_with('s') {
        return None;
    }
    let name = name.trim();
    let name = match name.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((_, name)) => name.trim(),
        None => name,
    };
    (!name.is_empty()).then_some((verdict, name))
}

/// The number right before a word: 3 in "3 passed" for " passed".
fn number_before(text: &str, word: &str) -> Option<u64> {
    let before = text.get(..text.find(word)?)?;
    let digits = before.bytes().rev().take_while(u8::is_ascii_digit).count();
    before.get(before.len() - digits..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<TestSummary> {
        let mut cargo = Cargo::default();
        text.lines().for_each(|line| cargo.line(line));
        cargo.finish()
    }

    #[test]
    fn nextest_with_retries_a_signal_and_a_timeout() {
        let summary = said(
            "    Starting 6 tests across 1 binary (1 test skipped)
        PASS [   0.004s] (1/6) app tests::adds
  TRY 1 FAIL [   0.003s] (─────) app tests::flaky
  stdout ───
    test tests::flaky ... FAILED
   FLAKY 2/2 [   0.003s] (2/6) app tests::flaky
  TRY 1 FAIL [   0.003s] (─────) app tests::fails
  TRY 2 FAIL [   0.003s] (3/6) app tests::fails
  stdout ───

    assertion failed: 1 == 2
     SIGABRT [   0.010s] (4/6) app tests::aborts
     TIMEOUT [  60.010s] (5/6) app tests::hangs
        SLOW [> 60.000s] app tests::slow
        LEAK [   0.010s] (6/6) app tests::leaks
────────────
     Summary [  60.105s] 6 tests run: 3 passed (1 flaky, 1 leaky), 2 failed, 1 timed out, 1 skipped
  TRY 2 FAIL [   0.003s] app tests::fails
     SIGABRT [   0.010s] app tests::aborts
",
        )
        .expect("has tests");
        assert_eq!((summary.passed, summary.failed, summary.skipped), (3, 3, 1));
        let failures: Vec<(&str, &str)> = summary.failures.iter().map(|f| (&*f.name, &*f.message)).collect();
        assert_eq!(
            failures,
            [
                ("app tests::fails", "stdout ───\n\n    assertion failed: 1 == 2"),
                ("app tests::aborts", ""),
                ("app tests::hangs", "")
            ]
        );
        assert_eq!(
            summary.passed_names,
            ["app tests::adds", "app tests::flaky", "app tests::leaks"]
        );
    }

    #[test]
    fn a_run_that_was_cut_off_counts_what_it_named() {
        let summary =
            said("test a ... ok\ntest b ... FAILED\ntest c ... ignored, later\ntest d ... o").expect("has tests");
        assert_eq!((summary.passed, summary.failed, summary.skipped), (1, 1, 1));
        assert_eq!(said("error[E0432]: unresolved import\nerror: could not compile"), None);
    }
}
