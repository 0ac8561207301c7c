//! Runs steps in containers of a Docker daemon, or of whatever speaks its API.
//!
//! An execution is a volume, and a container that is never started: through that one files come and go. An attempt is
//! a container of its own with the volume in it, whose main process is the supervisor of [`super::posix`]. All of it
//! bears labels, so any clawhand process finds it again; what is kept in memory ([`pool`]) only saves time.
//! Never here: a secret in what a container is made with, or a name that decides what is ours.
//! Start reading at [`DockerExecutor`], then at `start.rs`. docs/decisions/docker-executor.md has the reasons.

mod collect;
mod connect;
mod container;
mod fault;
mod follow;
mod job;
mod names;
mod notes;
mod observe;
mod parcel;
mod pool;
mod prepare;
mod probe;
mod remove;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::exec::StartExecOptions;
use bollard::models::ExecConfig;
use bollard::query_parameters::{InspectContainerOptions, KillContainerOptionsBuilder};

use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use crate::domain::target::DockerBlock;
use crate::domain::{Clock, ExecutionId, Facts};
use container::{ROOT, attempt_name, volume_name};
use fault::{Fault, Kind};
use observe::Window;
use pool::Client;
use prepare::Purpose;

pub use pool::DockerPool;

/// Runs steps in containers.
#[derive(Clone)]
pub struct DockerExecutor {
    pool: Arc<DockerPool>,
    scratch: PathBuf,
    now: Clock,
    block: DockerBlock,
}

impl DockerExecutor {
    /// With the connections that are open already, a folder of this machine for files on their way, and what the
    /// target says.
    pub fn new(pool: Arc<DockerPool>, scratch: PathBuf, now: Clock, block: DockerBlock) -> Self {
        Self {
            pool,
            scratch,
            now,
            block,
        }
    }

    async fn client(&self) -> Result<Client, Fault> {
        self.pool.client(&self.block).await
    }

    /// After a fault that may be one of the connection the next call makes a new one.
    fn unanswered(&self, fault: Fault) -> Fault {
        if fault.kind.is_about_the_way() {
            self.pool.forget(&self.block);
        }
        fault
    }

    /// TERM is what the supervisor ends the tree by, after the grace that it was started with. A shorter one is told to
    /// it from inside; where that is not possible, the longer one has to do.
    async fn ask_to_end(&self, handle: &Handle, grace: Duration) -> Result<(), Fault> {
        let client = self.client().await?;
        let name = attempt_name(handle.attempt);
        let options = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
        if let Err(error) = client.quick.kill_container(&name, Some(options)).await {
            return match Fault::of("end the attempt", &error) {
                fault if matches!(fault.kind, Kind::Conflict | Kind::NotFound) => Ok(()),
                fault => Err(self.unanswered(fault)),
            };
        }
        let found = client
            .quick
            .inspect_container(&name, None::<InspectContainerOptions>)
            .await;
        let labels = found.ok().and_then(|found| found.config?.labels);
        let known = labels.and_then(|labels| labels.get(job::GRACE)?.parse::<u128>().ok());
        if known.is_none_or(|known| grace.as_millis() < known)
            && let Err(error) = hurry(&client, &name, handle, grace).await
        {
            tracing::info!(%error, "a shorter grace can't be told to a step that is being ended");
        }
        Ok(())
    }
}

/// Tells the supervisor, as the user that it runs as, how long it may wait.
async fn hurry(client: &Client, name: &str, handle: &Handle, grace: Duration) -> Result<(), bollard::errors::Error> {
    let events = format!("{ROOT}/attempts/{}/events", handle.attempt);
    let text = format!(
        "[ ! -p {events} ] || printf 'cancel {}\\n' >{events}",
        grace.as_millis()
    );
    let config = ExecConfig {
        cmd: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), text]),
        ..ExecConfig::default()
    };
    let made = client.quick.create_exec(name, config).await?;
    let options = StartExecOptions {
        detach: true,
        ..StartExecOptions::default()
    };
    client.quick.start_exec(&made.id, Some(options)).await.map(drop)
}

#[async_trait]
impl Executor for DockerExecutor {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        self.lay_out(execution, inputs, Purpose::Execution).await?;
        Ok(self.workspace(execution))
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        Ok(self.start_attempt(workspace.execution, start).await?)
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        Ok(self.follow(handle, Window { from, max }, wait).await?)
    }

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        Ok(self.ask_to_end(handle, grace).await?)
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        Ok(self.bring(workspace.execution, globs, limit).await?)
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        Ok(self.take_away(execution).await?)
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: volume_name(execution),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        Ok(self.remains().await?)
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        self.look_around()
            .await
            .map_err(|fault| fault.into_trouble(&self.block))
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let parts = [
            ("work", "/workspace"),
            ("home", "/home"),
            ("tmp", "/tmp"),
            ("attempts", "/run"),
        ];
        let mut texts: Vec<(String, String)> = parts
            .into_iter()
            .map(|(part, shown)| (format!("{ROOT}/{part}"), shown.to_owned()))
            .collect();
        texts.push((volume_name(execution), "[volume]".to_owned()));
        texts.extend(self.pool.learned.of(execution));
        texts
    }
}
