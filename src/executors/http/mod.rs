//! Asks an API for an operation that the target declares, as a step.
//!
//! The work is in clawhand's own process, so what was begun is written down before it happens and is on the disk before
//! a request leaves: whoever looks at an attempt that nobody drives any more goes on from there, and says that it was
//! lost where going on could do a thing twice. See [`notes`] for what is written and [`run`] for what it means.
//! Never here: an address that the target doesn't allow, a secret in a file or a log, a request without a note.
//! Start reading at [`HttpExecutor`], then [`run`].

mod answer;
mod auth;
mod client;
mod fault;
mod guard;
mod mask;
mod notes;
mod probe;
mod report;
mod request;
mod run;
mod stages;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::SecretReader;
use super::attempts::{Attempts, Driving};
use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use super::local::{blocking, failed};
use crate::domain::target::HttpBlock;
use crate::domain::{Clock, ExecutionId, Facts};
use notes::{CALL, CallNote};

pub use guard::{Names, system_names};

/// What the executor needs beyond a target's block.
#[derive(Clone)]
pub struct HttpSettings {
    /// Where attempts are written down: on a disk that outlives the process.
    pub folder: PathBuf,
    /// For credentials.
    pub secrets: SecretReader,
    /// What time it is.
    pub now: Clock,
    /// What finds the addresses of a name.
    pub names: Names,
    /// Before the first repetition; each next one waits twice as long.
    pub backoff: Duration,
}

/// What attempts on all APIs share: the tasks that drive them, and tokens. Dropped, it ends them as a crash would.
#[derive(Clone)]
pub struct HttpPool(Arc<Pool>);

struct Pool {
    settings: HttpSettings,
    tokens: auth::Tokens,
    attempts: Attempts,
}

impl HttpPool {
    /// With nothing under way.
    pub fn new(settings: HttpSettings) -> Self {
        Self(Arc::new(Pool {
            attempts: Attempts::new(settings.folder.clone()),
            settings,
            tokens: auth::Tokens::default(),
        }))
    }
}

/// Runs operations of one API.
#[derive(Clone)]
pub struct HttpExecutor {
    pool: HttpPool,
    block: Arc<HttpBlock>,
}

impl HttpExecutor {
    /// With the API that is meant.
    pub fn new(pool: HttpPool, block: HttpBlock) -> Self {
        Self {
            pool,
            block: Arc::new(block),
        }
    }

    fn settings(&self) -> &HttpSettings {
        &self.pool.0.settings
    }

    fn attempts(&self) -> &Attempts {
        &self.pool.0.attempts
    }

    /// What drives an attempt on this API.
    fn begin(&self) -> impl Fn(Driving) -> BoxFuture<'static, ()> + Send + Sync + use<> {
        let settings = self.settings().clone();
        let (tokens, block) = (self.pool.0.tokens.clone(), self.block.clone());
        move |driving| {
            let run = run::Run {
                settings: settings.clone(),
                tokens: tokens.clone(),
                block: block.clone(),
                driving,
            };
            run.live().boxed()
        }
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    async fn prepare(&self, execution: ExecutionId, _inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        self.attempts().prepare(execution).await
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        let Some(call) = &start.call else {
            return Err(ExecutorError::Refused(
                "the step is a program and the target an API".to_owned(),
            ));
        };
        if !self.block.operations.contains_key(&call.operation) {
            let why = format!("the target has no operation {:?} any more", call.operation);
            return Err(ExecutorError::Refused(why));
        }
        let note = CallNote::new(call, start, self.settings().now.now());
        let (attempts, begin) = (self.attempts().clone(), self.begin());
        let ids = (workspace.execution, start.attempt);
        blocking(move || {
            let started = attempts.start(ids, (CALL, &note), &begin);
            started.map_err(|error| failed("write the attempt down", &error))
        })
        .await
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        self.attempts().observe(handle, (from, max, wait), &self.begin()).await
    }

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        self.attempts().cancel(handle, grace).await
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        self.attempts().collect(workspace, globs, limit).await
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        self.attempts().clean_up(execution, &self.begin()).await
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        probe::probe(self.settings(), &self.block, &self.pool.0.tokens).await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        self.attempts().workspace(execution)
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        self.attempts().leftovers().await
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        // Read here so that they are scrubbed from all that the execution prints: the rules are made right after this.
        for secret in self
            .block
            .auth
            .iter()
            .map(crate::domain::target::http::HttpAuth::secret)
        {
            let _ = (self.settings().secrets)(secret);
        }
        self.attempts().private_texts(execution)
    }
}
