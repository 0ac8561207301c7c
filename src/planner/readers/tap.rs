//! TAP 13 and 14, as many shell and Perl tests and Node's test runner print it.

use super::tally::{Verdict, add_line, count};
use crate::domain::TestSummary;

/// How deep subtests may lie in one another.
const DEPTH_MAX: usize = 32;
/// Spaces per level.
const INDENT: usize = 4;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Tap {
    summary: TestSummary,
    /// A version or a plan was seen: this is TAP.
    seen: bool,
    /// Tests that the plans of the outermost level promised, and those that came.
    planned: u64,
    came: u64,
    /// By level: the subtest that is open, and what its own tests said.
    levels: Vec<Level>,
    state: State,
}

#[derive(Debug, Default, Clone)]
struct Level {
    /// From a "# Subtest: name" comment.
    name: String,
    /// Tests came below this level since its last test.
    parent: bool,
    /// One of those failed.
    failed_below: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Tests,
    /// After "not ok": what follows belongs to the last failure.
    Failed,
    /// In the YAML block of the last failure, or of a test that didn't fail.
    Yaml { of_failure: bool, indent: usize },
}

/// A test point.
struct Point<'a> {
    ok: bool,
    name: &'a str,
    directive: Directive,
}

#[derive(PartialEq, Eq)]
enum Directive {
    None,
    Skip,
    Todo,
}

impl Tap {
    pub(super) fn line(&mut self, line: &str) {
        let text = line.trim_start();
        if let State::Yaml { of_failure, indent } = self.state {
            // The block is as far in as its first line.
            let inside = line
                .get(indent..)
                .filter(|_| line.len() - text.len() >= indent)
                .unwrap_or(text);
            return self.yaml(line, inside, of_failure);
        }
        let level = (line.len() - text.len()) / INDENT;
        if level >= DEPTH_MAX {
            return;
        }
        if text == "---" {
            let of_failure = matches!(self.state, State::Failed);
            self.state = State::Yaml {
                of_failure,
                indent: line.len() - text.len(),
            };
        } else if let Some(point) = point(text) {
            self.test(level, &point);
        } else if let Some(name) = text.strip_prefix("# Subtest:") {
            self.at(level).name = name.trim().to_owned();
        } else if let Some(said) = text.strip_prefix('#') {
            self.remark(said.trim());
        } else if text.starts_with("TAP version ") {
            self.seen = true;
        } else if let Some(many) = plan(text) {
            self.seen = true;
            if level == 0 {
                self.planned = self.planned.saturating_add(many);
            }
        } else if let Some(why) = text.strip_prefix("Bail out!") {
            count(&mut self.summary, Verdict::Failed, "Bail out!", why);
        }
    }

    pub(super) fn finish(mut self) -> Option<TestSummary> {
        if !self.seen {
            return None;
        }
        let missing = self.planned.saturating_sub(self.came);
        if missing > 0 {
            let message = format!("{} tests were planned, {} came", self.planned, self.came);
            count(&mut self.summary, Verdict::Failed, "tests that never came", &message);
            self.summary.failed = self.summary.failed.saturating_add(missing - 1);
        }
        for failure in &mut self.summary.failures {
            failure.message = super::tally::clipped(failure.message.trim(), TestSummary::MESSAGE_MAX);
        }
        Some(self.summary)
    }

    fn at(&mut self, level: usize) -> &mut Level {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Level::default());
        }
        &mut self.levels[level]
    }

    /// A test point. One that closes a subtest only repeats what its tests said.
    fn test(&mut self, level: usize, point: &Point<'_>) {
        if level == 0 {
            self.came = self.came.saturating_add(1);
        }
        let own = std::mem::take(self.at(level));
        self.levels.truncate(level);
        let verdict = match (&point.directive, point.ok) {
            (Directive::Skip, _) | (Directive::Todo, false) => Verdict::Skipped,
            (_, true) => Verdict::Passed,
            (_, false) => Verdict::Failed,
        };
        let failed = verdict == Verdict::Failed;
        let name = self.full_name(point.name);
        for (depth, above) in self.levels.iter_mut().enumerate() {
            above.parent |= depth + 1 == level;
            above.failed_below |= failed;
        }
        let repeats = own.parent && (!failed || own.failed_below);
        if !repeats {
            count(&mut self.summary, verdict, &name, "");
        }
        self.state = if failed && !repeats {
            State::Failed
        } else {
            State::Tests
        };
    }

    /// The name with those of the subtests around it.
    fn full_name(&self, name: &str) -> String {
        let around = self
            .levels
            .iter()
            .map(|level| level.name.as_str())
            .filter(|name| !name.is_empty());
        around.chain([name]).collect::<Vec<_>>().join(" > ")
    }

    /// A line of a YAML block; `inside` is the line without the indentation of the block.
    fn yaml(&mut self, line: &str, inside: &str, of_failure: bool) {
        let text = inside.trim_start();
        // A test point would be lost in a block that was never closed.
        if text == "..." || (point(text).is_some() && !line.starts_with(' ')) {
            self.state = State::Tests;
            if text != "..." {
                self.line(line);
            }
        } else if of_failure {
            self.message(inside);
        }
    }

    fn remark(&mut self, said: &str) {
        if matches!(self.state, State::Failed) {
            self.message(said);
        }
    }

    fn message(&mut self, line: &str) {
        // Past the last failure that is listed nothing is collected.
        let listed = u64::try_from(self.summary.failures.len()) == Ok(self.summary.failed);
        if let Some(failure) = self.summary.failures.last_mut().filter(|_| listed) {
            add_line(&mut failure.message, line);
        }
    }
}

/// "ok 1 - name # SKIP why".
fn point(text: &str) -> Option<Point<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim();
    let number = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let rest = rest.get(number..).unwrap_or_default().trim_start();
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim();
    let (name, directive) = match rest.rfind('#').filter(|at| *at == 0 || !rest[..*at].ends_with('\\')) {
        Some(at) => match directive(&rest[at + 1..]) {
            Directive::None => (rest, Directive::None),
            directive => (rest[..at].trim(), directive),
        },
        None => (rest, Directive::None),
    };
    Some(Point { ok, name, directive })
}

fn directive(text: &str) -> Directive {
    let word: String = text.trim_start().chars().take(4).collect();
    match word.to_ascii_uppercase().as_str() {
        "SKIP" => Directive::Skip,
        "TODO" => Directive::Todo,
        _ => Directive::None,
    }
}

/// "1..4": how many tests are planned.
fn plan(text: &str) -> Option<u64> {
    let many = text.strip_prefix("1..")?;
    many.split(['#', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<TestSummary> {
        let mut tap = Tap::default();
        text.lines().for_each(|line| tap.line(line));
        tap.finish()
    }

    type Said<'a> = (u64, u64, u64, &'a [&'a str]);

    #[test]
    fn what_tap_says() {
        let cases: [(&str, Option<Said<'_>>); 8] = [
            ("hello\nok then\nnot ok at all\n", None),
            (
                "TAP version 13\n1..3\nok 1 - a\nnot ok 2 - b\n# why\n# more\nok 3 - c # SKIP no\n",
                Some((1, 1, 1, &["b: why\nmore"])),
            ),
            ("1..2\nok\nnot ok 2 - later # TODO soon\n", Some((1, 0, 1, &[]))),
            (
                "TAP version 14\nnot ok 1 - y\n  ---\n  error: boom\n  ok 7 - not a test\n  ...\n1..1\n",
                Some((0, 1, 0, &["y: error: boom\nok 7 - not a test"])),
            ),
            (
                "1..3\nok 1 - a\n",
                Some((1, 2, 0, &["tests that never came: 3 tests were planned, 1 came"])),
            ),
            (
                "TAP version 14\nok 1\nBail out! no disk\n",
                Some((1, 1, 0, &["Bail out!: no disk"])),
            ),
            (
                "TAP version 13\n# Subtest: outer\n    # Subtest: inner\n    ok 1 - inner\n    not ok 2 - bad\n      ---\n      error: e\n      ...\n    1..2\nnot ok 1 - outer\n  ---\n  error: 1 subtest failed\n  ...\nok 2 - last\n1..2\n",
                Some((2, 1, 0, &["outer > bad: error: e"])),
            ),
            (
                "1..1\nnot ok 1 - hash \\# in name # because\n",
                Some((0, 1, 0, &["hash \\# in name # because: "])),
            ),
        ];
        for (text, expected) in cases {
            let summary = said(text);
            let failures: Vec<String> = summary
                .iter()
                .flat_map(|s| &s.failures)
                .map(|f| format!("{}: {}", f.name, f.message))
                .collect();
            let counts = summary.map(|s| (s.passed, s.failed, s.skipped));
            assert_eq!(counts, expected.map(|(p, f, s, _)| (p, f, s)), "{text}");
            assert_eq!(failures, expected.map_or(&[][..], |e| e.3), "{text}");
        }
    }
}
