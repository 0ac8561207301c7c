//! `clawhand tasks`.

use clap::Args;

use super::output::{self, Form};
use crate::app::Home;
use crate::control::contract::{ListTasks, TaskList};
use crate::domain::Actor;

/// Arguments of `tasks`.
#[derive(Debug, Args)]
pub struct TasksArguments {
    /// Only tasks whose last execution is in this state; `submitted` for those never started.
    #[arg(long)]
    pub state: Option<String>,
    /// At most this many, 1 to 100.
    #[arg(long)]
    pub limit: Option<u32>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn execute(arguments: TasksArguments, home: &Home) -> anyhow::Result<u8> {
    let ask = ListTasks {
        state: arguments.state,
        limit: arguments.limit,
        cursor: None,
    };
    let answer = home.control(None).list_tasks(&Actor::operator(), ask).await;
    output::answer(Form::of(arguments.json), answer, |list: TaskList| {
        let rows: Vec<Vec<String>> = list
            .tasks
            .into_iter()
            .map(|task| {
                vec![
                    task.task_id,
                    task.state,
                    task.target,
                    task.execution_intent,
                    task.created_at,
                    task.project_name,
                ]
            })
            .collect();
        output::table(&["TASK", "STATE", "TARGET", "INTENT", "CREATED", "PROJECT"], &rows);
    })
}
