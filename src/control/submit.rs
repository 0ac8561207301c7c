//! `submit_task`: a caller says what it wants; the answer says what would happen.

use super::contract::{SubmitTask, TaskSubmitted};
use super::validate::{self, Lines};
use super::{Answer, Control, require, views};
use crate::domain::task::{Constraints, TaskSpec};
use crate::domain::{Actor, Code, Digest, Refusal, Scope, Task, TaskId};
use crate::planner;
use crate::store::TaskInsert;

/// The longest project name, in characters.
const PROJECT_NAME: usize = 200;
/// The longest goal.
const GOAL: usize = 10_000;
/// The longest target reference and intent.
const REFERENCE: usize = 300;
/// The longest context.
const CONTEXT: usize = 100_000;
/// The longest idempotency key.
pub(super) const KEY: usize = 200;
/// The client's own name is cut there.
const CLIENT: usize = 100;
/// All inputs together, as JSON, in bytes.
const INPUTS: usize = 64 * 1024;

impl Control {
    /// Takes a task and answers with its plan in words. Nothing runs.
    pub async fn submit_task(&self, actor: &Actor, args: SubmitTask) -> Answer {
        let result = self.submit(actor, args).await;
        self.answer(result)
    }

    async fn submit(&self, actor: &Actor, args: SubmitTask) -> Result<TaskSubmitted, Refusal> {
        require(actor, Scope::Tasks)?;
        check(&args)?;
        let key = args.idempotency_key.clone();
        let spec = spec_of(args);
        let snapshot = self.0.rooms.inventory.snapshot();
        let target = planner::resolve(&spec.target_ref, &snapshot.targets)?.target.clone();
        let task = Task {
            id: TaskId::random(),
            owner: actor.subject.clone(),
            client: actor.client.chars().filter(|c| !c.is_control()).take(CLIENT).collect(),
            target: target.name.clone(),
            idempotency_key: key,
            request_digest: request_digest(&spec),
            created_at: self.now(),
            spec,
        };
        // Planned before it is stored: what can never run is not taken.
        let mut planned = self.plan_with(&task, target, &[]).await?;
        let task = match self.store().task_insert(&task).await? {
            TaskInsert::Inserted => task,
            TaskInsert::Existing(earlier) if earlier.request_digest == task.request_digest => {
                planned = self.replan_leniently(&earlier).await?;
                *earlier
            }
            TaskInsert::Existing(_) => {
                return Err(Refusal::new(
                    Code::IdempotencyConflict,
                    "this idempotency_key was used for another task",
                    "use a new key, or repeat the earlier arguments exactly",
                ));
            }
        };
        tracing::info!(
            task.id = %task.id, target.name = task.target, actor.subject = task.owner,
            intent = task.spec.execution_intent, "task submitted"
        );
        Ok(TaskSubmitted {
            task_id: task.id.to_string(),
            target: views::target(&planned.target),
            plan: planned.plan_view(),
            needs: planned.need_views(),
            approvals: planned.approvals,
        })
    }
}

fn check(args: &SubmitTask) -> Result<(), Refusal> {
    validate::text("project_name", &args.project_name, PROJECT_NAME, Lines::One)?;
    validate::text("goal", &args.goal, GOAL, Lines::Many)?;
    validate::text("target_ref", &args.target_ref, REFERENCE, Lines::One)?;
    validate::text("execution_intent", &args.execution_intent, REFERENCE, Lines::One)?;
    validate::optional("context", args.context.as_deref(), CONTEXT, Lines::Many)?;
    validate::optional("idempotency_key", args.idempotency_key.as_deref(), KEY, Lines::One)?;
    let inputs = args
        .inputs
        .as_ref()
        .and_then(|inputs| serde_json::to_string(inputs).ok());
    if inputs.is_some_and(|json| json.len() > INPUTS) {
        return Err(Refusal::invalid(
            format!("inputs are larger than {INPUTS} bytes"),
            "put large material into an artifact",
        ));
    }
    Ok(())
}

fn spec_of(args: SubmitTask) -> TaskSpec {
    let constraints = args.constraints.unwrap_or_default();
    TaskSpec {
        project_name: args.project_name,
        goal: args.goal,
        target_ref: args.target_ref,
        execution_intent: args.execution_intent,
        context: args.context,
        constraints: Constraints {
            timeout_s: constraints.timeout_s,
            max_output_bytes: constraints.max_output_bytes,
        },
        inputs: args.inputs.unwrap_or_default(),
    }
}

fn request_digest(spec: &TaskSpec) -> Digest {
    let json = serde_json::to_value(spec).unwrap_or_default();
    Digest::of(json.to_string().as_bytes())
}
