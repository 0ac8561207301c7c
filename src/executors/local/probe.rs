//! Learning what the machine offers, by running each tool as a step would be run.
//!
//! Every tool is asked by an attempt of a throw-away execution: the same user, the same fences, the same end of the
//! whole tree. So what a probe lists is what a step can use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{LocalExecutor, failed, folder_of, remove};
use crate::domain::facts::{PROBED_TOOLS, Tool};
use crate::domain::{AttemptId, ExecutionId, Facts};
use crate::executors::contract::{
    AttemptState, Executor as _, ExecutorError, ExitReport, Handle, ProcessLimits, StartAttempt, Trouble, Workspace,
};
use crate::executors::folder::{RunFolder, absent_is_none};

/// How many tools are asked at once.
const AT_ONCE: usize = 4;
/// A tool that takes longer to tell its version is not one to wait for.
const TIMEOUT: Duration = Duration::from_secs(20);
const OUTPUT_MAX: u64 = 64 * 1024;
/// The file by which the run folder of a probe is known.
const LOCK: &str = "probe.lock";

/// What one tool said.
struct Answer {
    report: ExitReport,
    output: String,
    isolation: Vec<String>,
}

/// The throw-away execution of a probe. Dropped halfway, as when clawhand stops, it takes its processes and files
/// along. Of one whose clawhand was killed the lock is free, by which [`sweep`] knows it.
struct Throwaway {
    run: RunFolder,
    _lock: File,
}

impl Throwaway {
    /// Makes the run folder. The lock is the first thing in it, and nobody sees it before it is held.
    fn new(executor: &LocalExecutor, execution: ExecutionId) -> io::Result<Self> {
        let run = executor.run_folder(execution);
        executor.make_run(&run)?;
        let fresh = run.path().join("probe.lock.new");
        let lock = File::create(&fresh)?;
        lock.lock()?;
        std::fs::rename(fresh, run.path().join(LOCK))?;
        Ok(Self { run, _lock: lock })
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let Err(error) = remove::discard(&self.run) {
            tracing::warn!(%error, "a probe can't be removed now; it will be later");
        }
    }
}

/// Whether this run folder was of a probe whose clawhand is gone. If so it is removed.
pub(super) fn sweep(run: &RunFolder) -> io::Result<bool> {
    if remove::is_discarded(run) {
        return remove::discard(run).map(|()| true);
    }
    match absent_is_none(File::open(run.path().join(LOCK)))? {
        Some(lock) if lock.try_lock().is_ok() => remove::discard(run).map(|()| true),
        _ => Ok(false),
    }
}

pub(super) async fn probe(executor: &LocalExecutor) -> Result<Facts, Trouble> {
    let execution = ExecutionId::random();
    // At once, and not on a thread that may block: dropped meanwhile, that would make the folder all the same, and nobody
    // would take it along.
    let throwaway = Throwaway::new(executor, execution).map_err(|error| failed("begin a probe", &error))?;
    let workspace = executor.lay_out(execution, &[])?;
    let questions: Vec<_> = PROBED_TOOLS
        .into_iter()
        .map(|(name, argument)| ask(executor, &workspace, name, argument))
        .collect();
    let asked: Result<Vec<_>, _> = futures_util::stream::iter(questions)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await;
    // Not as other executions are: killed in the middle of that, it could leave a folder without the lock.
    drop(throwaway);
    let mut tools = BTreeMap::new();
    let mut isolation = BTreeSet::new();
    for (name, answer) in asked? {
        isolation.extend(answer.isolation);
        if answer.report.exit_code == Some(0) {
            let version = version_in(&answer.output).unwrap_or_default().to_owned();
            tools.insert(name.to_owned(), Tool { version });
        }
    }
    Ok(Facts {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        tools,
        isolation: isolation.into_iter().collect(),
        learned_at: executor.settings.now.now(),
    })
}

async fn ask(
    executor: &LocalExecutor,
    workspace: &Workspace,
    name: &'static str,
    argument: &'static str,
) -> Result<(&'static str, Answer), ExecutorError> {
    let arguments = (!argument.is_empty()).then(|| argument.to_owned());
    let start = StartAttempt {
        attempt: AttemptId::random(),
        argv: std::iter::once(name.to_owned()).chain(arguments).collect(),
        call: None,
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout: TIMEOUT,
        grace: Duration::from_secs(1),
        max_output_bytes: OUTPUT_MAX,
        limits: ProcessLimits::default(),
    };
    let handle = executor.start(workspace, &start).await?;
    let (report, output) = to_the_end(executor, &handle).await?;
    let isolation = folder_of(&handle)
        .exit()
        .ok()
        .flatten()
        .map(|note| note.isolation)
        .unwrap_or_default();
    let answer = Answer {
        report,
        output: String::from_utf8_lossy(&output).into_owned(),
        isolation,
    };
    Ok((name, answer))
}

async fn to_the_end(executor: &LocalExecutor, handle: &Handle) -> Result<(ExitReport, Vec<u8>), ExecutorError> {
    let mut output = Vec::new();
    loop {
        let seen = executor
            .observe(handle, output.len() as u64, usize::MAX, TIMEOUT)
            .await?;
        output.extend_from_slice(&seen.output);
        match seen.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => return Ok((report, output)),
            // Not a tool to rely on, but no reason to give up on the others.
            AttemptState::NeverStarted(_) | AttemptState::Lost(_) => return Ok((ExitReport::default(), output)),
        }
    }
}

/// The first dotted number: `3.11.2` in "Python 3.11.2", `1.21.5` in "go version go1.21.5 linux/amd64".
pub(in crate::executors) fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|run| run.trim_matches('.'))
        .find(|run| run.contains('.') && !run.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_in_what_tools_say() {
        for (text, version) in [
            ("Python 3.11.2\n", Some("3.11.2")),
            ("go version go1.21.5 linux/amd64", Some("1.21.5")),
            ("openjdk version \"17.0.9\" 2023-10-17", Some("17.0.9")),
            ("v18.19.0", Some("18.19.0")),
            ("gcc (Debian 12.2.0-14) 12.2.0", Some("12.2.0")),
            ("tar (GNU tar) 1.34.", Some("1.34")),
            ("no number ...", None),
            ("", None),
        ] {
            assert_eq!(version_in(text), version, "{text:?}");
        }
    }
}
