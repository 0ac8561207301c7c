//! `start_execution`.

use std::sync::Arc;

use rmcp::model::Tool;
use serde_json::json;

use super::{About, Call, Effect, describe};
use crate::control::contract::{ExecutionStarted, StartExecution};
use crate::mcp::answer::{self, Called};
use crate::mcp::executions;

pub(super) fn tool() -> Tool {
    let mut tool = describe::<StartExecution, ExecutionStarted>(&About {
        name: "start_execution",
        title: "Start an execution",
        description: "Use this when submit_task or upload_artifact answered with no needs: it freezes the plan and \
                      queues it. It answers at once; follow with get_status.",
        effect: Effect::Acts,
    });
    // A client that follows the execution as an MCP task gets its outcome as the result of this call (see
    // `executions`), which names the execution and its state but no plan.
    if let Some(schema) = &mut tool.output_schema
        && let Some(answer) = Arc::make_mut(schema)
            .get_mut("anyOf")
            .and_then(|choices| choices.get_mut(0))
    {
        answer["required"] = json!(["execution_id", "state"]);
    }
    tool
}

pub(super) async fn call(mut call: Call<'_>) -> Called {
    let answer = match call.arguments::<StartExecution>() {
        Ok(arguments) => call.control.start_execution(call.actor, arguments).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(started) if executions::knows_tasks(call.context) => Ok(executions::created(&started).into()),
        answer => Ok(answer::result(answer).into()),
    }
}
