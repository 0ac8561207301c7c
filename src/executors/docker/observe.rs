//! Following an attempt: its output from any offset, and how it ended.

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::InspectContainerOptions;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::DockerExecutor;
use super::container::attempt_name;
use super::fault::{Fault, Kind};
use super::follow::Follow;
use super::notes::{self, Said};
use super::pool::Client;
use crate::executors::contract::{AttemptState, ExitReport, Handle, Observation};

/// How long the end of a log and the end of its container may lie apart.
const APART: Duration = Duration::from_secs(5);

/// What is asked of an attempt's output.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub from: u64,
    pub max: usize,
}

/// A container, as far as its end is concerned.
pub(super) enum Stage {
    /// Made and never started.
    Created,
    Running,
    /// With its exit code, and whether the memory ran out.
    Exited { code: i64, out_of_memory: bool },
    Gone,
}

impl DockerExecutor {
    pub(super) async fn follow(&self, handle: &Handle, window: Window, wait: Duration) -> Result<Observation, Fault> {
        let deadline = Instant::now() + wait;
        let client = self.client().await?;
        let container = attempt_name(handle.attempt);
        let kept = self.pool.follow(handle.attempt);
        let Ok(mut follow) = timeout_at(deadline, kept.lock()).await else {
            return Ok(running(Bytes::new()));
        };
        follow.open(&client, &container, window.from);
        loop {
            let output = follow.take(window.from, window.max);
            if let Some(state) = follow.tell(&output, window.from, window.max) {
                return Ok(Observation { output, state });
            }
            if follow.is_unexplained() {
                match self.end(&client, &container, &follow.notes()).await? {
                    Some(state) => follow.explain(state),
                    // The daemon closed the log and goes on running the container, as when it was started anew.
                    None => {
                        follow.close();
                        follow.open(&client, &container, window.from);
                    }
                }
                continue;
            }
            match timeout_at(deadline, follow.more(window.from)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.without_log(Fault::of("read the container's log", &error)),
                Err(_) => {
                    self.check_alive(&client, &container, &mut follow).await?;
                    return Ok(running(Bytes::new()));
                }
            }
        }
    }

    fn without_log(&self, fault: Fault) -> Result<Observation, Fault> {
        match fault.kind {
            Kind::NotFound => Ok(Observation {
                output: Bytes::new(),
                state: AttemptState::Lost("its container is gone".to_owned()),
            }),
            _ => Err(self.unanswered(fault)),
        }
    }

    /// A silent connection may be a broken one: the daemon is asked on another, and the log is opened anew if it went
    /// on without us.
    async fn check_alive(&self, client: &Client, container: &str, follow: &mut Follow) -> Result<(), Fault> {
        match self.stage(client, container).await {
            Ok(Stage::Running | Stage::Created) => Ok(()),
            Ok(Stage::Exited { .. } | Stage::Gone) => {
                follow.close();
                Ok(())
            }
            Err(fault) => {
                follow.close();
                Err(fault)
            }
        }
    }

    /// How the attempt ended, now that its log did; nothing if it goes on.
    async fn end(&self, client: &Client, container: &str, notes: &str) -> Result<Option<AttemptState>, Fault> {
        let mut stage = self.stage(client, container).await?;
        if matches!(stage, Stage::Running) {
            self.await_end(client, container, APART).await?;
            stage = self.stage(client, container).await?;
        }
        Ok(match stage {
            Stage::Running => None,
            Stage::Created => Some(AttemptState::NeverStarted("its container was never started".to_owned())),
            Stage::Gone => Some(AttemptState::Lost("its container is gone".to_owned())),
            Stage::Exited { code, out_of_memory } => {
                Some(judge(notes::read(notes), code, out_of_memory))
            }
        })
    }

    /// Waits until a container doesn't run, at most for some time.
    pub(super) async fn await_end(&self, client: &Client, container: &str, most: Duration) -> Result<(), Fault> {
        use futures_util::StreamExt as _;
        let mut waiting = Box::pin(client.quick.wait_container(container, None));
        match tokio::time::timeout(most, waiting.next()).await {
            Ok(Some(Err(error))) => {
                let fault = Fault::of("wait for the container", &error);
                // An exit code other than 0 is an error to the client, and none to us.
                let has_ended = matches!(error, bollard::errors::Error::DockerContainerWaitError { .. });
                if has_ended || fault.kind == Kind::NotFound {
                    return Ok(());
                }
                Err(self.unanswered(fault))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn stage(&self, client: &Client, container: &str) -> Result<Stage, Fault> {
        match client.quick.inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(stage_of(&found)),
            Err(error) => match Fault::of("look at the container", &error) {
                fault if fault.kind == Kind::NotFound => Ok(Stage::Gone),
                fault => Err(self.unanswered(fault)),
            },
        }
    }
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

/// What the supervisor said, together with what the daemon knows.
fn judge(said: Said, code: i64, out_of_memory: bool) -> AttemptState {
    match said {
        Said::Ended(mut report) => {
            // Without a 0 at the end, the process that the kernel ended is the likely reason.
            if out_of_memory && report.exit_code != Some(0) && report.exec_error.is_none() && !report.timed_out {
                report.exec_error = Some(OUT_OF_MEMORY.to_owned());
            }
            AttemptState::Ended(report)
        }
        Said::Refused(why) => AttemptState::NeverStarted(why),
        Said::Nothing => AttemptState::NeverStarted(format!(
            "its container ended before the step was started (exit code {code})"
        )),
        // The supervisor is the smallest process in there; when it is ended so is the step.
        Said::Started if out_of_memory => AttemptState::Ended(ExitReport {
            signal: Some(9),
            exec_error: Some(OUT_OF_MEMORY.to_owned()),
            ..ExitReport::default()
        }),
        Said::Started => AttemptState::Lost(format!(
            "its container was ended from outside, without a note of the step's end (exit code {code})"
        )),
    }
}

fn running(output: Bytes) -> Observation {
    Observation {
        output,
        state: AttemptState::Running,
    }
}
