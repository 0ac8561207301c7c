//! Gives work to an agent behind an OpenClaw gateway: a message in a session, and whatever the agent replies.
//!
//! The run is the gateway's and outlives clawhand; its id is the attempt's, so that it is found again after a restart of
//! either. What was begun is written down before the message leaves, and it never leaves twice on a guess: a gateway
//! remembers only for as long as it runs what it was told, so after a restart of it the session's own messages decide, and
//! where they don't tell the attempt is lost. See [`notes`] for what is written, [`follow`] for the way of a run and
//! [`verdict`] for what messages tell. Never here: an address in the log, a second message for one attempt.
//! Start reading at [`OpenclawExecutor`], then [`run`].

mod follow;
mod inputs;
mod notes;
mod probe;
mod questions;
mod reply;
mod report;
mod run;
mod send;
mod verdict;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::attempts::{Attempts, Driving};
use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, Question, StartAttempt, Trouble,
    Workspace,
};
use super::local::{blocking, failed};
use crate::domain::plan::Call;
use crate::domain::target::{Conversation, OpenclawBlock};
use crate::domain::{AttemptId, Clock, Decision, ExecutionId, Facts};
use crate::gateway::http::session_key;
use crate::gateway::{Gateway, GatewayError, Gateways};
use notes::{CALL, CallNote};
use questions::Asked;

/// What the executor needs beyond a target's block.
#[derive(Clone)]
pub struct OpenclawSettings {
    /// Where attempts are written down: on a disk that outlives the process.
    pub folder: PathBuf,
    /// The gateways that there are.
    pub gateways: Gateways,
    /// What time it is.
    pub now: Clock,
    /// How patient it is.
    pub patience: Patience,
}

/// How long things may take before they count as lost, and how often is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a gateway that can't be reached is waited for before a message is given up.
    pub outage: Duration,
    /// How long a message that the gateway doesn't know may be on its way. It remembers a key for five minutes, so that for
    /// so long the same message may be sent again, too.
    pub on_its_way: Duration,
    /// How long after its restart a gateway may take to go on with what that broke off.
    pub recovery: Duration,
    /// What ending a run may take.
    pub abort: Duration,
    /// How long a question for the end waits for it.
    pub wait: Duration,
    /// Between two tries of a gateway that can't be reached, or doesn't know yet.
    pub again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            outage: Duration::from_secs(2 * 60),
            on_its_way: Duration::from_secs(4 * 60),
            recovery: Duration::from_secs(3 * 60),
            abort: Duration::from_secs(20),
            wait: Duration::from_secs(10),
            again: Duration::from_millis(500),
        }
    }
}

/// What attempts on all gateways share: the tasks that follow them. Dropped, it ends them as a crash would.
#[derive(Clone)]
pub struct OpenclawPool(Arc<Pool>);

struct Pool {
    settings: OpenclawSettings,
    attempts: Attempts,
    asked: Asked,
}

impl OpenclawPool {
    /// With nothing under way.
    pub fn new(settings: OpenclawSettings) -> Self {
        Self(Arc::new(Pool {
            attempts: Attempts::new(settings.folder.clone()),
            settings,
            asked: Asked::default(),
        }))
    }
}

/// Gives work to one agent.
#[derive(Clone)]
pub struct OpenclawExecutor {
    pool: OpenclawPool,
    block: Arc<OpenclawBlock>,
}

impl OpenclawExecutor {
    /// With the agent that is meant.
    pub fn new(pool: OpenclawPool, block: OpenclawBlock) -> Self {
        Self {
            pool,
            block: Arc::new(block),
        }
    }

    fn settings(&self) -> &OpenclawSettings {
        &self.pool.0.settings
    }

    fn attempts(&self) -> &Attempts {
        &self.pool.0.attempts
    }

    fn gateway(&self) -> Result<&Gateway, GatewayError> {
        self.settings().gateways.get(self.block.instance.as_deref())
    }

    /// What drives an attempt at this gateway.
    fn begin(&self) -> impl Fn(Driving) -> BoxFuture<'static, ()> + Send + Sync + use<> {
        let (now, gateway) = (self.settings().now.clone(), self.gateway().cloned());
        let patience = self.settings().patience;
        let asked = self.pool.0.asked.clone();
        move |driving| {
            let run = run::Run {
                now: now.clone(),
                gateway: gateway.clone(),
                patience,
                driving,
                asked: asked.clone(),
            };
            run.live().boxed()
        }
    }

    /// The key of the session in which an attempt speaks: with the agent in it, if one is named.
    fn session(&self, attempt: AttemptId, call: &Call) -> String {
        let asked = call.parameters.get("session_id").and_then(Value::as_str);
        let own = || format!("clawhand-{attempt}");
        let key = match (&self.block.session, asked) {
            (_, Some(asked)) => session_key(asked).into_owned(),
            (Conversation::Shared(key), None) => key.clone(),
            (Conversation::Own, None) => own(),
        };
        let of_instance = self
            .gateway()
            .ok()
            .and_then(|gateway| gateway.instance().agent().map(str::to_owned));
        let agent = self.block.agent.clone().or(of_instance);
        match agent.filter(|agent| agent != "default" && !key.starts_with("agent:")) {
            Some(agent) => format!("agent:{agent}:{key}"),
            None => key,
        }
    }
}

#[async_trait]
impl Executor for OpenclawExecutor {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        let workspace = self.attempts().prepare(execution).await?;
        inputs::lay(&self.attempts().run_folder(execution), inputs).await?;
        Ok(workspace)
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        let message = |call: &Call| call.parameters.get("message")?.as_str().map(str::to_owned);
        let Some((call, message)) = start.call.as_ref().and_then(|call| Some((call, message(call)?))) else {
            let why = "the step is a program, and the target an agent";
            return Err(ExecutorError::Refused(why.to_owned()));
        };
        if let Err(error) = self.gateway() {
            return Err(ExecutorError::Refused(error.message));
        }
        let note = CallNote {
            message,
            session: self.session(start.attempt, call),
            begun_at: self.settings().now.now(),
            timeout_ms: u64::try_from(start.timeout.as_millis()).unwrap_or(u64::MAX),
            max_output_bytes: start.max_output_bytes,
        };
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

    async fn questions(&self, handle: &Handle) -> Option<Vec<Question>> {
        self.pool.0.asked.of(handle.attempt)
    }

    async fn answer(&self, handle: &Handle, key: &str, decision: Decision) -> Result<bool, ExecutorError> {
        let gateway = self.gateway().map_err(|error| ExecutorError::Refused(error.message))?;
        questions::answer(gateway, (&self.pool.0.asked, handle.attempt), (key, decision)).await
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
        let gateway = self.gateway().map_err(|error| {
            let hint = "correct `instance` in the target's file, or add the [[gateway]] to the configuration";
            Trouble::new(error.message, hint)
        })?;
        probe::probe(gateway, self.settings().now.now()).await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        self.attempts().workspace(execution)
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        self.attempts().leftovers().await
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let places = self.gateway().map(|gateway| gateway.instance().private_texts());
        let places = places.unwrap_or_default().into_iter();
        let places = places.map(|text| (text, "[private]".to_owned()));
        self.attempts()
            .private_texts(execution)
            .into_iter()
            .chain(places)
            .collect()
    }
}
