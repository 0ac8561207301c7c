//! `clawhand run`: the main job in one command. Submits a folder, shows the plan, follows the log, prints the result.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::exit;
use super::output::{self, Form};
use super::pack::pack;
use crate::app::{Home, Refused};
use crate::cli::executions::{Follow, follow};
use crate::control::Control;
use crate::control::contract::{
    ArtifactUploaded, CancelExecution, ConstraintsArg, ExecutionResult, ExecutionStarted, GetResult, PlanView,
    StartExecution, SubmitTask, TaskSubmitted,
};
use crate::domain::units::Span;
use crate::domain::{Actor, ExecutionId, ExecutionState, Refusal};
use crate::redact::Clean;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The project: a folder, or one file.
    pub project: PathBuf,
    /// Where: a target's name, alias, labels or words.
    #[arg(long, short)]
    pub target: String,
    /// The kind of work: run, test, install_and_test, build, lint, ...
    #[arg(long, short)]
    pub intent: String,
    /// What should be achieved, in words.
    #[arg(long)]
    pub goal: Option<String>,
    /// A parameter of the recipe, as NAME=VALUE; VALUE may be JSON.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = parse_input)]
    pub inputs: Vec<(String, Value)>,
    /// Longest time for each step, such as 90s or 10m.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Print what get_result returns, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Show the plan and stop.
    #[arg(long)]
    pub plan_only: bool,
}

fn parse_input(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// Either a refusal for the caller, or a failure of the program.
enum Stop {
    Refused(Clean<Refusal>),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) async fn execute(arguments: RunArguments, home: &Home) -> anyhow::Result<u8> {
    let form = Form::of(arguments.json);
    match job(arguments, home).await {
        Ok(code) => Ok(code),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Refused(refusal)) if form == Form::Json => output::refusal_json(&refusal),
        Err(Stop::Refused(refusal)) => Ok(output::refusal(&refusal)),
    }
}

async fn job(arguments: RunArguments, home: &Home) -> Result<u8, Stop> {
    let control = home.control(None);
    let actor = Actor::operator();
    let form = Form::of(arguments.json);
    let uploaded = upload(&arguments, &control, &actor).await?;
    show_plan(uploaded.plan.as_ref());
    for need in &uploaded.needs {
        output::note(&format!(
            "{} {} ({})",
            output::styled(output::NOTE, "needs:"),
            need.message,
            need.hint
        ));
    }
    if arguments.plan_only {
        if form == Form::Json {
            output::json(&uploaded.plan)?;
        }
        return Ok(if uploaded.plan.is_some() {
            exit::SUCCEEDED
        } else {
            exit::REFUSED
        });
    }
    let start = StartExecution {
        task_id: uploaded.task_id,
        idempotency_key: None,
    };
    let started: ExecutionStarted = read(control.start_execution(&actor, start).await)?;
    if let Some(approval) = &started.approval {
        let question = approval.question.as_deref().unwrap_or_default();
        output::note(&format!(
            "{} {question}",
            output::styled(output::NOTE, "a person is asked:")
        ));
        output::note(&format!("  answer with: clawhand approvals allow {}", approval.id));
    }
    let id: ExecutionId = started.execution_id.parse().map_err(anyhow::Error::from)?;
    let result = drive(home, &control, id, form).await?;
    match form {
        Form::Json => output::json(&result)?,
        Form::Text => show_result(&result),
    }
    Ok(ExecutionState::parse(&result.state).map_or(exit::INTERNAL, exit::of_state))
}

fn read<T: serde::de::DeserializeOwned>(answer: crate::control::Answer) -> Result<T, Stop> {
    output::read(answer)?.map_err(Stop::Refused)
}

/// What is known of the task after its files are there.
struct Uploaded {
    task_id: String,
    plan: Option<PlanView>,
    needs: Vec<crate::control::contract::NeedView>,
}

async fn upload(arguments: &RunArguments, control: &Control, actor: &Actor) -> Result<Uploaded, Stop> {
    let project = std::fs::canonicalize(&arguments.project)
        .map_err(|error| Refused(format!("{} can't be opened: {error}", arguments.project.display())))
        .map_err(anyhow::Error::from)?;
    let name = project
        .file_name()
        .map_or_else(|| "project".into(), |name| name.to_string_lossy().into_owned());
    let intent = &arguments.intent;
    let submit = SubmitTask {
        goal: arguments.goal.clone().unwrap_or_else(|| format!("{intent} of {name}")),
        project_name: name.clone(),
        target_ref: arguments.target.clone(),
        execution_intent: intent.clone(),
        context: None,
        constraints: arguments.timeout.map(|timeout| ConstraintsArg {
            timeout_s: Some(timeout.0.as_secs().max(1)),
            max_output_bytes: None,
        }),
        inputs: (!arguments.inputs.is_empty()).then(|| arguments.inputs.iter().cloned().collect()),
        idempotency_key: None,
    };
    let task: TaskSubmitted = read(control.submit_task(actor, submit).await)?;
    let (file, name) = open(&project, name).await?;
    let uploaded: ArtifactUploaded = read(control.upload_file(actor, &task.task_id, &name, file).await)?;
    Ok(Uploaded {
        task_id: task.task_id,
        plan: uploaded.plan,
        needs: uploaded.needs,
    })
}

/// The bytes to upload and their name: a folder is packed, a file goes as it is.
async fn open(project: &Path, name: String) -> Result<(tokio::fs::File, String), Stop> {
    let folder = project.is_dir();
    let path = project.to_path_buf();
    let opened = tokio::task::spawn_blocking(move || match folder {
        true => pack(&path),
        false => Ok(std::fs::File::open(&path)?),
    });
    let file = opened.await.map_err(anyhow::Error::from)??;
    let name = if folder { "project.tar.gz".to_owned() } else { name };
    Ok((tokio::fs::File::from_std(file), name))
}

fn show_plan(plan: Option<&PlanView>) {
    let Some(plan) = plan else {
        return;
    };
    output::note(&output::styled(output::BOLD, "plan"));
    output::note(&format!("  {}", plan.explanation.trim().replace('\n', "\n  ")));
    let digest = output::styled(output::DIM, &plan.digest);
    output::note(&format!("  risk: {}  {digest}", plan.risk));
}

/// Works on this one execution and follows it to its end. The first interrupt cancels it; a second leaves it alone.
async fn drive(home: &Home, control: &Control, id: ExecutionId, form: Form) -> Result<ExecutionResult, Stop> {
    let lifecycle = &home.lifecycle;
    home.start_listening(lifecycle);
    home.start_worker(lifecycle, Some(id));
    let actor = Actor::operator();
    let to_stderr = form == Form::Json;
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
        output::note("cancelling; press again to leave it running in the background");
        let cancel = CancelExecution {
            execution_id: id.to_string(),
            reason: Some("interrupted".into()),
        };
        let _ = control.cancel_execution(&actor, cancel).await;
        let _ = tokio::signal::ctrl_c().await;
    };
    let mut followed = std::pin::pin!(follow(control, &actor, id, Follow { to_stderr }));
    let mut interrupted = std::pin::pin!(interrupted);
    tokio::select! {
        followed = &mut followed => followed?.map_err(Stop::Refused)?,
        () = &mut interrupted => {
            return Err(anyhow::anyhow!("left alone; follow it with: clawhand executions logs -f {id}").into());
        }
    }
    let result = control
        .get_result(
            &actor,
            GetResult {
                execution_id: id.to_string(),
                ..GetResult::default()
            },
        )
        .await;
    lifecycle.stop();
    lifecycle.run().await.map_err(anyhow::Error::from)?;
    read(result)
}

/// The result for a person.
pub(super) fn show_result(result: &ExecutionResult) {
    let mut out = format!("\n{} {}\n", output::state(&result.state), result.summary);
    for member in &result.members {
        let id = member.execution_id.as_deref().unwrap_or_default();
        let summary = member.summary.as_deref().unwrap_or_default();
        out += &format!(
            "  {}: {} {summary} {}\n",
            member.name,
            output::state(&member.state),
            output::styled(output::DIM, id)
        );
    }
    let steps = result.steps.iter().filter(|_| result.members.is_empty());
    for step in steps {
        let took = step
            .duration_ms
            .map(|ms| format!(" in {:.1} s", Duration::from_millis(ms).as_secs_f64()));
        let code = step
            .exit_code
            .filter(|code| *code != 0)
            .map(|code| format!(", exit code {code}"));
        out += &format!(
            "  step {}: {}{}{}\n",
            step.name,
            step.state,
            code.unwrap_or_default(),
            took.unwrap_or_default()
        );
    }
    if let Some(tests) = &result.tests {
        out += &format!(
            "tests: {} passed, {} failed, {} skipped\n",
            tests.passed, tests.failed, tests.skipped
        );
        for name in &tests.passed_names {
            out += &format!("  {} {name}\n", output::styled(output::GOOD, "passed "));
        }
        for name in &tests.skipped_names {
            out += &format!("  {} {name}\n", output::styled(output::NOTE, "skipped"));
        }
        for failure in &tests.failures {
            out += &format!("  {} {}\n", output::styled(output::BAD, "failed "), failure.name);
            for line in failure.message.lines().take(12) {
                out += &format!("            {line}\n");
            }
        }
        if tests.left_out > 0 {
            out += &format!("  and {} more that are not listed\n", tests.left_out);
        }
    }
    for artifact in &result.artifacts {
        out += &format!(
            "artifact: {} ({} bytes, {})\n",
            artifact.name, artifact.size, artifact.uri
        );
    }
    if result.artifacts_left_out > 0 {
        out += &format!("and {} more; see clawhand artifacts list\n", result.artifacts_left_out);
    }
    if let Some(reason) = &result.reason {
        out += &format!(
            "{} {} [{}]\n",
            output::styled(output::BAD, "why:"),
            reason.message,
            reason.code
        );
        out += &format!("{} {}\n", output::styled(output::NOTE, "hint:"), reason.hint);
    }
    output::text(&out);
}
