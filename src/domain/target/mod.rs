//! Targets: a semantic name that callers may use; behind it, private to clawhand, how to reach the system.

mod docker;
mod group;
pub mod http;
mod kubernetes;
mod local;
mod openclaw;
mod ssh;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Digest;
use super::signing::SigningKey;

pub use docker::{DockerBlock, DockerSsh, DockerTls, PullPolicy};
pub use group::GroupBlock;
pub use http::HttpBlock;
pub use kubernetes::{KubernetesBlock, Resources, Toleration};
pub use local::LocalBlock;
pub use openclaw::{Conversation, OpenclawBlock};
pub use ssh::{JumpHost, SshBlock};

/// How often a person is asked before an intent runs on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRule {
    /// Nobody is asked.
    #[default]
    Never,
    /// Each execution waits for a person.
    Always,
}

/// A secret by reference: where its value is read from at use. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the clawhand process.
    Env(String),
    /// A file; one trailing line break is not part of the value.
    File(String),
}

/// What a target allows an execution to use. Callers can ask for less, never for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A whole step, from start to end.
    pub timeout: Duration,
    /// What a step may print; past that the beginning and the end are kept.
    pub max_output_bytes: u64,
    /// All collected artifacts together.
    pub max_artifact_bytes: u64,
    /// The largest file a step may write (RLIMIT_FSIZE).
    pub max_file_bytes: Option<u64>,
    /// The most address space a process may have (RLIMIT_AS).
    pub max_memory_bytes: Option<u64>,
    /// The most processes of the run user (RLIMIT_NPROC).
    pub max_processes: Option<u64>,
    /// How many executions may run on the target at once.
    pub max_concurrent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30 * 60),
            max_output_bytes: 64 * 1024 * 1024,
            max_artifact_bytes: 1024 * 1024 * 1024,
            max_file_bytes: None,
            max_memory_bytes: None,
            max_processes: None,
            max_concurrent: 4,
        }
    }
}

/// The executor behind a target, with its connection. Private: no field of it may reach a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutorBlock {
    /// clawhand's own machine.
    Local(LocalBlock),
    /// Other targets: what runs on the group runs on each of them.
    Group(GroupBlock),
    /// Containers of a Docker daemon.
    Docker(DockerBlock),
    /// An API.
    Http(Box<HttpBlock>),
    /// A namespace of a Kubernetes cluster.
    Kubernetes(Box<KubernetesBlock>),
    /// An agent behind an OpenClaw gateway.
    Openclaw(OpenclawBlock),
    /// A host over SSH.
    Ssh(Box<SshBlock>),
}

impl ExecutorBlock {
    /// The kind as it is written in target files.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Group(_) => "group",
            Self::Docker(_) => "docker",
            Self::Http(_) => "http",
            Self::Kubernetes(_) => "kubernetes",
            Self::Openclaw(_) => "openclaw",
            Self::Ssh(_) => "ssh",
        }
    }

    /// Whether steps have a network.
    pub const fn has_network(&self) -> bool {
        match self {
            Self::Local(block) => block.network,
            // Each member says for itself.
            Self::Group(_) => true,
            Self::Docker(block) => block.network.is_some(),
            Self::Http(_) => true,
            // Cutting it is the cluster's business: a NetworkPolicy, which not every cluster enforces.
            Self::Kubernetes(_) => true,
            // What an agent may reach is its gateway's business.
            Self::Openclaw(_) => true,
            // Nothing there cuts it off.
            Self::Ssh(_) => true,
        }
    }

    /// Its texts that no caller may read, wherever they turn up.
    pub fn private_texts(&self) -> Vec<String> {
        match self {
            Self::Local(block) => block.private_texts(),
            // Semantic names, which callers may read.
            Self::Group(_) => Vec::new(),
            Self::Docker(block) => block.private_texts(),
            Self::Http(block) => block.private_texts(),
            Self::Kubernetes(block) => block.private_texts(),
            Self::Openclaw(block) => block.private_texts(),
            Self::Ssh(block) => block.private_texts(),
        }
    }
}

/// A target: the public half that callers see, and the private half behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The semantic name, `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63 characters.
    pub name: String,
    /// For people and models: what this is.
    pub description: String,
    /// `key = value`, for references such as `env=staging,app=vault`.
    pub labels: BTreeMap<String, String>,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// What it is able to do beyond its facts, such as `gpu`.
    pub capabilities: Vec<String>,
    /// Switched off: known, but refuses every task.
    pub disabled: bool,
    /// The intents it takes.
    pub intents: Vec<String>,
    /// When a person is asked, per intent; an intent that isn't named here asks nobody.
    pub approval: BTreeMap<String, ApprovalRule>,
    /// How long an approval waits for its answer.
    pub approval_expires: Duration,
    /// Environment variables for every step. Private.
    pub environment: BTreeMap<String, String>,
    /// Environment variables whose values are read at use. Private.
    pub secrets: BTreeMap<String, SecretRef>,
    /// What an execution may use.
    pub limits: Limits,
    /// How to reach it. Private.
    pub executor: ExecutorBlock,
}

impl Target {
    /// How long an approval waits when the target doesn't say.
    pub const APPROVAL_EXPIRES: Duration = Duration::from_secs(24 * 60 * 60);

    /// The group behind it, if it is one.
    pub const fn group(&self) -> Option<&GroupBlock> {
        match &self.executor {
            ExecutorBlock::Group(group) => Some(group),
            _ => None,
        }
    }

    /// When a person is asked for `intent`.
    pub fn approval_for(&self, intent: &str) -> ApprovalRule {
        self.approval.get(intent).copied().unwrap_or_default()
    }

    /// A digest of all that decides where and with what a plan runs here. Keyed, because it becomes part of a digest
    /// that callers see, and a private half may be guessed from a plain one. After an update of clawhand it may be
    /// another: then a person is asked once more.
    pub fn binding(&self, key: &SigningKey) -> Digest {
        let private = format!("{:?}", (&self.executor, &self.environment, &self.secrets));
        Digest::from_bytes(key.sign("target-binding", private.as_bytes()))
    }

    /// The texts of the private half that no caller may read, wherever they turn up.
    pub fn private_texts(&self) -> Vec<String> {
        let mut texts = self.executor.private_texts();
        texts.extend(self.environment.values().filter(|value| tells_a_place(value)).cloned());
        texts
    }
}

/// Whether a plain environment value names a place (a URL, a host, a path, an account) rather than being a mere word
/// such as `true` or `staging`, which must stay readable.
fn tells_a_place(value: &str) -> bool {
    value.contains(['/', '.', ':', '@', '\\'])
}
