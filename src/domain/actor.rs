//! Who is calling: a subject, the client it uses, what it may do.

use serde::{Deserialize, Serialize};

/// What an actor may do beyond looking at the list of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit tasks and follow, read and cancel its own.
    Tasks,
    /// See and answer the approvals of others.
    Approve,
    /// Talk to OpenClaw gateways: to everything there that clawhand itself reaches.
    Openclaw,
    /// The operator at the machine itself: sees every owner's rows. Never given to a model's door.
    Operator,
}

impl Scope {
    /// The word used in configuration, keys and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Approve => "approve",
            Self::Openclaw => "openclaw",
            Self::Operator => "operator",
        }
    }
}

/// The door an actor came in by. A decision about an approval depends on it: what comes through a model's door may
/// have been written by the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The command line on this machine.
    Cli,
    /// MCP over standard input and output.
    Stdio,
    /// MCP over HTTP.
    Http,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The owner of what this actor makes: `operator`, or `key:` and the key's id.
    pub subject: String,
    /// The program in use, as far as it told its name ("Claude Desktop"), for records only.
    pub client: String,
    /// By which door.
    pub door: Door,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// The subject of the person who runs clawhand on this machine.
pub const OPERATOR: &str = "operator";

impl Actor {
    /// The operator at the command line: sees and decides everything.
    pub fn operator() -> Self {
        Self {
            subject: OPERATOR.into(),
            client: "cli".into(),
            door: Door::Cli,
            scopes: vec![Scope::Tasks, Scope::Approve, Scope::Openclaw, Scope::Operator],
        }
    }

    /// A model that the operator connected over stdio: it works in the operator's name but decides nothing.
    pub fn local_model(client: impl Into<String>) -> Self {
        Self {
            subject: OPERATOR.into(),
            client: client.into(),
            door: Door::Stdio,
            scopes: vec![Scope::Tasks, Scope::Openclaw],
        }
    }

    /// A client of the bridge that the operator started: it takes part in conversations and does nothing else.
    pub fn bridged() -> Self {
        Self {
            scopes: vec![Scope::Openclaw],
            ..Self::local_model("bridge")
        }
    }

    /// Whether it holds `scope`.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether a row of `owner` exists for this actor.
    pub fn sees(&self, owner: &str) -> bool {
        self.subject == owner || self.has(Scope::Operator)
    }
}
