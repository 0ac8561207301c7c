//! Plans: the ordered steps for one task on one target, explained, with a digest to approve and to freeze.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Digest;

/// What a step does to the world, for the person who approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Writes in its own workspace, which is thrown away.
    Workspace,
    /// Uses the network, for instance to download dependencies.
    Network,
    /// Runs code that came with the task.
    RunsCode,
    /// Changes the target itself: deploys, installs, deletes.
    Target,
}

/// How much a wrong plan could cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Stays in its workspace.
    Low,
    /// Runs the caller's code or reaches the network.
    Medium,
    /// Changes the target.
    High,
}

/// How the results of a step are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reader", rename_all = "snake_case")]
pub enum ResultReader {
    /// JUnit XML reports at these globs, relative to the workspace.
    Junit {
        /// Globs of report files.
        paths: Vec<String>,
    },
    /// The step's output is `go test -json`.
    GoTestJson,
    /// The step's output is that of `cargo test`.
    CargoTest,
    /// The step's output is TAP 13 or 14.
    Tap,
    /// Nothing but the exit code.
    ExitCode,
}

/// An operation of an API, with the values for its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name in the target's file.
    pub operation: String,
    /// Checked values by name, those included that nobody gave and that have a default.
    pub parameters: BTreeMap<String, Value>,
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Short, unique in the plan: `install`.
    pub name: String,
    /// In words: "install the project and what it needs".
    pub summary: String,
    /// The program and its arguments; never a shell string. A program with a `/` is relative to the workspace. Empty
    /// where there is a call.
    pub argv: Vec<String>,
    /// What is asked of an API, in place of a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Relative to the workspace; empty is the workspace itself.
    #[serde(default)]
    pub cwd: String,
    /// Environment beside the target's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it does to the world.
    pub effects: Vec<Effect>,
    /// Whether it may be started again when the infrastructure was lost.
    pub repeatable: bool,
    /// From start to end, in seconds.
    pub timeout_s: u64,
    /// What it may print.
    pub max_output_bytes: u64,
    /// How its results are read.
    pub reader: ResultReader,
    /// An exit code other than 0 that also means the work said yes, such as pytest's 5 for no tests.
    #[serde(default)]
    pub accepted_exit_codes: Vec<i32>,
}

/// The steps for one task on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The target's semantic name.
    pub target: String,
    /// The intent it serves.
    pub intent: String,
    /// The recipe it was made from.
    pub recipe: String,
    /// The variant that the target's facts chose.
    pub variant: String,
    /// In order.
    pub steps: Vec<PlanStep>,
    /// Globs of files to collect afterwards, relative to the workspace.
    pub outputs: Vec<String>,
    /// The digests of the inputs by name, so that an approval covers what will run.
    pub inputs: BTreeMap<String, Digest>,
    /// A keyed digest of the target's private half ([`super::Target::binding`]), so that an approval covers where and
    /// with what it will run and not only under which name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Digest>,
    /// How much a wrong plan could cost.
    pub risk: Risk,
    /// Whether a person is asked first, and why.
    pub approval: Option<String>,
    /// Of a group, what runs on each member; then there are no steps of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPlan>,
    /// For a person: why this target, why this recipe, what happens.
    pub explanation: String,
}

/// What runs on the members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// On how many it runs at the same time.
    pub at_once: u32,
    /// After more failures than this no further member begins.
    pub max_failures: u32,
    /// The plan of each, in the order in which they begin.
    pub members: Vec<Plan>,
}

impl Plan {
    /// The SHA-256 of the plan in canonical JSON (RFC 8785 for the values used here: object keys sorted, no
    /// insignificant space, no floating-point numbers). The explanation is left out: words may change, work may not.
    pub fn digest(&self) -> Digest {
        let mut value = serde_json::to_value(self).unwrap_or(Value::Null);
        if let Value::Object(fields) = &mut value {
            fields.remove("explanation");
        }
        Digest::of(value.to_string().as_bytes())
    }
}

/// Something the plan lacks before it can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// For machines: `project_files`, `parameter`, `tool`.
    pub code: String,
    /// What is missing.
    pub message: String,
    /// What would help.
    pub hint: String,
}
