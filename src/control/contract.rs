//! The caller's contract: what each tool takes and gives, as in section 2 of the design. More fields may be added;
//! none is renamed. The doc comments are the descriptions that models read in the schemas.

pub mod conversations;
pub mod openclaw;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is zero is not said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Limits below the target's own.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConstraintsArg {
    /// Longest time for each step, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Most output to keep of each step, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_bytes: Option<u64>,
}

/// Arguments of `submit_task`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitTask {
    /// What you call the project.
    pub project_name: String,
    /// What should be achieved, in one or two sentences.
    pub goal: String,
    /// The target's name, alias, labels (env=staging,app=vault) or a few words; see list_targets.
    pub target_ref: String,
    /// The kind of work: run, test, install_and_test, build, lint, deploy, check, or another that the target lists.
    pub execution_intent: String,
    /// Background that helps to do the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Limits below the target's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<ConstraintsArg>,
    /// Values for the parameters that the recipe declares, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<BTreeMap<String, Value>>,
    /// Any text of yours: asking again with the same key and arguments attaches to the same task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A target as a caller sees it beside a task.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TargetView {
    /// Its semantic name.
    pub name: String,
    /// What it is.
    pub description: String,
}

/// A step of a plan as a caller sees it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct StepView {
    /// Its short name.
    pub name: String,
    /// What it does.
    pub summary: String,
    /// What it does to the world: workspace, network, runs_code, target.
    pub effects: Vec<String>,
}

/// A plan as a caller sees it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct PlanView {
    /// Digest of exactly what will run.
    pub digest: String,
    /// The recipe it was made from.
    pub recipe: String,
    /// The steps in order.
    pub steps: Vec<StepView>,
    /// low, medium or high.
    pub risk: String,
    /// Why this target, why this recipe, what happens.
    pub explanation: String,
}

/// Something the plan lacks.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct NeedView {
    /// What kind of thing is missing.
    pub code: String,
    /// What is missing.
    pub message: String,
    /// What would help.
    pub hint: String,
}

/// Answer of `submit_task`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TaskSubmitted {
    /// Pass it to upload_artifact and start_execution.
    pub task_id: String,
    /// Where it will run.
    pub target: TargetView,
    /// What will run; absent until the needs are met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// What is still missing; empty when start_execution would succeed.
    pub needs: Vec<NeedView>,
    /// In words, what a person will be asked before it runs.
    pub approvals: Vec<String>,
}

/// Arguments of `upload_artifact`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadArtifact {
    /// The task to attach it to.
    pub task_id: String,
    /// A relative path such as tests/test_a.py, or an archive (.tar.gz, .tgz, .tar, .zip) that is unpacked.
    pub name: String,
    /// The content as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The content in base64, for anything that is not text. With neither, the answer has an upload_url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// sha256:HEX of the whole content; it is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// In parts: where this part begins, in bytes. Parts come in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In parts: whether this is the last one. Without offset every upload is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<bool>,
}

/// An artifact as a caller sees it after an upload.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct UploadedArtifact {
    /// Its name.
    pub name: String,
    /// Bytes received so far.
    pub size: u64,
    /// sha256:HEX; absent until the last part is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Answer of `upload_artifact`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ArtifactUploaded {
    /// What was received.
    pub artifact: UploadedArtifact,
    /// PUT the content there, once, before upload_expires_at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_url: Option<String>,
    /// When upload_url stops working (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_expires_at: Option<String>,
    /// Where the next part begins, when parts are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
    /// What will run now; absent until the needs are met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// What is still missing.
    pub needs: Vec<NeedView>,
}

/// Arguments of `start_execution`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartExecution {
    /// The task to run.
    pub task_id: String,
    /// Any text of yours: asking again with the same key attaches to the same execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// An approval as a caller sees it beside an execution.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ApprovalView {
    /// Its id, for the person who answers.
    pub id: String,
    /// open, allowed, denied, expired or withdrawn.
    pub state: String,
    /// What a person is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// When it lapses unanswered (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Where an execution stands in the queue.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct QueueView {
    /// How many come before it of those that wait for the same; the order may change.
    pub before: u64,
    /// turn (a worker with room), target (it runs as many as it may) or owner (you run as many as you may).
    pub waits_for: String,
    /// The same in words.
    pub message: String,
}

/// Answer of `start_execution`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ExecutionStarted {
    /// Pass it to get_status and get_result.
    pub execution_id: String,
    /// queued, or awaiting_approval.
    pub state: String,
    /// Digest of exactly what runs.
    pub plan_digest: String,
    /// The question that waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// What it waits for, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueView>,
}

/// Arguments of `get_status`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetStatus {
    /// The execution to look at.
    pub execution_id: String,
    /// next_cursor of the last answer; without it the log begins at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Wait up to this long for news, in milliseconds; at most 25000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// At most this much log in one answer, in bytes; 1024 to 65536, 20480 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// How far the steps are.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ProgressView {
    /// Steps that are over.
    pub done: u32,
    /// Steps in all.
    pub total: u32,
}

/// A page of the log.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct LogView {
    /// What was printed from the cursor on.
    pub text: String,
    /// Where the next page begins.
    pub next_cursor: String,
    /// Whether the log is complete and read to its end.
    pub done: bool,
}

/// Answer of `get_status`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct Status {
    /// awaiting_approval, queued, preparing, running, collecting, or how it ended.
    pub state: String,
    /// The step that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How far the steps are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// A page of the log.
    pub log: LogView,
    /// The question that waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// What it waits for, while it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueView>,
}

/// Arguments of `get_result`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetResult {
    /// The execution to look at.
    pub execution_id: String,
    /// next_cursor of the last answer: goes on with the artifacts that it left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A test that failed.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct FailureView {
    /// Its full name.
    pub name: String,
    /// What it said, shortened.
    pub message: String,
}

/// What the tests said.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TestsView {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were skipped.
    pub skipped: u64,
    /// The failed ones, at most 200, their messages shortened to fit.
    pub failures: Vec<FailureView>,
    /// Names of the passed ones, at most 200.
    pub passed_names: Vec<String>,
    /// Names of the skipped ones, at most 200.
    pub skipped_names: Vec<String>,
    /// How many tests these lists leave out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// An output as a caller sees it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ArtifactView {
    /// Its name, relative to the project.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// sha256:HEX.
    pub digest: String,
    /// An MCP resource of this server; read it to get the content.
    pub uri: String,
    /// A signed link that works without a key until download_expires_at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// When download_url stops working (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_expires_at: Option<String>,
    /// The content itself, when it is short text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A step of a result.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct StepResultView {
    /// Its name in the plan.
    pub name: String,
    /// pending, running, succeeded, failed, timed_out, cancelled, unknown or skipped.
    pub state: String,
    /// What it exited with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What came of it on one member of a group.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct MemberView {
    /// The member's semantic name.
    pub name: String,
    /// Of its own execution; pending before that is started, skipped when it never was.
    pub state: String,
    /// Its own execution: pass it to get_status for its log and to get_result. Absent when it was never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// Of the step that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// Why it did not succeed.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ReasonView {
    /// For machines.
    pub code: String,
    /// What happened.
    pub message: String,
    /// Whether starting the task again may end better.
    pub retryable: bool,
    /// What to do.
    pub hint: String,
}

/// Answer of `get_result`; also what `clawhand run --json` prints.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ExecutionResult {
    /// How it ended, or where it stands.
    pub state: String,
    /// Of the step that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One or two sentences.
    pub summary: String,
    /// What the tests said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests: Option<TestsView>,
    /// What it made, as many as fit.
    pub artifacts: Vec<ArtifactView>,
    /// How many artifacts follow behind next_cursor.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub artifacts_left_out: u64,
    /// Where the artifacts go on that did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Its steps; on a group one for each member.
    pub steps: Vec<StepResultView>,
    /// On a group, what came of it on each member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberView>,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
}

/// What may be answered to an approval.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionArg {
    /// This execution may run.
    AllowOnce,
    /// It may run, and later ones with the same plan digest don't ask.
    AllowAlways,
    /// It may not run.
    #[default]
    Deny,
}

/// Arguments of `respond_to_approval`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondToApproval {
    /// The approval to answer.
    pub approval_id: String,
    /// The answer.
    pub decision: DecisionArg,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The state of an approval or an execution, alone.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct StateView {
    /// Its word.
    pub state: String,
}

/// Answer of `respond_to_approval`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct ApprovalAnswered {
    /// The approval now.
    pub approval: StateView,
    /// The execution now.
    pub execution: StateView,
}

/// Arguments of `list_targets`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTargets {
    /// Only targets whose name, alias, label or description has these words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A target in a list.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TargetEntry {
    /// Its semantic name: what to write as target_ref.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The intents it takes.
    pub intents: Vec<String>,
    /// Whether it takes tasks now.
    pub ready: bool,
    /// Of a group, the targets on each of which a task runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// Answer of `list_targets`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TargetList {
    /// In the order of their names, as many as fit.
    pub targets: Vec<TargetEntry>,
    /// How many did not fit; a query finds them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// Arguments of `list_tasks`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTasks {
    /// Only tasks whose last execution is in this state; `submitted` for those never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most this many, 1 to 100; 20 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// next_cursor of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A task in a list.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TaskEntry {
    /// Its id.
    pub task_id: String,
    /// What the caller calls the project.
    pub project_name: String,
    /// What is wanted, shortened.
    pub goal: String,
    /// The target's semantic name.
    pub target: String,
    /// The kind of work.
    pub execution_intent: String,
    /// `submitted`, or the state of its last execution.
    pub state: String,
    /// Its last execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// When it was submitted (RFC 3339).
    pub created_at: String,
}

/// Answer of `list_tasks`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
pub struct TaskList {
    /// Newest first.
    pub tasks: Vec<TaskEntry>,
    /// Where the next page begins, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Arguments of `cancel_execution`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelExecution {
    /// The execution to end.
    pub execution_id: String,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
