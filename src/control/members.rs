//! The members of a group's execution, as callers follow it: each is told like a step, and with its own execution.

use super::Control;
use super::contract::MemberView;
use super::result::duration_ms;
use crate::domain::execution::StepRow;
use crate::domain::{Execution, ExecutionState, Plan, Refusal, StepState};
use crate::store::{Child, ExecutionView};

impl Control {
    /// The view with a row for each member where a plan of its own would have its steps.
    pub(super) async fn with_members(&self, view: ExecutionView) -> Result<ExecutionView, Refusal> {
        let Some(group) = &view.execution.plan.group else {
            return Ok(view);
        };
        let children = self.store().children(view.execution.id).await?;
        let steps = group.members.iter().zip(0..).map(|(plan, index)| {
            let child = child_of(plan, &children);
            StepRow {
                index,
                name: plan.target.clone(),
                state: child.map_or(not_started(&view.execution), |child| as_step(child.state)),
                exit_code: child.and_then(exit_code),
                started_at: child.and_then(|child| child.started_at),
                ended_at: child.and_then(|child| child.ended_at),
            }
        });
        Ok(ExecutionView {
            steps: steps.collect(),
            ..view
        })
    }

    /// What came of it on each member; nothing where there are none.
    pub(super) async fn member_views(&self, execution: &Execution) -> Result<Vec<MemberView>, Refusal> {
        let Some(group) = &execution.plan.group else {
            return Ok(Vec::new());
        };
        let children = self.store().children(execution.id).await?;
        let views = group.members.iter().map(|plan| {
            let child = child_of(plan, &children);
            MemberView {
                name: plan.target.clone(),
                state: child
                    .map_or(not_started(execution).as_str(), |child| child.state.as_str())
                    .into(),
                execution_id: child.map(|child| child.id.to_string()),
                exit_code: child.and_then(exit_code),
                summary: child.and_then(|child| Some(child.outcome.as_ref()?.summary.clone())),
                duration_ms: child.and_then(|child| duration_ms(child.started_at, child.ended_at)),
            }
        });
        Ok(views.collect())
    }
}

fn child_of<'a>(plan: &Plan, children: &'a [Child]) -> Option<&'a Child> {
    children.iter().find(|child| child.member == plan.target)
}

fn exit_code(child: &Child) -> Option<i32> {
    child.outcome.as_ref()?.exit_code
}

/// What is told of a member that has no execution.
const fn not_started(group: &Execution) -> StepState {
    if group.state.is_terminal() {
        StepState::Skipped
    } else {
        StepState::Pending
    }
}

const fn as_step(state: ExecutionState) -> StepState {
    match state {
        ExecutionState::AwaitingApproval | ExecutionState::Queued => StepState::Pending,
        ExecutionState::Preparing | ExecutionState::Running | ExecutionState::Collecting => StepState::Running,
        ExecutionState::Succeeded => StepState::Succeeded,
        ExecutionState::Failed => StepState::Failed,
        ExecutionState::TimedOut => StepState::TimedOut,
        ExecutionState::Cancelled => StepState::Cancelled,
        ExecutionState::Unknown => StepState::Unknown,
        // Known not to have run.
        ExecutionState::InfraFailed | ExecutionState::Denied | ExecutionState::Expired => StepState::Skipped,
    }
}
