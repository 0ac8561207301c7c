//! What the core of the contract asks for, in words of no kind, and how kinds that run processes do it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clawhand::executors::{ExitReport, StartAttempt};

use super::{attempt, sh};

/// The secret of [`Work::KnowsASecret`].
pub const SECRET: &str = "s3cret-value";

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Gives exactly these bytes, and ends well.
    Gives(Vec<u8>),
    /// Gives so many bytes of [`much`], and ends well.
    GivesMuch(usize),
    /// Ends as work does that failed, which [`super::System::failure`] describes.
    Fails,
    /// Says that it has begun, and doesn't end by itself.
    Holds,
    /// The same, with 2 seconds' time.
    TakesTooLong,
    /// The same, and it only begins if it was given [`SECRET`].
    KnowsASecret,
    /// Says that it has begun, goes on until it is let go, and ends well.
    GoesOn,
    /// Leaves the files of [`super::System::files`], and ends well.
    LeavesFiles,
}

/// Text with a period of 16 bytes: a lost or doubled piece of any other length shows.
pub fn much(size: usize) -> Vec<u8> {
    b"0123456789abcde\n".iter().copied().cycle().take(size).collect()
}

/// Processes that get away as far as they can: in the background, in sessions of their own, forked twice with nothing
/// of their parents' left open.
const TREE: &str = "sleep 1000 & \
    setsid sleep 1000 & \
    (setsid sleep 1000 </dev/null >/dev/null 2>&1 &) ; \
    sh -c 'sleep 1000 & wait' & ";

/// The mark that each run of an attempt leaves in its workspace, a line each.
pub fn mark(attempt: &str) -> String {
    format!("ran-{attempt}")
}

/// The work as a shell script.
pub fn by_shell(work: &Work, files: &[(String, Vec<u8>)]) -> StartAttempt {
    let script = match work {
        Work::Gives(bytes) => print(bytes),
        Work::GivesMuch(size) => format!("yes 0123456789abcde | head -c {size}"),
        Work::Fails => "echo no; exit 3".to_owned(),
        Work::Holds | Work::TakesTooLong => format!("{TREE} echo begun; wait"),
        Work::KnowsASecret => format!("[ ${{#TOKEN}} = {} ] || exit 1; {TREE} echo begun; wait", SECRET.len()),
        // It lets itself go.
        Work::GoesOn => "echo begun; sleep 3; echo over".to_owned(),
        Work::LeavesFiles => files
            .iter()
            .map(|(name, content)| {
                let folder = name.rsplit_once('/').map_or(".", |(folder, _)| folder);
                format!("mkdir -p {folder}; {} > {name}; ", print(content))
            })
            .collect(),
    };
    let mut start = sh(&format!("echo ran >> {}; {script}", mark("$CLAWHAND_ATTEMPT")));
    if *work == Work::TakesTooLong {
        start.timeout = Duration::from_secs(2);
    }
    if *work == Work::KnowsASecret {
        start.secrets = BTreeMap::from([("TOKEN".to_owned(), SECRET.to_owned())]);
    }
    start
}

/// What stands in the output of such a script.
pub fn printed(work: &Work) -> Vec<u8> {
    match work {
        Work::Gives(bytes) => bytes.clone(),
        Work::GivesMuch(size) => much(*size),
        Work::Fails => b"no\n".to_vec(),
        Work::Holds | Work::TakesTooLong | Work::KnowsASecret => b"begun\n".to_vec(),
        Work::GoesOn => b"begun\nover\n".to_vec(),
        Work::LeavesFiles => Vec::new(),
    }
}

fn print(bytes: &[u8]) -> String {
    let mut script = "printf '".to_owned();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b' ' => script.push(char::from(*byte)),
            byte => write!(script, "\\{byte:03o}").expect("writes"),
        }
    }
    script + "'"
}

/// What no process can be given.
pub fn impossible() -> Vec<StartAttempt> {
    let mut starts = vec![attempt(&[]), attempt(&[""]), attempt(&["echo", "a\0b"])];
    for cwd in ["..", "/etc", "a/../..", "a//b"] {
        let mut start = sh("true");
        start.cwd = cwd.to_owned();
        starts.push(start);
    }
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let mut start = sh("true");
        start.secrets = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        starts.push(start);
    }
    starts
}

/// Ended well.
pub fn success() -> ExitReport {
    ExitReport {
        exit_code: Some(0),
        ..ExitReport::default()
    }
}
