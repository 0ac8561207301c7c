//! `list_tasks` and `list_targets`, and finding a task for an actor.

use super::contract::{ListTargets, ListTasks, TargetEntry, TargetList, TaskEntry, TaskList};
use super::room::{Room, clipped};
use super::validate::{self, Lines};
use super::{Answer, Control, require};
use crate::domain::{Actor, ExecutionState, Refusal, Scope, Target, Task, TaskId};
use crate::store::TaskFilter;

/// The state of a task that was never started.
const SUBMITTED: &str = "submitted";
/// The room of a list, and of a goal in it.
const LIST: (usize, usize) = (48 * 1024, 512);

impl Control {
    /// The task, if it exists for this actor.
    pub(super) async fn task_for(&self, actor: &Actor, id: &str) -> Result<Task, Refusal> {
        let id: TaskId = validate::id("task", id)?;
        let task = self.store().task_get(id).await?;
        task.filter(|task| actor.sees(&task.owner))
            .ok_or_else(|| Refusal::not_found("task"))
    }

    /// The actor's tasks, newest first.
    pub async fn list_tasks(&self, actor: &Actor, args: ListTasks) -> Answer {
        let result = self.tasks(actor, args).await;
        self.answer(result)
    }

    async fn tasks(&self, actor: &Actor, args: ListTasks) -> Result<TaskList, Refusal> {
        require(actor, Scope::Tasks)?;
        if let Some(state) = args.state.as_deref().filter(|state| *state != SUBMITTED)
            && ExecutionState::parse(state).is_none()
        {
            let words: Vec<_> = ExecutionState::ALL.iter().map(|state| state.as_str()).collect();
            return Err(Refusal::invalid(
                "state is not one that a task can have",
                format!("use {SUBMITTED}, {}", words.join(", ")),
            ));
        }
        let limit = args.limit.unwrap_or(20);
        if !(1..=100).contains(&limit) {
            return Err(Refusal::invalid(format!("limit is {limit}"), "use 1 to 100"));
        }
        let before = match args.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(before)) => Some(before),
            Some(Err(_)) => {
                return Err(Refusal::invalid(
                    "cursor is not one that list_tasks gave",
                    "use next_cursor of the last answer, or leave it out",
                ));
            }
        };
        let filter = TaskFilter {
            owner: (!actor.has(Scope::Operator)).then(|| actor.subject.clone()),
            state: args.state,
            limit: limit + 1,
            before,
        };
        let mut rows = self.store().task_list(&filter).await?;
        let found = rows.len();
        rows.truncate(limit as usize);
        let entry = |row: crate::store::TaskRow| TaskEntry {
            task_id: row.task.id.to_string(),
            project_name: row.task.spec.project_name,
            goal: clipped(row.task.spec.goal, LIST.1),
            target: row.task.target,
            execution_intent: row.task.spec.execution_intent,
            state: row.state,
            execution_id: row.execution.map(|id| id.to_string()),
            created_at: row.task.created_at.to_string(),
        };
        let tasks = Room::new(LIST.0).fill(rows.into_iter().map(entry));
        let more = found > tasks.len();
        Ok(TaskList {
            next_cursor: tasks.last().filter(|_| more).map(|task| task.task_id.clone()),
            tasks,
        })
    }

    /// The targets, with what a caller may know of them.
    pub async fn list_targets(&self, actor: &Actor, args: ListTargets) -> Answer {
        let result = self.targets(actor, &args);
        self.answer(result)
    }

    fn targets(&self, actor: &Actor, args: &ListTargets) -> Result<TargetList, Refusal> {
        require(actor, Scope::Tasks)?;
        validate::optional("query", args.query.as_deref(), 300, Lines::One)?;
        let query = args.query.as_deref().unwrap_or_default().to_lowercase();
        let words: Vec<_> = query.split_whitespace().collect();
        let snapshot = self.0.rooms.inventory.snapshot();
        let mut targets: Vec<_> = snapshot
            .targets
            .iter()
            .filter(|target| mentions(target, &words))
            .map(entry)
            .collect();
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        let found = targets.len();
        let targets = Room::new(LIST.0).fill(targets);
        Ok(TargetList {
            left_out: (found - targets.len()) as u64,
            targets,
        })
    }
}

fn mentions(target: &Target, words: &[&str]) -> bool {
    let labels = target.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let texts = [target.name.clone(), target.description.clone()]
        .into_iter()
        .chain(target.aliases.clone())
        .chain(labels);
    let all = texts.collect::<Vec<_>>().join("\n").to_lowercase();
    words.iter().all(|word| all.contains(word))
}

fn entry(target: &Target) -> TargetEntry {
    TargetEntry {
        name: target.name.clone(),
        description: target.description.clone(),
        labels: target.labels.clone(),
        intents: target.intents.clone(),
        ready: !target.disabled,
        members: target.group().map(|group| group.members.clone()).unwrap_or_default(),
    }
}
