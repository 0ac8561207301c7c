//! `start_execution`: freezes the plan by its digest and queues it, or asks a person first.

use super::contract::{ExecutionStarted, StartExecution};
use super::openclaw::tasks::turn_of;
use super::submit::KEY;
use super::validate::{self, Lines};
use super::{Answer, Control, require, views};
use crate::domain::target::ApprovalRule;
use crate::domain::{
    Actor, Approval, ApprovalId, ApprovalState, Code, Digest, Execution, ExecutionId, ExecutionState, Plan, Refusal,
    Scope, Target, Task,
};
use crate::store::{ExecutionInsert, NewExecution};

impl Control {
    /// Starts an execution of a task, once per idempotency key.
    pub async fn start_execution(&self, actor: &Actor, args: StartExecution) -> Answer {
        let result = self.start(actor, args).await;
        self.answer(result)
    }

    async fn start(&self, actor: &Actor, args: StartExecution) -> Result<ExecutionStarted, Refusal> {
        require(actor, Scope::Tasks)?;
        validate::optional("idempotency_key", args.idempotency_key.as_deref(), KEY, Lines::One)?;
        let task = self.task_for(actor, &args.task_id).await?;
        let request = Digest::of(task.id.to_string().as_bytes());
        if let Some(key) = &args.idempotency_key
            && let Some((execution, earlier)) = self.store().execution_by_key(&task.owner, key).await?
        {
            return self.attach(execution, earlier, request).await;
        }
        let replanned = self.replan(&task).await?;
        let Some(plan) = replanned.plan else {
            let needs: Vec<_> = replanned.needs.into_iter().map(|need| need.message).collect();
            return Err(Refusal::new(
                Code::NotReady,
                format!("the task still needs: {}", needs.join("; ")),
                "meet the needs that submit_task and upload_artifact listed, then start again",
            ));
        };
        let execution = self.new_execution(&task, plan);
        let approval = self.approval_for(&task, &execution, &replanned.target).await?;
        let execution = match &approval {
            Some(_) => Execution {
                state: ExecutionState::AwaitingApproval,
                ..execution
            },
            None => execution,
        };
        let (priority, session) = turn_of(&execution, &task);
        let new = NewExecution {
            execution: execution.clone(),
            idempotency_key: args.idempotency_key,
            request_digest: request,
            approval: approval.clone(),
            priority,
            session,
            inputs: Some(execution.plan.inputs.clone()),
        };
        match self.store().execution_insert(&new).await? {
            ExecutionInsert::Inserted => {}
            ExecutionInsert::Existing(existing, earlier) => return self.attach(*existing, earlier, request).await,
            ExecutionInsert::InputsChanged => {
                return Err(Refusal {
                    retryable: true,
                    ..Refusal::new(
                        Code::PlanChanged,
                        "a file of this task was changed while it was being started; nothing was started",
                        "look at the new plan, then start again",
                    )
                });
            }
            ExecutionInsert::NoTask => return Err(Refusal::not_found("task")),
            ExecutionInsert::Active(active) => {
                return Err(Refusal::new(
                    Code::AlreadyStarted,
                    format!("this task is being executed already, as {active}"),
                    "follow that execution with get_status; cancel it before you start another",
                ));
            }
        }
        tracing::info!(
            execution.id = %execution.id, task.id = %task.id, target.name = task.target,
            state = execution.state.as_str(), "execution started by its caller"
        );
        Ok(self.started(&execution, approval.as_ref()).await)
    }

    /// The answer to a repeated start: the execution that the first one made.
    async fn attach(&self, execution: Execution, earlier: Digest, now: Digest) -> Result<ExecutionStarted, Refusal> {
        if earlier != now {
            return Err(Refusal::new(
                Code::IdempotencyConflict,
                "this idempotency_key was used to start another task",
                "use a new key for each execution",
            ));
        }
        let approval = self.store().approval_for(execution.id).await?;
        Ok(self.started(&execution, approval.as_ref()).await)
    }

    async fn started(&self, execution: &Execution, approval: Option<&Approval>) -> ExecutionStarted {
        ExecutionStarted {
            execution_id: execution.id.to_string(),
            state: execution.state.as_str().into(),
            plan_digest: execution.plan_digest.to_string(),
            approval: approval
                .filter(|approval| approval.state == ApprovalState::Open)
                .map(views::approval),
            // It is started whether or not its place can be told.
            queue: self.queue_of(execution).await.unwrap_or_default(),
        }
    }

    pub(super) fn new_execution(&self, task: &Task, plan: Plan) -> Execution {
        Execution {
            id: ExecutionId::random(),
            task: task.id,
            owner: task.owner.clone(),
            state: ExecutionState::Queued,
            plan_digest: plan.digest(),
            plan,
            created_at: self.now(),
            started_at: None,
            ended_at: None,
            cancel_requested_at: None,
            cancel_reason: None,
            log_size: 0,
            epoch: 0,
            outcome: None,
        }
    }

    /// The question to a person, if the target wants one and no lasting answer covers exactly this plan.
    async fn approval_for(
        &self,
        task: &Task,
        execution: &Execution,
        target: &Target,
    ) -> Result<Option<Approval>, Refusal> {
        let intent = &execution.plan.intent;
        // A group also asks when one of its members does.
        if target.approval_for(intent) != ApprovalRule::Always && execution.plan.approval.is_none() {
            return Ok(None);
        }
        if self.store().grant_exists(&task.owner, execution.plan_digest).await? {
            return Ok(None);
        }
        let steps = what_it_does(&execution.plan);
        Ok(Some(Approval {
            id: ApprovalId::random(),
            execution: execution.id,
            task: task.id,
            owner: task.owner.clone(),
            plan_digest: execution.plan_digest,
            target: target.name.clone(),
            intent: intent.clone(),
            question: format!(
                "May `{intent}` run on {}? It will: {}. {}The caller calls the project {} and the goal {}.",
                target.name,
                steps,
                parameters(task),
                quoted(&task.spec.project_name),
                quoted(&task.spec.goal),
            ),
            state: ApprovalState::Open,
            created_at: execution.created_at,
            expires_at: execution.created_at.after(target.approval_expires),
            decided_by: None,
            decided_at: None,
            reason: None,
            of_run: None,
        }))
    }
}

/// The steps in words; of a group those of each member.
fn what_it_does(plan: &Plan) -> String {
    let steps = |plan: &Plan| {
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.summary.as_str()).collect();
        steps.join("; then ")
    };
    let Some(group) = &plan.group else {
        return steps(plan);
    };
    let members = group.members.iter();
    let members: Vec<_> = members
        .map(|member| format!("on {}: {}", member.target, steps(member)))
        .collect();
    members.join(". And ")
}

/// What the caller chose of what will run.
fn parameters(task: &Task) -> String {
    match task.spec.inputs.is_empty() {
        true => String::new(),
        false => {
            let json = serde_json::to_string(&task.spec.inputs).unwrap_or_default();
            format!("The caller chose the inputs {}. ", quoted(&json))
        }
    }
}

/// A caller's words in a question to a person: visibly a quotation, on one line, and not so long that they hide the
/// rest.
fn quoted(words: &str) -> String {
    const SHOWN: usize = 300;
    let shown: String = words.chars().take(SHOWN).collect();
    match words.chars().count() {
        0..=SHOWN => format!("{shown:?}"),
        all => format!("{shown:?} (and {} more characters)", all - SHOWN),
    }
}
