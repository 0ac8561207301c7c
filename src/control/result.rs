//! `get_result`: what came of an execution.

use super::contract::{ArtifactView, ExecutionResult, FailureView, GetResult, ReasonView, StepResultView, TestsView};
use super::links::LinkKind;
use super::room::{Room, in_json};
use super::{Answer, Control, require, validate};
use crate::domain::execution::StepRow;
use crate::domain::{Actor, Artifact, ExecutionId, Outcome, Reason, Refusal, Scope, TestSummary, UnixMs};

/// The most outputs that are shown inside a result: each costs a look at the artifact store.
const INLINE_COUNT: usize = 16;
/// The largest output that is shown inside the result.
const INLINE: u64 = 4 * 1024;
/// All outputs shown inside one result together.
const INLINE_ALL: usize = 8 * 1024;
/// Everything else about outputs; the rest has a cursor.
const ARTIFACTS: usize = 16 * 1024;
/// All messages of failures together.
const MESSAGES: usize = 24 * 1024;
/// All names of tests together; those of failures come first.
const NAMES: usize = 16 * 1024;

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
        let from = args.cursor.as_deref().map_or(Ok(0), parse_cursor)?;
        let ended = view.execution.state.is_terminal();
        let members = self.member_views(&view.execution).await?;
        let outcome = view.execution.outcome.unwrap_or_else(|| Outcome {
            summary: "not ended yet; follow it with get_status".into(),
            ..Outcome::default()
        });
        let (artifacts, left_out) = match ended {
            true => self.artifact_views(id, from).await?,
            false => (Vec::new(), 0),
        };
        Ok(ExecutionResult {
            state: view.execution.state.as_str().into(),
            exit_code: outcome.exit_code,
            summary: outcome.summary,
            tests: outcome.tests.map(tests_view),
            next_cursor: (left_out > 0).then(|| (from + artifacts.len()).to_string()),
            artifacts_left_out: left_out as u64,
            artifacts,
            steps: view.steps.iter().map(step_view).collect(),
            members,
            reason: outcome.reason.map(reason_view),
        })
    }

    /// The outputs behind the first `from`, as many as have room, and how many that leaves out.
    async fn artifact_views(&self, execution: ExecutionId, from: usize) -> Result<(Vec<ArtifactView>, usize), Refusal> {
        let outputs = self.store().artifact_outputs(execution).await?;
        Ok(self.views_of(outputs.get(from..).unwrap_or_default()).await)
    }

    /// As many of these outputs as have room, and how many that leaves out.
    pub(super) async fn views_of(&self, outputs: &[Artifact]) -> (Vec<ArtifactView>, usize) {
        let views = outputs.iter().map(|artifact| self.artifact_view(artifact));
        let mut views = Room::new(ARTIFACTS).fill(views);
        let mut room = Room::new(INLINE_ALL);
        let short = |artifact: &Artifact| artifact.size <= INLINE && is_text(&artifact.media_type);
        let shown = views.iter_mut().zip(outputs);
        for (view, artifact) in shown.filter(|(_, artifact)| short(artifact)).take(INLINE_COUNT) {
            view.text = self.inline_text(artifact, &mut room).await;
        }
        let left_out = outputs.len() - views.len();
        (views, left_out)
    }

    fn artifact_view(&self, artifact: &Artifact) -> ArtifactView {
        let expires = self.now().after(self.0.settings.download_link_expires);
        let links = &self.0.rooms.links;
        let link = links.make(LinkKind::Artifact, &artifact.id.to_string(), expires);
        ArtifactView {
            uri: format!("clawhand://artifacts/{}", artifact.id),
            name: artifact.name.clone(),
            size: artifact.size,
            digest: artifact.digest.to_string(),
            download_expires_at: link.as_ref().map(|_| expires.to_string()),
            download_url: link,
            text: None,
        }
    }

    /// The content of a short text, while there is room.
    async fn inline_text(&self, artifact: &Artifact, room: &mut Room) -> Option<String> {
        match self.blobs().read(artifact.blob(), INLINE).await {
            Ok(bytes) => String::from_utf8(bytes.to_vec())
                .ok()
                .filter(|text| room.take(in_json(text))),
            Err(error) => {
                // How the work ended is known all the same, and must be told.
                tracing::warn!(artifact.id = %artifact.id, %error, "an output can't be shown");
                None
            }
        }
    }
}

fn parse_cursor(text: &str) -> Result<usize, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid(
            "cursor is not one that get_result gave",
            "use next_cursor of the last answer, or leave cursor out",
        )
    })
}

fn tests_view(tests: TestSummary) -> TestsView {
    let mut names = Room::new(NAMES);
    let (failed, messages): (Vec<_>, Vec<_>) = tests
        .failures
        .into_iter()
        .map(|failure| (failure.name, failure.message))
        .unzip();
    let failed = names.fill(failed);
    let skipped_names = names.fill(tests.skipped_names);
    let passed_names = names.fill(tests.passed_names);
    let messages = Room::new(MESSAGES).share(messages.into_iter().take(failed.len()).collect());
    let counted = tests.passed + tests.failed + tests.skipped;
    let listed = (failed.len() + skipped_names.len() + passed_names.len()) as u64;
    TestsView {
        passed: tests.passed,
        failed: tests.failed,
        skipped: tests.skipped,
        failures: failed
            .into_iter()
            .zip(messages)
            .map(|(name, message)| FailureView { name, message })
            .collect(),
        passed_names,
        skipped_names,
        left_out: counted.saturating_sub(listed),
    }
}

fn step_view(step: &StepRow) -> StepResultView {
    StepResultView {
        name: step.name.clone(),
        state: step.state.as_str().into(),
        exit_code: step.exit_code,
        duration_ms: duration_ms(step.started_at, step.ended_at),
    }
}

/// Between two times, in milliseconds.
pub(super) fn duration_ms(from: Option<UnixMs>, to: Option<UnixMs>) -> Option<u64> {
    let took = to?.since(from?);
    Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

fn reason_view(reason: Reason) -> ReasonView {
    ReasonView {
        code: reason.code,
        message: reason.message,
        retryable: reason.retryable,
        hint: reason.hint,
    }
}

/// Whether content of this media type can be shown as text.
fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type == "application/json"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::TestFailure;

    #[test]
    fn the_largest_summary_fits_and_says_what_it_leaves_out() {
        let name = |kind: &str, index: usize| format!("{kind}_{index}_{}", "n".repeat(500));
        let names = |kind: &str| (0..200).map(|index| name(kind, index)).collect::<Vec<_>>();
        let failure = |index| TestFailure {
            name: name("failed", index),
            message: "\u{1b}[31mexpected\n".repeat(256),
        };
        let view = tests_view(TestSummary {
            passed: 900,
            failed: 300,
            skipped: 250,
            failures: (0..200).map(failure).collect(),
            passed_names: names("passed"),
            skipped_names: names("skipped"),
        });
        let json = serde_json::to_string(&view).expect("JSON");
        assert!(json.len() <= MESSAGES + NAMES + 4 * 1024, "{}", json.len());
        assert!(view.failures.len() > 20 && view.failures[0].message.contains("bytes left out"));
        let listed = view.failures.len() + view.passed_names.len() + view.skipped_names.len();
        assert_eq!(view.left_out, 1450 - listed as u64);
    }

    #[test]
    fn a_usual_summary_is_whole() {
        let tests = TestSummary {
            passed: 2,
            failed: 1,
            failures: vec![TestFailure {
                name: "f".into(),
                message: "m".repeat(4096),
            }],
            passed_names: vec!["a".into(), "b".into()],
            ..TestSummary::default()
        };
        let view = tests_view(tests.clone());
        assert_eq!(
            (view.left_out, view.passed_names, &view.failures[0].message),
            (0, tests.passed_names, &tests.failures[0].message)
        );
    }
}
