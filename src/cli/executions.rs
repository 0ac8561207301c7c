//! `clawhand executions`: list, show, logs, cancel.

use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::output::{self, Form};
use super::{exit, run};
use crate::app::Home;
use crate::control::Control;
use crate::control::contract::{CancelExecution, ExecutionResult, GetResult, GetStatus, StateView, Status};
use crate::domain::{Actor, ExecutionId, ExecutionState, Refusal};
use crate::redact::Clean;

/// What to do with executions.
#[derive(Debug, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, newest first.
    List {
        /// Only those in this state.
        #[arg(long)]
        state: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the result of one.
    Show {
        /// Its id.
        id: ExecutionId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the log of one.
    Logs {
        /// Its id.
        id: ExecutionId,
        /// Wait for more until it has ended.
        #[arg(long, short)]
        follow: bool,
    },
    /// Cancel one.
    Cancel {
        /// Its id.
        id: ExecutionId,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Row {
    execution_id: String,
    state: String,
    target: String,
    intent: String,
    created_at: String,
    summary: Option<String>,
}

pub(super) async fn execute(command: ExecutionsCommand, home: &Home) -> anyhow::Result<u8> {
    let control = home.control(None);
    let actor = Actor::operator();
    match command {
        ExecutionsCommand::List { state, limit, json } => {
            let parsed = state.as_deref().map(|word| {
                ExecutionState::parse(word).ok_or_else(|| anyhow::anyhow!("{word} is not a state of an execution"))
            });
            let answer = control.list_executions(&actor, parsed.transpose()?, limit).await;
            output::answer(Form::of(json), answer, |rows: Vec<Row>| {
                let rows: Vec<Vec<String>> = rows
                    .into_iter()
                    .map(|row| {
                        let summary = row.summary.unwrap_or_default();
                        vec![
                            row.execution_id,
                            row.state,
                            row.target,
                            row.intent,
                            row.created_at,
                            summary,
                        ]
                    })
                    .collect();
                output::table(&["EXECUTION", "STATE", "TARGET", "INTENT", "CREATED", "SUMMARY"], &rows);
            })
        }
        ExecutionsCommand::Show { id, json } => {
            let answer = control
                .get_result(
                    &actor,
                    GetResult {
                        execution_id: id.to_string(),
                        ..GetResult::default()
                    },
                )
                .await;
            output::answer(Form::of(json), answer, |result: ExecutionResult| {
                run::show_result(&result);
            })
        }
        ExecutionsCommand::Logs { id, follow: wait } => logs(home, &control, &actor, id, wait).await,
        ExecutionsCommand::Cancel { id, reason, json } => {
            let cancel = CancelExecution {
                execution_id: id.to_string(),
                reason,
            };
            let answer = control.cancel_execution(&actor, cancel).await;
            output::answer(Form::of(json), answer, |now: StateView| {
                output::text(&format!("{}\n", now.state));
            })
        }
    }
}

async fn logs(home: &Home, control: &Control, actor: &Actor, id: ExecutionId, wait: bool) -> anyhow::Result<u8> {
    if wait {
        home.start_listening(&home.lifecycle);
        let followed = follow(control, actor, id, Follow { to_stderr: false }).await?;
        home.lifecycle.stop();
        return Ok(followed.map_or_else(|refused| output::refusal(&refused), |()| exit::SUCCEEDED));
    }
    let mut cursor = None;
    loop {
        let ask = GetStatus {
            execution_id: id.to_string(),
            cursor,
            wait_ms: None,
            max_bytes: Some(64 * 1024),
        };
        let status: Status = match output::read(control.get_status(actor, ask).await)? {
            Ok(status) => status,
            Err(refused) => return Ok(output::refusal(&refused)),
        };
        output::text(&status.log.text);
        if status.log.text.is_empty() {
            return Ok(exit::SUCCEEDED);
        }
        cursor = Some(status.log.next_cursor);
    }
}

/// How an execution is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow {
    /// The log goes to standard error, because standard output belongs to JSON.
    pub(super) to_stderr: bool,
}

/// Prints the log until the execution has ended, with a line of progress on standard error.
pub(super) async fn follow(
    control: &Control,
    actor: &Actor,
    id: ExecutionId,
    how: Follow,
) -> anyhow::Result<Result<(), Clean<Refusal>>> {
    let bar = progress_bar();
    let mut cursor = None;
    loop {
        let ask = GetStatus {
            execution_id: id.to_string(),
            cursor: cursor.take(),
            wait_ms: Some(25_000),
            max_bytes: Some(64 * 1024),
        };
        let status: Status = match output::read(control.get_status(actor, ask).await)? {
            Ok(status) => status,
            Err(refused) => return Ok(Err(refused)),
        };
        bar.suspend(|| print_log(&status.log.text, how));
        show_progress(&bar, &status);
        let ended = ExecutionState::parse(&status.state).is_some_and(ExecutionState::is_terminal);
        if ended && status.log.done {
            bar.finish_and_clear();
            return Ok(Ok(()));
        }
        cursor = Some(status.log.next_cursor);
    }
}

fn print_log(text: &str, how: Follow) {
    if how.to_stderr {
        let _ = std::io::Write::write_all(&mut anstream::stderr(), text.as_bytes());
    } else {
        output::text(text);
    }
}

/// Draws on a terminal only; elsewhere it is silent.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show_progress(bar: &ProgressBar, status: &Status) {
    let steps = status
        .progress
        .as_ref()
        .map(|progress| format!(" {}/{} steps", progress.done, progress.total));
    let step = status.step.as_ref().map(|step| format!(", {step}"));
    bar.set_message(format!(
        "{}{}{}",
        status.state,
        steps.unwrap_or_default(),
        step.unwrap_or_default()
    ));
}
