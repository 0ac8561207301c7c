//! Reads what the tests of a step said, from its output or from the reports that it left.
//!
//! A [`Reader`] takes the output in pieces of any size and keeps little of it. Output and reports come from code that
//! nobody trusts: whatever is in them, a reader never panics, never grows without bound, and never makes names out of
//! thin air. What a reader says is told to the caller; whether the step succeeded is for its exit code.

mod cargo;
mod go;
mod junit;
mod lines;
mod tally;
mod tap;

use crate::domain::TestSummary;
use crate::domain::plan::ResultReader;

use lines::Lines;

/// Reads the results of one step.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Junit(junit::Junit),
    Go(Lines, go::Go),
    Cargo(Lines, cargo::Cargo),
    Tap(Lines, tap::Tap),
    ExitCode,
}

impl Reader {
    /// A reader that has seen nothing yet.
    pub fn new(reader: &ResultReader) -> Self {
        let kind = match reader {
            ResultReader::Junit { .. } => Kind::Junit(junit::Junit::default()),
            ResultReader::GoTestJson => Kind::Go(Lines::default(), go::Go::default()),
            ResultReader::CargoTest => Kind::Cargo(Lines::default(), cargo::Cargo::default()),
            ResultReader::Tap => Kind::Tap(Lines::default(), tap::Tap::default()),
            ResultReader::ExitCode => Kind::ExitCode,
        };
        Self { kind }
    }

    /// Takes the next piece of the step's output.
    pub fn output(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Go(lines, go) => lines.push(bytes, |line| go.line(line)),
            Kind::Cargo(lines, cargo) => lines.push(bytes, |line| cargo.line(line)),
            Kind::Tap(lines, tap) => lines.push(bytes, |line| tap.line(line)),
            Kind::Junit(_) | Kind::ExitCode => {}
        }
    }

    /// Takes a report: a file of the workspace that matches one of the reader's globs.
    pub fn report(&mut self, name: &str, bytes: &[u8]) {
        if let Kind::Junit(junit) = &mut self.kind {
            junit.report(name, bytes);
        }
    }

    /// What the tests said; nothing when there is no sign of tests; or why a report can't be read.
    pub fn finish(self) -> Result<Option<TestSummary>, String> {
        match self.kind {
            Kind::Junit(junit) => junit.finish(),
            Kind::Go(mut lines, mut go) => {
                lines.finish(|line| go.line(line));
                Ok(go.finish())
            }
            Kind::Cargo(mut lines, mut cargo) => {
                lines.finish(|line| cargo.line(line));
                Ok(cargo.finish())
            }
            Kind::Tap(mut lines, mut tap) => {
                lines.finish(|line| tap.line(line));
                Ok(tap.finish())
            }
            Kind::ExitCode => Ok(None),
        }
    }
}

/// The globs of the reports that a reader wants, relative to the workspace.
pub fn report_globs(reader: &ResultReader) -> &[String] {
    match reader {
        ResultReader::Junit { paths } => paths,
        _ => &[],
    }
}
