//! Starting an attempt once: the container by its name, the job through its standard input.
//!
//! The job goes in through the connection that was attached before the start, because whatever a container is made
//! with can be read by everybody who may ask the daemon. Only who made a container delivers a job to it. A container
//! whose job never arrived ends by itself, and as long as its supervisor has not written that the step has started, the
//! step was not: then the container is removed, which makes the name free and whoever still holds its id fail.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::DockerExecutor;
use super::container::{self, ATTEMPT, EXECUTION, ROOT, attempt_name, holder_name, labels};
use super::fault::{Fault, Kind};
use super::job;
use super::notes::{self, Said};
use super::observe::{Stage, stage_of};
use super::pool::Client;
use super::remove::inspect;
use crate::domain::{AttemptId, ExecutionId};
use crate::executors::contract::{Handle, StartAttempt};

/// A supervisor says within milliseconds that it has its job; one that doesn't in this time never got it.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const ANSWER_LOOKS: u32 = 150;
/// How long somebody may take from making a container to starting it.
const UNSTARTED_MAX: Duration = Duration::from_secs(20);
const UNSTARTED_LOOKS: u32 = 200;
/// How often a container of the name is found and removed before it is given up.
const ROUNDS: u32 = 20;

/// What became of a container that was there already.
enum Found {
    /// Its step was started.
    Started,
    /// Its step was not, and now it is gone.
    Removed,
}

impl DockerExecutor {
    pub(super) async fn start_attempt(&self, execution: ExecutionId, start: &StartAttempt) -> Result<Handle, Fault> {
        let client = self.client().await?;
        let starting = self.pool.starting(start.attempt);
        let _held = starting.lock().await;
        let path = match &self.block.path {
            Some(path) => path.clone(),
            None => self.image_path(&client).await?,
        };
        let job = job::write(start, &path)?;
        let marks = labels(
            execution,
            &[
                (ATTEMPT, start.attempt.to_string()),
                (job::GRACE, job.grace_ms.to_string()),
            ],
        );
        let body = container::attempt(&self.block, execution, start, job.program.clone(), marks);
        let name = attempt_name(start.attempt);
        for _ in 0..ROUNDS {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            match client.slow.create_container(Some(options), body.clone()).await {
                Ok(made) => match self.deliver(&client, &made.id, &job.text).await {
                    Ok(()) => return Ok(self.handle(execution, start)),
                    // Somebody else took it for abandoned.
                    Err(fault) if fault.text.contains("No such container") => continue,
                    Err(fault) => return Err(fault),
                },
                Err(error) => match Fault::of("make the container", &error) {
                    fault if fault.kind == Kind::Conflict => {}
                    fault => return Err(self.unanswered(fault)),
                },
            }
            if let Found::Started = self.found(&client, execution, start).await? {
                return Ok(self.handle(execution, start));
            }
        }
        Err(Fault::new(Kind::Unreachable, "the attempt is being started elsewhere"))
    }

    fn handle(&self, execution: ExecutionId, start: &StartAttempt) -> Handle {
        Handle {
            attempt: start.attempt,
            place: container::volume_name(execution),
        }
    }

    /// Starts a container that was just made, by its id, and hands it its job.
    async fn deliver(&self, client: &Client, id: &str, job: &str) -> Result<(), Fault> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stream(true)
            .build();
        let attached = client.slow.attach_container(id, Some(options)).await;
        let mut attached = attached.map_err(|error| self.unanswered(Fault::of("attach to the container", &error)))?;
        if let Err(error) = client.slow.start_container(id, None::<StartContainerOptions>).await {
            let fault = Fault::of("start the container", &error);
            if !matches!(fault.kind, Kind::Unreachable) {
                // It was never started, so it may go; and must, for the name would be taken for an attempt.
                let _ = self.remove(client, id, Force::No).await;
            }
            return Err(self.unanswered(fault));
        }
        let said = async {
            // A container that ended meanwhile doesn't take it; what it said tells why.
            let _ = attached.input.write_all(job.as_bytes()).await;
            let _ = attached.input.shutdown().await;
            heard(&mut attached.output).await
        };
        match tokio::time::timeout(ANSWER_MAX, said).await {
            Ok(Ok(Said::Started)) => Ok(()),
            Ok(Ok(Said::Refused(why))) => {
                let _ = self.remove(client, id, Force::Yes).await;
                Err(notes::fault(&why))
            }
            _ => {
                let why = "the supervisor in the container did not say that it has its job";
                Err(Fault::new(Kind::Unreachable, why))
            }
        }
    }

    /// Looks at the container that has the name: whether its step was started. If it was not, it is removed.
    async fn found(&self, client: &Client, execution: ExecutionId, start: &StartAttempt) -> Result<Found, Fault> {
        let name = attempt_name(start.attempt);
        let found = match inspect(client, &name).await {
            Ok(found) => found,
            Err(error) => match Fault::of("look at the container", &error) {
                fault if fault.kind == Kind::NotFound => return Ok(Found::Removed),
                fault => return Err(self.unanswered(fault)),
            },
        };
        let id = found.id.clone().unwrap_or_default();
        if label(&found, ATTEMPT) != Some(&start.attempt.to_string())
            || label(&found, EXECUTION) != Some(&execution.to_string())
        {
            let text = format!("there is a container {name} that is not of this attempt");
            return Err(Fault::refused(text));
        }
        match stage_of(&found) {
            // Not by force: should somebody start it in this moment, it stays.
            Stage::Created if self.stays_unstarted(client, &id).await? => self.remove(client, &id, Force::No).await?,
            Stage::Created => return Box::pin(self.found(client, execution, start)).await,
            Stage::Gone => {}
            Stage::Running | Stage::Exited { .. } => {
                if self.has_started(client, &id, execution, start.attempt).await? {
                    return Ok(Found::Started);
                }
                self.remove(client, &id, Force::Yes).await?;
            }
        }
        Ok(Found::Removed)
    }

    /// Whether a container that was only made is still no more than that after a while: whoever made it may be about to
    /// start it.
    async fn stays_unstarted(&self, client: &Client, id: &str) -> Result<bool, Fault> {
        let mut looks = tokio::time::interval(UNSTARTED_MAX / UNSTARTED_LOOKS);
        for _ in 0..=UNSTARTED_LOOKS {
            looks.tick().await;
            if !matches!(self.stage(client, id).await?, Stage::Created) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a container's step was started: known for sure once its supervisor has written so, or is dead.
    async fn has_started(
        &self,
        client: &Client,
        id: &str,
        execution: ExecutionId,
        attempt: AttemptId,
    ) -> Result<bool, Fault> {
        let note = format!("{ROOT}/attempts/{attempt}/started");
        let mut looks = tokio::time::interval(ANSWER_MAX / ANSWER_LOOKS);
        for _ in 0..=ANSWER_LOOKS {
            looks.tick().await;
            // In this order, or the note could come between the two looks.
            let stage = self.stage(client, id).await?;
            let there = self.at_path(client, &holder_name(execution), &note).await?;
            if there.is_some_and(|there| there.size > 0) {
                return Ok(true);
            }
            if stage != Stage::Running {
                return Ok(false);
            }
        }
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        if let Err(error) = client.quick.kill_container(id, Some(options)).await {
            let fault = Fault::of("end the container", &error);
            if !matches!(fault.kind, Kind::Conflict | Kind::NotFound) {
                return Err(self.unanswered(fault));
            }
        }
        self.await_end(client, id, ANSWER_MAX).await;
        if self.stage(client, id).await? == Stage::Running {
            return Err(Fault::new(Kind::Unreachable, "the container of an attempt doesn't end"));
        }
        let there = self.at_path(client, &holder_name(execution), &note).await?;
        Ok(there.is_some_and(|there| there.size > 0))
    }

    /// Removes one container with the volumes that its image made for it.
    pub(super) async fn remove(&self, client: &Client, id: &str, force: Force) -> Result<(), Fault> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(force == Force::Yes)
            .v(true)
            .build();
        let Err(error) = client.slow.remove_container(id, Some(options)).await else {
            return Ok(());
        };
        match Fault::of("remove the container", &error) {
            fault if fault.kind == Kind::NotFound => Ok(()),
            // Running, or being removed by somebody else: the next look tells.
            fault if fault.kind == Kind::Conflict => Ok(()),
            fault => Err(self.unanswered(fault)),
        }
    }

    /// The PATH that the image brings.
    async fn image_path(&self, client: &Client) -> Result<String, Fault> {
        let image = client.quick.inspect_image(&self.block.image).await;
        let image = image.map_err(|error| self.unanswered(Fault::of("look at the image", &error)))?;
        let env = image.config.and_then(|config| config.env).unwrap_or_default();
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH="));
        Ok(path.unwrap_or(job::PATH).to_owned())
    }
}

/// Whether a container may be removed that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    Yes,
    No,
}

fn label<'a>(found: &'a ContainerInspectResponse, name: &str) -> Option<&'a String> {
    found.config.as_ref()?.labels.as_ref()?.get(name)
}

/// Listens until the supervisor has said whether the step was started, or that it ended without a word.
async fn heard(output: &mut (impl Stream<Item = Result<LogOutput, Error>> + Unpin + ?Sized)) -> Result<Said, Error> {
    let mut text = Vec::new();
    while let Some(piece) = output.next().await {
        text.extend_from_slice(piece?.as_ref());
        let said = notes::read(&String::from_utf8_lossy(&text));
        if !matches!(said, Said::Nothing) {
            return Ok(said);
        }
    }
    Ok(Said::Nothing)
}
