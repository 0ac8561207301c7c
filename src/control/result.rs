//! `get_result`: what came of an execution.

use super::contract::{ArtifactView, ExecutionResult, FailureView, GetResult, ReasonView, StepResultView, TestsView};
use super::links::LinkKind;
use super::{Answer, Control, require, validate};
use crate::domain::execution::StepRow;
use crate::domain::{Actor, Artifact, ExecutionId, Outcome, Reason, Refusal, Scope, TestSummary};

/// The largest output that is shown inside the result.
const INLINE: u64 = 4 * 1024;
/// All outputs shown inside one result together.
const INLINE_ALL: u64 = 16 * 1024;

impl Control {
    /// What came of an execution, or where it stands.
    pub async fn get_result(&self, actor: &Actor, args: GetResult) -> Answer {
        let result = self.result(actor, args).await;
        self.answer(result)
    }

    async fn result(&self, actor: &Actor, args: GetResult) -> Result<ExecutionResult, Refusal> {
        require(actor, Scope::Tasks)?;
        let id: ExecutionId = validate::id("execution", &args.execution_id)?;
        let view = self.view_for(actor, id).await?;
        let ended = view.execution.state.is_terminal();
        let outcome = view.execution.outcome.unwrap_or_else(|| Outcome {
            summary: "not ended yet; follow it with get_status".into(),
            ..Outcome::default()
        });
        let artifacts = match ended {
            true => self.artifact_views(id).await?,
            false => Vec::new(),
        };
        Ok(ExecutionResult {
            state: view.execution.state.as_str().into(),
            exit_code: outcome.exit_code,
            summary: outcome.summary,
            tests: outcome.tests.map(tests_view),
            artifacts,
            steps: view.steps.iter().map(step_view).collect(),
            reason: outcome.reason.map(reason_view),
        })
    }

    async fn artifact_views(&self, execution: ExecutionId) -> Result<Vec<ArtifactView>, Refusal> {
        let expires = self.now().after(self.0.settings.download_link_expires);
        let mut room = INLINE_ALL;
        let mut views = Vec::new();
        for artifact in self.store().artifact_outputs(execution).await? {
            let text = self.inline_text(&artifact, &mut room).await?;
            let link = self
                .0
                .rooms
                .links
                .make(LinkKind::Artifact, &artifact.id.to_string(), expires);
            views.push(ArtifactView {
                uri: format!("clawhand://artifacts/{}", artifact.id),
                name: artifact.name,
                size: artifact.size,
                digest: artifact.digest.to_string(),
                download_expires_at: link.as_ref().map(|_| expires.to_string()),
                download_url: link,
                text,
            });
        }
        Ok(views)
    }

    /// The content of a short text, while there is room.
    async fn inline_text(&self, artifact: &Artifact, room: &mut u64) -> Result<Option<String>, Refusal> {
        let is_text = artifact.media_type.starts_with("text/") || artifact.media_type == "application/json";
        if artifact.size > INLINE || artifact.size > *room || !is_text {
            return Ok(None);
        }
        let bytes = self.blobs().read(artifact.digest, INLINE).await?;
        let text = String::from_utf8(bytes.to_vec()).ok();
        if text.is_some() {
            *room -= artifact.size;
        }
        Ok(text)
    }
}

fn tests_view(tests: TestSummary) -> TestsView {
    TestsView {
        passed: tests.passed,
        failed: tests.failed,
        skipped: tests.skipped,
        failures: tests
            .failures
            .into_iter()
            .map(|failure| FailureView {
                name: failure.name,
                message: failure.message,
            })
            .collect(),
        passed_names: tests.passed_names,
        skipped_names: tests.skipped_names,
    }
}

fn step_view(step: &StepRow) -> StepResultView {
    let took = step.started_at.zip(step.ended_at).map(|(from, to)| to.since(from));
    StepResultView {
        name: step.name.clone(),
        state: step.state.as_str().into(),
        exit_code: step.exit_code,
        duration_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn reason_view(reason: Reason) -> ReasonView {
    ReasonView {
        code: reason.code,
        message: reason.message,
        retryable: reason.retryable,
        hint: reason.hint,
    }
}
