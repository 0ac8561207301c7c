//! What the operator sees at the command line: executions and approvals of every owner.

use serde::Serialize;

use super::{Answer, Control, require};
use crate::domain::{
    Actor, Approval, ApprovalState, Artifact, Execution, ExecutionId, ExecutionState, Refusal, Scope, UnixMs,
};
use crate::store::ExecutionFilter;

/// An execution in a list.
#[derive(Debug, Serialize)]
pub struct ExecutionRow {
    /// Its id.
    pub execution_id: ExecutionId,
    /// Its task.
    pub task_id: crate::domain::TaskId,
    /// Where it stands.
    pub state: ExecutionState,
    /// The target's semantic name.
    pub target: String,
    /// The intent.
    pub intent: String,
    /// Who asked for it.
    pub owner: String,
    /// When.
    pub created_at: UnixMs,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// What came of it.
    pub summary: Option<String>,
}

/// An approval in a list.
#[derive(Debug, Serialize)]
pub struct ApprovalRow {
    /// Its id.
    pub approval_id: crate::domain::ApprovalId,
    /// What waits for it.
    pub execution_id: ExecutionId,
    /// Where it stands.
    pub state: ApprovalState,
    /// What is asked.
    pub question: String,
    /// Who asked for the execution.
    pub owner: String,
    /// The digest of exactly what would run.
    pub plan_digest: crate::domain::Digest,
    /// When it was asked.
    pub created_at: UnixMs,
    /// When it lapses.
    pub expires_at: UnixMs,
}

/// An artifact in a list.
#[derive(Debug, Serialize)]
struct ArtifactRow {
    artifact_id: crate::domain::ArtifactId,
    execution_id: Option<ExecutionId>,
    role: crate::domain::ArtifactRole,
    name: String,
    size: u64,
    digest: crate::domain::Digest,
}

impl Control {
    /// Executions, newest first; for the operator everybody's.
    pub async fn list_executions(&self, actor: &Actor, state: Option<ExecutionState>, limit: u32) -> Answer {
        let result = self.executions(actor, state, limit).await;
        self.answer(result)
    }

    async fn executions(
        &self,
        actor: &Actor,
        state: Option<ExecutionState>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, Refusal> {
        require(actor, Scope::Tasks)?;
        let filter = ExecutionFilter {
            owner: (!actor.has(Scope::Operator)).then(|| actor.subject.clone()),
            state,
            task: None,
            limit,
            before: None,
        };
        let executions = self.store().execution_list(&filter).await?;
        Ok(executions.into_iter().map(execution_row).collect())
    }

    /// Approvals that wait for an answer.
    pub async fn list_approvals(&self, actor: &Actor) -> Answer {
        let result = self.approvals(actor).await;
        self.answer(result)
    }

    async fn approvals(&self, actor: &Actor) -> Result<Vec<ApprovalRow>, Refusal> {
        require(actor, Scope::Approve)?;
        let open = self.store().approval_list(Some(ApprovalState::Open), 1000).await?;
        Ok(open.into_iter().map(approval_row).collect())
    }

    /// The artifacts of an execution: what went in and what came out.
    pub async fn list_artifacts(&self, actor: &Actor, execution: ExecutionId) -> Answer {
        let result = self.artifacts(actor, execution).await;
        self.answer(result)
    }

    async fn artifacts(&self, actor: &Actor, execution: ExecutionId) -> Result<Vec<ArtifactRow>, Refusal> {
        let view = self.view_for(actor, execution).await?;
        let inputs = self.store().artifact_inputs(view.execution.task).await?;
        let outputs = self.store().artifact_outputs(execution).await?;
        Ok(inputs.into_iter().chain(outputs).map(artifact_row).collect())
    }
}

fn execution_row(execution: Execution) -> ExecutionRow {
    ExecutionRow {
        execution_id: execution.id,
        task_id: execution.task,
        state: execution.state,
        target: execution.plan.target,
        intent: execution.plan.intent,
        owner: execution.owner,
        created_at: execution.created_at,
        ended_at: execution.ended_at,
        summary: execution.outcome.map(|outcome| outcome.summary),
    }
}

fn approval_row(approval: Approval) -> ApprovalRow {
    ApprovalRow {
        approval_id: approval.id,
        execution_id: approval.execution,
        state: approval.state,
        question: approval.question,
        owner: approval.owner,
        plan_digest: approval.plan_digest,
        created_at: approval.created_at,
        expires_at: approval.expires_at,
    }
}

fn artifact_row(artifact: Artifact) -> ArtifactRow {
    ArtifactRow {
        artifact_id: artifact.id,
        execution_id: artifact.execution,
        role: artifact.role,
        name: artifact.name,
        size: artifact.size,
        digest: artifact.digest,
    }
}
