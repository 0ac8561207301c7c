//! Runs steps in a Kubernetes cluster, each as a Job of its own.
//!
//! All that is known of an attempt is in the cluster: its Job says how far it came ([`state`]), and the pod's volume holds
//! the workspace, the notes and the output. Beside the step a second container keeps that volume within reach until
//! everything was read. Files and output go through `exec` in it, never through the network of the step.
//!
//! Never here: a decision that two processes of clawhand could take differently. Each step of an attempt's life is a
//! patch of its Job that fails if somebody else was first. Start reading at [`KubernetesExecutor`];
//! docs/decisions/kubernetes-jobs.md has the reasons.

mod access;
mod collect;
mod exec;
mod lay;
mod names;
mod objects;
mod observe;
mod pods;
mod probe;
mod remove;
mod start;
mod state;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use super::learned::Learned;
use crate::domain::target::KubernetesBlock;
use crate::domain::{AttemptId, Clock, ExecutionId, Facts};
use access::Clients;
use observe::Live;

/// What is shared by all executions: connections to clusters, and what reads from them.
#[derive(Default)]
pub struct KubernetesPool {
    clients: Clients,
    /// What clusters call what is of an execution.
    learned: Learned,
    live: Mutex<HashMap<AttemptId, Arc<tokio::sync::Mutex<Live>>>>,
}

impl KubernetesPool {
    fn live(&self, attempt: AttemptId) -> Arc<tokio::sync::Mutex<Live>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.entry(attempt).or_default().clone()
    }

    fn forget(&self, attempt: AttemptId) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.remove(&attempt);
    }
}

/// Runs steps in a namespace of a cluster.
#[derive(Clone)]
pub struct KubernetesExecutor {
    block: Arc<KubernetesBlock>,
    pool: Arc<KubernetesPool>,
    scratch: PathBuf,
    now: Clock,
    /// What the API server's host is called.
    hosts: OnceLock<Vec<String>>,
}

impl KubernetesExecutor {
    /// With how the target wants its steps to be run; `scratch` is a folder for files on their way.
    pub fn new(block: KubernetesBlock, pool: Arc<KubernetesPool>, scratch: PathBuf, now: Clock) -> Self {
        Self {
            block: Arc::new(block),
            pool,
            scratch,
            now,
            hosts: OnceLock::new(),
        }
    }
}

#[async_trait]
impl Executor for KubernetesExecutor {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        self.lay_out(execution, inputs).await?;
        Ok(self.workspace(execution))
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        self.start_attempt(workspace.execution, start).await
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        self.observe_attempt(handle, observe::Window { from, max }, wait)
            .await
            .map_err(access::later)
    }

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        self.cancel_attempt(handle, grace).await.map_err(access::later)
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        self.collect_files(workspace.execution, globs, limit)
            .await
            .map_err(access::later)
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        self.remove(execution).await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: format!("{}/{execution}", self.block.namespace),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        self.executions().await
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        self.learn().await
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let mut texts = vec![
            (objects::WORK.to_owned(), "/workspace".to_owned()),
            (objects::HOME.to_owned(), "/home".to_owned()),
            (objects::TMP.to_owned(), "/tmp".to_owned()),
            (objects::ROOT.to_owned(), "/run".to_owned()),
        ];
        for host in self.hosts.get_or_init(|| access::hosts(&self.block)) {
            texts.push((host.clone(), "[host]".to_owned()));
        }
        texts.extend(self.pool.learned.of(execution));
        texts
    }
}
