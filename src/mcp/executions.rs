//! An execution as an MCP task (the extension `io.modelcontextprotocol/tasks`): the same id, the same rows, the same
//! functions of `control`; nothing is kept here.
//!
//! | execution | task |
//! |---|---|
//! | queued, preparing, running, collecting | working |
//! | awaiting_approval | input_required, with the approval as a form; working for clients that have no forms |
//! | succeeded | completed, with the result |
//! | failed, timed_out, denied, expired | completed, with the result as a tool error that says why |
//! | cancelled | cancelled |
//! | unknown, infra_failed | failed, with the reason |

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ElicitRequest, ElicitRequestParams, ElicitationSchema, EnumSchema,
    ErrorCode, GetTaskResult, InputRequest, InputRequests, JsonObject, ProtocolVersion, StringSchema, Task,
    TaskPayload, TaskStatus, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::answer;
use super::tools::with_links;
use crate::control::Control;
use crate::control::contract::{CancelExecution, DecisionArg, GetResult, GetStatus, RespondToApproval};
use crate::domain::{Actor, Code, ExecutionState, Refusal, UnixMs};
use crate::redact::Clean;

/// How often a client should ask, in milliseconds.
const POLL_MS: u64 = 1_000;
/// What the key of an approval's form begins with; the approval's id follows.
const APPROVAL_KEY: &str = "approval-";

/// Whether the client of this request can be answered with a task.
pub(super) fn knows_tasks(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
        && context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.supports_tasks())
}

/// Whether the client can put a form before a person. One that can't isn't asked: to it, the task goes on working until
/// somebody answers elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It declared elicitation.
    Forms,
    /// It didn't.
    Nothing,
}

impl Asks {
    /// What the client of this request declared.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        match context.client_capabilities() {
            Some(client) if client.elicitation.is_some() => Self::Forms,
            _ => Self::Nothing,
        }
    }
}

/// The answer of `start_execution` as a task.
pub(super) fn created(started: &Clean<Value>) -> CreateTaskResult {
    CreateTaskResult::new(task(started["execution_id"].as_str().unwrap_or_default(), started))
}

/// `tasks/get`.
pub(super) async fn get(control: &Control, actor: &Actor, id: String, asks: Asks) -> Result<GetTaskResult, ErrorData> {
    let status = status(control, actor, &id).await?;
    let payload = match state(&status) {
        ExecutionState::Queued | ExecutionState::Preparing | ExecutionState::Running | ExecutionState::Collecting => {
            TaskPayload::Working
        }
        ExecutionState::AwaitingApproval if asks == Asks::Nothing => TaskPayload::Working,
        ExecutionState::AwaitingApproval => TaskPayload::InputRequired {
            input_requests: question(&status["approval"])?,
        },
        ExecutionState::Cancelled => TaskPayload::Cancelled,
        ended => outcome(control, actor, &id, ended).await?,
    };
    Ok(GetTaskResult::new(DetailedTask::new(task(&id, &status), payload)))
}

/// `tasks/update`: the answer to an approval, by the same way as `respond_to_approval`.
pub(super) async fn update(control: &Control, actor: &Actor, request: UpdateTaskParams) -> Result<(), ErrorData> {
    let status = status(control, actor, &request.task_id).await?;
    let open = status["approval"]["id"].as_str();
    for (key, response) in request.input_responses {
        let asked = key
            .strip_prefix(APPROVAL_KEY)
            .filter(|approval| Some(*approval) == open);
        let Some(approval) = asked else {
            return Err(ErrorData::invalid_params(format!("{key} was not asked for"), None));
        };
        let Some(decision) = decision(&response)? else { continue };
        let reason = response["content"]["reason"].as_str().map(str::to_owned);
        let arguments = RespondToApproval {
            approval_id: approval.to_owned(),
            decision,
            reason,
        };
        control
            .respond_to_approval(actor, arguments)
            .await
            .map_err(|refusal| answer::error(&refusal))?;
    }
    Ok(())
}

/// `tasks/cancel`. That it is over already is no error: the protocol's cancel is a wish.
pub(super) async fn cancel(control: &Control, actor: &Actor, id: String) -> Result<(), ErrorData> {
    let arguments = CancelExecution {
        execution_id: id,
        reason: None,
    };
    match control.cancel_execution(actor, arguments).await {
        Ok(_) => Ok(()),
        Err(refusal) if refusal.code == Code::AlreadyEnded => Ok(()),
        Err(refusal) => Err(unknown_or(&refusal)),
    }
}

async fn status(control: &Control, actor: &Actor, id: &str) -> Result<Clean<Value>, ErrorData> {
    let arguments = GetStatus {
        execution_id: id.to_owned(),
        max_bytes: Some(1024),
        ..GetStatus::default()
    };
    control
        .get_status(actor, arguments)
        .await
        .map_err(|refusal| unknown_or(&refusal))
}

/// What isn't yours doesn't exist; the words are the protocol's.
fn unknown_or(refusal: &Clean<Refusal>) -> ErrorData {
    match refusal.code {
        Code::NotFound | Code::InvalidArgument => ErrorData::invalid_params("unknown task", None),
        _ => answer::error(refusal),
    }
}

/// A word that no state has is a mistake of ours; then nobody can say how it went.
fn state(status: &Value) -> ExecutionState {
    status["state"]
        .as_str()
        .and_then(ExecutionState::parse)
        .unwrap_or(ExecutionState::Unknown)
}

fn task(id: &str, status: &Value) -> Task {
    let mut message = status["state"].as_str().unwrap_or_default().to_owned();
    if let Some(step) = status["step"].as_str() {
        message = format!("{message}: {step}");
    }
    let created = created_at(id);
    let updated = status["updated_at"]
        .as_str()
        .map_or_else(|| created.clone(), str::to_owned);
    // A new task works; in the answer of tasks/get, `DetailedTask` sets the word that goes with its payload.
    Task::new(id, TaskStatus::Working, created, updated)
        .with_status_message(message)
        .with_poll_interval_ms(POLL_MS)
}

/// An id of version 7 begins with the time at which it was made.
fn created_at(id: &str) -> String {
    let hex = id.rsplit('_').next().and_then(|hex| hex.get(..12));
    UnixMs(
        hex.and_then(|hex| i64::from_str_radix(hex, 16).ok())
            .unwrap_or_default(),
    )
    .to_string()
}

fn question(approval: &Value) -> Result<InputRequests, ErrorData> {
    let words = ["allow_once", "allow_always", "deny"].map(str::to_owned).to_vec();
    let form = ElicitationSchema::builder()
        .required_enum_schema("decision", EnumSchema::builder(words).build())
        .optional_string_with("reason", |text: StringSchema| text.description("Why, for the record."))
        .build()
        .map_err(|error| ErrorData::internal_error(error, None))?;
    let ask = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: approval["question"]
            .as_str()
            .unwrap_or("may this execution run?")
            .to_owned(),
        requested_schema: form,
    };
    let key = format!("{APPROVAL_KEY}{}", approval["id"].as_str().unwrap_or_default());
    Ok(InputRequests::from([(
        key,
        InputRequest::Elicitation(ElicitRequest::new(ask)),
    )]))
}

/// What a person answered in the form; none if they closed it.
fn decision(response: &Value) -> Result<Option<DecisionArg>, ErrorData> {
    match response["action"].as_str() {
        Some("accept") => serde_json::from_value(response["content"]["decision"].clone())
            .map(Some)
            .map_err(|_| ErrorData::invalid_params("decision is allow_once, allow_always or deny", None)),
        Some("decline") => Ok(Some(DecisionArg::Deny)),
        Some("cancel") => Ok(None),
        _ => Err(ErrorData::invalid_params("action is accept, decline or cancel", None)),
    }
}

/// How it ended, as the result of the call that started it.
async fn outcome(control: &Control, actor: &Actor, id: &str, ended: ExecutionState) -> Result<TaskPayload, ErrorData> {
    let arguments = GetResult {
        execution_id: id.to_owned(),
        ..GetResult::default()
    };
    let answer = control
        .get_result(actor, arguments)
        .await
        .map_err(|refusal| unknown_or(&refusal))?;
    if matches!(ended, ExecutionState::Unknown | ExecutionState::InfraFailed) {
        let message = answer["reason"]["message"]
            .as_str()
            .or(answer["summary"].as_str())
            .unwrap_or("it was lost");
        let error = json!({"code": ErrorCode::INTERNAL_ERROR, "message": message, "data": *answer});
        return Ok(TaskPayload::Failed { error: object(error) });
    }
    let mut content = answer.into_inner();
    if let Some(content) = content.as_object_mut() {
        content.insert("execution_id".into(), id.into());
    }
    let mut result = with_links(CallToolResult::structured(content));
    result.is_error = Some(ended != ExecutionState::Succeeded);
    let result = serde_json::to_value(result).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(TaskPayload::Completed { result: object(result) })
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_as_old_as_its_id() {
        assert_eq!(
            created_at("exe_019a9c7f2ecb70008000000000000001"),
            "2025-11-19T14:22:52.107Z"
        );
        assert_eq!(created_at("exe_"), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_answer_in_the_form_is_a_decision() {
        for (response, says) in [
            (
                json!({"action": "accept", "content": {"decision": "allow_once"}}),
                Some("AllowOnce"),
            ),
            (
                json!({"action": "accept", "content": {"decision": "deny", "reason": "no"}}),
                Some("Deny"),
            ),
            (json!({"action": "decline"}), Some("Deny")),
            (json!({"action": "cancel"}), None),
        ] {
            let decision = decision(&response)
                .expect("a decision")
                .map(|decision| format!("{decision:?}"));
            assert_eq!(decision.as_deref(), says, "{response}");
        }
        for bad in [
            json!({}),
            json!({"action": "accept"}),
            json!({"action": "accept", "content": {"decision": "x"}}),
        ] {
            assert!(decision(&bad).is_err(), "{bad}");
        }
    }
}
