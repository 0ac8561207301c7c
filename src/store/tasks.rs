//! Tasks: what callers want.

use super::connect::Tx;
use super::sql::{Row, sql};
use super::{Store, StoreError};
use crate::domain::{ExecutionId, Task, TaskId};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! task_columns {
    () => {
        "id, owner, client, spec, target, idempotency_key, request_digest, created_at"
    };
}

/// What became of a task that was to be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskInsert {
    /// It is stored now.
    Inserted,
    /// The owner used the idempotency key before, for this task.
    Existing(Box<Task>),
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those in this state, as [`TaskRow::state`] has it.
    pub state: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// Only those that are older than this one.
    pub before: Option<TaskId>,
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// The task.
    pub task: Task,
    /// `submitted`, or the state of its last execution.
    pub state: String,
    /// Its last execution.
    pub execution: Option<ExecutionId>,
}

impl Store {
    /// Stores a task, unless its owner used the idempotency key before.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn task_insert(&self, task: &Task) -> Result<TaskInsert, StoreError> {
        let insert = sql("INSERT INTO tasks \
                          (id, owner, client, spec, target, idempotency_key, request_digest, created_at, active_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) \
                          ON CONFLICT (owner, idempotency_key) DO NOTHING")
        .bind(task.id)
        .bind(&task.owner)
        .bind(&task.client)
        .bind(json(&task.spec)?)
        .bind(&task.target)
        .bind(&task.idempotency_key)
        .bind(task.request_digest)
        .bind(task.created_at);
        if self.change(insert).await? {
            return Ok(TaskInsert::Inserted);
        }
        let existing = sql(concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks WHERE owner = $1 AND idempotency_key = $2"
        ))
        .bind(&task.owner)
        .bind(&task.idempotency_key);
        match self.row(existing).await? {
            Some(row) => Ok(TaskInsert::Existing(Box::new(read(&row)?))),
            // It was purged between the two statements.
            None => Err(StoreError::Unavailable(
                "a task with this idempotency key is just being deleted".into(),
            )),
        }
    }

    /// The task with this id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn task_get(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let row = self
            .row(sql(concat!("SELECT ", task_columns!(), " FROM tasks WHERE id = $1")).bind(id))
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Tasks, the youngest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn task_list(&self, filter: &TaskFilter) -> Result<Vec<TaskRow>, StoreError> {
        let rows = self
            .rows(
                sql(
                    "SELECT t.id, t.owner, t.client, t.spec, t.target, t.idempotency_key, t.request_digest, t.created_at, \
                       COALESCE(e.state, 'submitted') AS state, e.id AS execution_id \
                     FROM tasks t LEFT JOIN executions e \
                       ON e.id = (SELECT MAX(last.id) FROM executions last WHERE last.task_id = t.id AND last.parent_id IS NULL) \
                     WHERE ($1 IS NULL OR t.owner = $1) \
                       AND ($2 IS NULL OR COALESCE(e.state, 'submitted') = $2) \
                       AND ($3 IS NULL OR t.id < $3) \
                     ORDER BY t.id DESC LIMIT $4",
                )
                .bind(&filter.owner)
                .bind(&filter.state)
                .bind(filter.before)
                .bind(filter.limit)
                .planned_anew(),
            )
            .await?;
        let listed = rows.iter().map(|row| {
            Ok(TaskRow {
                task: read(row)?,
                state: row.get("state")?,
                execution: row.find("execution_id")?,
            })
        });
        listed.collect()
    }
}

/// Locks the task against others that change it, and notes that it is in use. False when there is none.
pub(super) async fn touch(tx: &mut Tx, id: TaskId, now: crate::domain::UnixMs) -> Result<bool, StoreError> {
    let touch = sql("UPDATE tasks SET active_at = $2 WHERE id = $1").bind(id).bind(now);
    Ok(tx.execute(touch).await? == 1)
}

fn read(row: &Row) -> Result<Task, StoreError> {
    Ok(Task {
        id: row.get("id")?,
        owner: row.get("owner")?,
        client: row.get("client")?,
        spec: row.json("spec")?,
        target: row.get("target")?,
        idempotency_key: row.find("idempotency_key")?,
        request_digest: row.get("request_digest")?,
        created_at: row.get("created_at")?,
    })
}

/// A value as it is written in a column.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("not storable: {error}")))
}
