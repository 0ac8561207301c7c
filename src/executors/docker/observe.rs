//! Following an attempt: its output from any offset, and how it ended.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ExecConfig};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::DockerExecutor;
use super::container::{ROOT, attempt_name, execution_of, holder_name};
use super::fault::{Fault, Kind};
use super::follow::{End, Follow, Live, News};
use super::pool::Client;
use super::remove::{inspect, is_nameless};
use crate::domain::AttemptId;
use crate::executors::contract::{AttemptState, ExitReport, Handle, Observation};
use crate::executors::posix::exit_report;

/// A step that ends within this time is not worth a second process in its container.
const SHORT: Duration = Duration::from_millis(150);
/// The longest exit note, and a bit more.
const NOTE_MAX: u64 = 16 * 1024;

/// What is asked of an attempt's output.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub from: u64,
    pub max: usize,
}

/// A container, as far as its end is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Made and never started.
    Created,
    Running,
    /// With its exit code, and whether the memory ran out.
    Exited {
        code: i64,
        out_of_memory: bool,
    },
    Gone,
}

/// What the supervisor left in the attempt's folder.
#[derive(Default)]
struct Left {
    has_started: bool,
    exit: String,
    output: Option<(std::fs::File, u64)>,
}

impl DockerExecutor {
    pub(super) async fn follow(&self, handle: &Handle, window: Window, wait: Duration) -> Result<Observation, Fault> {
        let deadline = Instant::now() + wait;
        let client = self.client().await?;
        if let Some(execution) = execution_of(&handle.place) {
            self.learn_of_attempt(&client, execution, handle.attempt).await?;
        }
        let kept = self.pool.follow(handle.attempt);
        let Ok(mut follow) = timeout_at(deadline, kept.lock()).await else {
            return Ok(running(Bytes::new()));
        };
        loop {
            if let Some(end) = &follow.end {
                let part = end.part(window.from, window.max);
                return part
                    .map_err(|error| Fault::new(Kind::Unreachable, format!("failed to read the output: {error}")));
            }
            let output = follow.take(window.from, window.max);
            if !output.is_empty() {
                return Ok(running(output));
            }
            let looked = timeout_at(deadline, self.look(&client, handle, window.from, &mut follow)).await;
            match looked {
                Ok(News::Output) => {}
                Ok(News::Ended) => self.conclude(&client, handle, &mut follow).await?,
                Err(_) => {
                    self.check_alive(&client, handle, &mut follow).await?;
                    return Ok(running(Bytes::new()));
                }
            }
        }
    }

    /// Waits for output or for the end, with whatever has to be opened for that. Dropped halfway it loses nothing.
    async fn look(&self, client: &Client, handle: &Handle, from: u64, follow: &mut Follow) -> News {
        let container = attempt_name(handle.attempt);
        if follow.ending.is_none() {
            let ending = client.slow.wait_container(&container, None);
            // An exit code other than 0 is an error to the client, as is a container that is gone.
            follow.ending = Some(Box::pin(ending.map(drop)));
        }
        if follow.live.is_none() {
            // Also bounds how often a process in the container is started that ends at once.
            match tokio::time::timeout(SHORT, follow.news()).await {
                Ok(News::Ended) => return News::Ended,
                Ok(News::Output) | Err(_) => {}
            }
            match self.tap(client, handle, from).await {
                Ok(live) => follow.open(live, from),
                // Without it the output comes at the end: limits of the container may leave no room for it.
                Err(error) => tracing::debug!(%error, "the output of a running step can't be followed now"),
            }
        }
        follow.news().await
    }

    /// Starts a process in the container that passes the output on from `from`.
    async fn tap(&self, client: &Client, handle: &Handle, from: u64) -> Result<Live, bollard::errors::Error> {
        let folder = format!("{ROOT}/attempts/{}", handle.attempt);
        let text = format!(
            "cd {folder} || exit; while [ ! -e out ]; do sleep 0.1 || sleep 1; done; exec 3<out; \
             printf 'cw-follows:\\000'; [ {from} = 0 ] || dd bs=1 skip={from} count=0 <&3 >/dev/null 2>&1; \
             while :; do cat <&3; sleep 0.1 || sleep 1; done"
        );
        let config = ExecConfig {
            attach_stdout: Some(true),
            cmd: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), text]),
            ..ExecConfig::default()
        };
        let made = client.quick.create_exec(&attempt_name(handle.attempt), config).await?;
        match client.quick.start_exec(&made.id, None::<StartExecOptions>).await? {
            StartExecResults::Attached { output, .. } => Ok(output),
            StartExecResults::Detached => Ok(Box::pin(futures_util::stream::empty())),
        }
    }

    /// A silent connection may be a broken one: the daemon is asked on another.
    async fn check_alive(&self, client: &Client, handle: &Handle, follow: &mut Follow) -> Result<(), Fault> {
        match self.stage(client, &attempt_name(handle.attempt)).await {
            Ok(Stage::Running) => Ok(()),
            Ok(_) => {
                follow.close();
                Ok(())
            }
            Err(fault) => {
                follow.close();
                Err(fault)
            }
        }
    }

    /// Finds out how the attempt ended, if it did, and fetches what it printed.
    async fn conclude(&self, client: &Client, handle: &Handle, follow: &mut Follow) -> Result<(), Fault> {
        follow.close();
        let stage = self.stage(client, &attempt_name(handle.attempt)).await?;
        if stage == Stage::Running {
            return Ok(());
        }
        let left = self.left(client, handle).await?;
        let (output, size) = match left.output {
            Some(output) => output,
            None => (self.spool()?, 0),
        };
        let state = judge(stage, left.has_started, exit_report(&left.exit));
        follow.end = Some(End { state, output, size });
        Ok(())
    }

    fn spool(&self) -> Result<std::fs::File, Fault> {
        let failed = |error| {
            Fault::new(
                Kind::Unreachable,
                format!("failed to make a file for the output: {error}"),
            )
        };
        tempfile::tempfile_in(&self.scratch).map_err(failed)
    }

    /// Fetches the attempt's folder.
    async fn left(&self, client: &Client, handle: &Handle) -> Result<Left, Fault> {
        let Some(execution) = execution_of(&handle.place) else {
            return Err(Fault::refused("the handle of the attempt can't be read"));
        };
        let path = format!("{ROOT}/attempts/{}", handle.attempt);
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        let mut stream = Box::pin(
            client
                .slow
                .download_from_container(&holder_name(execution), Some(options)),
        );
        // The first piece tells whether there is anything at all.
        let first = match stream.next().await {
            Some(Err(error)) => match Fault::of("read what the attempt left", &error) {
                fault if matches!(fault.kind, Kind::NotFound | Kind::NoShell) => return Ok(Left::default()),
                fault => return Err(self.unanswered(fault)),
            },
            Some(Ok(first)) => first,
            None => return Ok(Left::default()),
        };
        let all = futures_util::stream::iter([Ok(first)]).chain(stream);
        let reader = StreamReader::new(Box::pin(all.map_err(std::io::Error::other)));
        let (bridge, spool, attempt) = (SyncIoBridge::new(reader), self.spool()?, handle.attempt);
        let read = tokio::task::spawn_blocking(move || unpack(bridge, spool, attempt)).await;
        let failed = |error| {
            Fault::new(
                Kind::Unreachable,
                format!("failed to read what the attempt left: {error}"),
            )
        };
        read.map_err(std::io::Error::other).flatten().map_err(failed)
    }

    /// Waits until a container doesn't run, at most for some time.
    pub(super) async fn await_end(&self, client: &Client, container: &str, most: Duration) {
        let mut waiting = Box::pin(client.slow.wait_container(container, None));
        let _ = tokio::time::timeout(most, waiting.next()).await;
    }

    pub(super) async fn stage(&self, client: &Client, container: &str) -> Result<Stage, Fault> {
        match inspect(client, container).await {
            Ok(found) => Ok(stage_of(&found)),
            Err(error) if is_nameless(&error) => Ok(Stage::Running),
            Err(error) => match Fault::of("look at the container", &error) {
                fault if fault.kind == Kind::NotFound => Ok(Stage::Gone),
                fault => Err(self.unanswered(fault)),
            },
        }
    }
}

fn unpack(source: impl std::io::Read, mut spool: std::fs::File, attempt: AttemptId) -> std::io::Result<Left> {
    let mut left = Left::default();
    let mut archive = tar::Archive::new(source);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name
            .trim_start_matches("./")
            .strip_prefix(&attempt.to_string())
            .unwrap_or_default();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        match name {
            "/started" => left.has_started = entry.size() > 0,
            "/exit" => {
                let mut note = Vec::new();
                entry.take(NOTE_MAX).read_to_end(&mut note)?;
                left.exit = String::from_utf8_lossy(&note).into_owned();
            }
            "/out" => {
                let size = std::io::copy(&mut entry, &mut spool)?;
                spool.flush()?;
                left.output = Some((spool.try_clone()?, size));
            }
            _ => {}
        }
    }
    Ok(left)
}

pub(super) fn stage_of(found: &ContainerInspectResponse) -> Stage {
    let state = found.state.as_ref();
    match state.and_then(|state| state.status) {
        Some(ContainerStateStatusEnum::CREATED) => Stage::Created,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Stage::Exited {
            code: state.and_then(|state| state.exit_code).unwrap_or(-1),
            out_of_memory: state.and_then(|state| state.oom_killed).unwrap_or(false),
        },
        Some(ContainerStateStatusEnum::REMOVING) => Stage::Gone,
        _ => Stage::Running,
    }
}

const OUT_OF_MEMORY: &str = "it ran out of memory";

/// What the supervisor left, together with what the daemon knows.
fn judge(stage: Stage, has_started: bool, report: Option<ExitReport>) -> AttemptState {
    let (code, out_of_memory) = match stage {
        Stage::Exited { code, out_of_memory } => (code, out_of_memory),
        _ => (-1, false),
    };
    match (report, has_started) {
        (Some(mut report), _) => {
            // Without a 0 at the end, the process that the kernel ended is the likely reason.
            if out_of_memory && report.exit_code != Some(0) && report.exec_error.is_none() && !report.timed_out {
                report.exec_error = Some(OUT_OF_MEMORY.to_owned());
            }
            AttemptState::Ended(report)
        }
        (None, _) if stage == Stage::Gone => AttemptState::Lost("its container is gone".to_owned()),
        // The supervisor is the smallest process in there; when it is ended so is the step.
        (None, true) if out_of_memory => AttemptState::Ended(ExitReport {
            signal: Some(9),
            exec_error: Some(OUT_OF_MEMORY.to_owned()),
            ..ExitReport::default()
        }),
        (None, true) => AttemptState::Lost(format!(
            "its container was ended from outside, without a note of the step's end (exit code {code})"
        )),
        (None, false) => AttemptState::NeverStarted(format!(
            "its container ended before the step was started (exit code {code})"
        )),
    }
}

fn running(output: Bytes) -> Observation {
    Observation {
        output,
        state: AttemptState::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_strangers_are_told_apart_from_the_work() {
        let exited = |code, out_of_memory| Stage::Exited { code, out_of_memory };
        let report = |code| ExitReport {
            exit_code: Some(code),
            ..ExitReport::default()
        };
        let said = |state| match state {
            AttemptState::Ended(report) => report.exec_error,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(judge(exited(0, false), true, Some(report(137)))), None);
        assert_eq!(said(judge(exited(0, true), true, Some(report(0)))), None);
        let memory = Some(OUT_OF_MEMORY.to_owned());
        assert_eq!(said(judge(exited(0, true), true, Some(report(137)))), memory);
        assert_eq!(said(judge(exited(137, true), true, None)), memory);
        assert!(matches!(judge(exited(137, false), true, None), AttemptState::Lost(_)));
        assert!(matches!(judge(Stage::Gone, false, None), AttemptState::Lost(_)));
        assert!(matches!(
            judge(Stage::Created, false, None),
            AttemptState::NeverStarted(_)
        ));
        assert!(matches!(
            judge(exited(2, false), false, None),
            AttemptState::NeverStarted(_)
        ));
    }
}
