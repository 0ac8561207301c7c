//! What runs a step, behind one contract: prepare, start, observe, cancel, collect, clean up, probe.
//!
//! Floor 1. An executor holds no policy and no state of its own beyond what is on the system it drives: whatever it
//! must know after a crash is in the handle that the engine stores. Start reading at [`contract`], then [`local`].

pub mod archive;
mod attempts;
pub mod contract;
pub mod docker;
mod folder;
mod group;
pub mod http;
pub mod kubernetes;
mod learned;
pub mod local;
pub mod openclaw;
pub mod posix;
pub mod scripted;
pub mod ssh;
pub mod supervisor;
mod tree;
mod wanted;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Target;
use crate::domain::target::{ExecutorBlock, SecretRef};
use crate::gateway::Gateways;

pub use contract::*;
pub use docker::{DockerExecutor, DockerPool};
pub use http::{HttpExecutor, HttpPool, HttpSettings};
pub use kubernetes::{KubernetesExecutor, KubernetesPool};
pub use local::{LocalExecutor, LocalSettings};
pub use openclaw::{OpenclawExecutor, OpenclawPool, OpenclawSettings};
pub use scripted::Scripted;
pub use ssh::SshExecutor;

/// Before a request to an API is repeated for the first time.
const HTTP_BACKOFF: Duration = Duration::from_millis(500);

/// Reads the value behind a reference, now; the error names where it should be, never a value. Whatever it reads is
/// scrubbed from then on.
pub type SecretReader = Arc<dyn Fn(&SecretRef) -> Result<String, String> + Send + Sync>;

/// What executors need beyond a target's block.
#[derive(Clone)]
pub struct ExecutorSettings {
    /// For steps on clawhand's own machine.
    pub local: LocalSettings,
    /// A folder of clawhand's machine, on a disk, for files on their way to and from a target.
    pub scratch: PathBuf,
    /// For secrets that a connection itself needs.
    pub secrets: SecretReader,
    /// The OpenClaw gateways that targets may name.
    pub gateways: Gateways,
}

/// Picks the executor for a target.
#[derive(Clone)]
pub struct Executors {
    settings: ExecutorSettings,
    docker: Arc<DockerPool>,
    http: HttpPool,
    kubernetes: Arc<KubernetesPool>,
    openclaw: OpenclawPool,
    ssh: Arc<ssh::SshPool>,
    instead: Option<Arc<dyn Executor>>,
}

impl Executors {
    /// With what the executors need beyond a target's block.
    pub fn new(settings: ExecutorSettings) -> Self {
        let http = HttpPool::new(HttpSettings {
            folder: settings.scratch.join("http"),
            secrets: settings.secrets.clone(),
            now: settings.local.now.clone(),
            names: http::system_names(),
            backoff: HTTP_BACKOFF,
        });
        let openclaw = OpenclawPool::new(OpenclawSettings {
            folder: settings.scratch.join("openclaw"),
            gateways: settings.gateways.clone(),
            now: settings.local.now.clone(),
            patience: openclaw::Patience::default(),
        });
        Self {
            settings,
            openclaw,
            docker: Arc::default(),
            http,
            kubernetes: Arc::default(),
            ssh: Arc::default(),
            instead: None,
        }
    }

    /// One executor in place of every other, whatever the target: the scripted one, in tests of the engine.
    #[must_use]
    pub fn with(self, executor: Arc<dyn Executor>) -> Self {
        Self {
            instead: Some(executor),
            ..self
        }
    }

    /// The executor that reaches what is behind `target`.
    pub fn for_target(&self, target: &Target) -> Arc<dyn Executor> {
        if let Some(executor) = &self.instead {
            return executor.clone();
        }
        match &target.executor {
            ExecutorBlock::Local(block) => Arc::new(LocalExecutor::new(self.settings.local.clone(), block.clone())),
            ExecutorBlock::Group(_) => Arc::new(group::GroupExecutor),
            ExecutorBlock::Docker(block) => Arc::new(DockerExecutor::new(
                self.docker.clone(),
                self.settings.scratch.clone(),
                self.settings.local.now.clone(),
                block.clone(),
            )),
            ExecutorBlock::Http(block) => Arc::new(HttpExecutor::new(self.http.clone(), (**block).clone())),
            ExecutorBlock::Kubernetes(block) => Arc::new(KubernetesExecutor::new(
                (**block).clone(),
                self.kubernetes.clone(),
                self.settings.scratch.clone(),
                self.settings.local.now.clone(),
            )),
            ExecutorBlock::Openclaw(block) => Arc::new(OpenclawExecutor::new(self.openclaw.clone(), block.clone())),
            ExecutorBlock::Ssh(block) => Arc::new(SshExecutor::new(&self.settings, &self.ssh, block)),
        }
    }
}
