//! Executions: made, looked at, cancelled. What a worker does with them is in queue.rs, steps.rs and log.rs.

use std::collections::BTreeMap;

use super::approvals;
use super::artifacts;
use super::changes::Topic;
use super::connect::Tx;
use super::queue::Lease;
use super::sql::{Row, Sql, sql};
use super::tasks::{json, touch};
use super::{Store, StoreError};
use crate::domain::execution::{StepRow, next};
use crate::domain::{
    Approval, Artifact, Digest, Event, Execution, ExecutionId, ExecutionState, Outcome, Reason, TaskId, UnixMs,
};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! execution_columns {
    () => {
        "id, task_id, owner, state, plan, plan_digest, created_at, started_at, ended_at, \
         cancel_requested_at, cancel_reason, log_size, epoch, outcome"
    };
}
pub(super) use execution_columns;

/// An execution that is to be stored.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// The row, in `awaiting_approval` or `queued`.
    pub execution: Execution,
    /// The caller's key for asking again.
    pub idempotency_key: Option<String>,
    /// Of the request that came with the key.
    pub request_digest: Digest,
    /// The question to a person, for one that awaits approval.
    pub approval: Option<Approval>,
    /// Among those of its owner for its target, higher ones come first.
    pub priority: i64,
    /// The conversation that it is part of, as its caller calls it.
    pub session: Option<String>,
    /// The inputs that it was planned with, by name: if they are given, the task must still have exactly these.
    pub inputs: Option<BTreeMap<String, Digest>>,
}

/// What became of an execution that was to be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutionInsert {
    /// It is stored now.
    Inserted,
    /// The owner used the idempotency key before, for this execution and a request with this digest.
    Existing(Box<Execution>, Digest),
    /// The task has an execution that hasn't ended.
    Active(ExecutionId),
    /// The task's inputs are not those that it was planned with any more.
    InputsChanged,
    /// There is no such task any more.
    NoTask,
}

/// What a caller who follows an execution needs, read at one point in time.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionView {
    /// The execution.
    pub execution: Execution,
    /// Its steps in order.
    pub steps: Vec<StepRow>,
    /// The question to a person, open or answered, if there was one.
    pub approval: Option<Approval>,
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those in this state.
    pub state: Option<ExecutionState>,
    /// Only those of this task.
    pub task: Option<TaskId>,
    /// At most so many.
    pub limit: u32,
    /// Only those that are older than this one.
    pub before: Option<ExecutionId>,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// What ended it; leads to a terminal state.
    pub event: Event,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What was collected.
    pub artifacts: &'a [Artifact],
    /// When.
    pub now: UnixMs,
}

impl Store {
    /// Stores an execution with its steps, all pending, and its approval.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn execution_insert(&self, new: &NewExecution) -> Result<ExecutionInsert, StoreError> {
        let mut tx = self.begin().await?;
        let result = insert(&mut tx, new).await;
        tx.end(result).await
    }

    /// The execution with this id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_get(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        let row = self
            .row(
                sql(concat!(
                    "SELECT ",
                    execution_columns!(),
                    " FROM executions WHERE id = $1"
                ))
                .bind(id),
            )
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// The execution that an owner started with this idempotency key, and the digest of that request.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_by_key(&self, owner: &str, key: &str) -> Result<Option<(Execution, Digest)>, StoreError> {
        let started = sql("SELECT * FROM executions WHERE owner = $1 AND idempotency_key = $2")
            .bind(owner)
            .bind(key);
        let row = self.row(started).await?;
        row.map(|row| Ok((read(&row)?, row.get("request_digest")?))).transpose()
    }

    /// The youngest execution of a task.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_last(&self, task: TaskId) -> Result<Option<Execution>, StoreError> {
        let last = sql(concat!(
            "SELECT ",
            execution_columns!(),
            " FROM executions WHERE task_id = $1 AND parent_id IS NULL ORDER BY id DESC LIMIT 1"
        ))
        .bind(task);
        self.row(last).await?.map(|row| read(&row)).transpose()
    }

    /// An execution with its steps and approval, in one statement: callers ask for it all the time.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_view(&self, id: ExecutionId) -> Result<Option<ExecutionView>, StoreError> {
        let rows = self.rows(sql(VIEW).bind(id)).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let mut steps = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.find::<u32>("idx")?.is_some() {
                steps.push(super::steps::read(row)?);
            }
        }
        let approval = match first.find::<String>("approval_id")? {
            Some(_) => Some(approvals::read_beside(first)?),
            None => None,
        };
        Ok(Some(ExecutionView {
            execution: read(first)?,
            steps,
            approval,
        }))
    }

    /// Executions, the youngest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_list(&self, filter: &ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        let list = sql(concat!(
            "SELECT ",
            execution_columns!(),
            " FROM executions \
                        WHERE ($1 IS NULL OR owner = $1) AND ($2 IS NULL OR state = $2) \
                          AND ($3 IS NULL OR task_id = $3) AND ($4 IS NULL OR id < $4) \
                        ORDER BY id DESC LIMIT $5"
        ))
        .bind(&filter.owner)
        .bind(filter.state.map(ExecutionState::as_str))
        .bind(filter.task)
        .bind(filter.before)
        .bind(filter.limit)
        .planned_anew();
        self.rows(list).await?.iter().map(read).collect()
    }

    /// Cancels: at once what no worker drives yet, otherwise by asking the worker. Answers the state after; none when
    /// there is no such execution.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn execution_cancel(
        &self,
        id: ExecutionId,
        reason: Option<&str>,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<ExecutionState>, StoreError> {
        let mut tx = self.begin().await?;
        let result = cancel(&mut tx, (id, reason, by, now)).await;
        tx.end(result).await
    }

    /// Moves the execution to the state after `event`, which must not be a terminal one.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost, [`StoreError::Illegal`] when the event can't happen.
    pub async fn execution_move(&self, lease: &Lease, event: Event, now: UnixMs) -> Result<ExecutionState, StoreError> {
        let mut tx = self.begin().await?;
        let result = step_on(&mut tx, lease, event, now).await;
        tx.end(result).await
    }

    /// Ends the execution and gives the lease up: outcome, outputs, and the steps that never ran, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost, [`StoreError::Illegal`] when the event can't happen.
    pub async fn execution_finish(&self, lease: &Lease, finish: &Finish<'_>) -> Result<ExecutionState, StoreError> {
        let mut tx = self.begin().await?;
        let result = end(&mut tx, lease, finish).await;
        tx.end(result).await
    }
}

/// The plan is large and the same in every row: only the first one carries it. Of several approvals the one that waits for
/// an answer, else the youngest.
const VIEW: &str = "SELECT e.id, e.task_id, e.owner, e.state, e.plan_digest, e.created_at, e.started_at, e.ended_at, \
        e.cancel_requested_at, e.cancel_reason, e.log_size, e.epoch, e.outcome, \
        CASE WHEN s.idx IS NULL OR s.idx = 0 THEN e.plan END AS plan, \
        s.idx, s.name AS step_name, s.state AS step_state, s.exit_code AS step_exit_code, \
        s.started_at AS step_started_at, s.ended_at AS step_ended_at, \
        a.id AS approval_id, a.target AS approval_target, a.intent AS approval_intent, \
        a.question AS approval_question, a.state AS approval_state, a.created_at AS approval_created_at, \
        a.expires_at AS approval_expires_at, a.decided_by AS approval_decided_by, \
        a.decided_at AS approval_decided_at, a.reason AS approval_reason, a.run_key AS approval_run_key, \
        a.may_always AS approval_may_always \
    FROM executions e \
    LEFT JOIN steps s ON s.execution_id = e.id \
    LEFT JOIN approvals a ON a.id = (SELECT id FROM approvals WHERE execution_id = e.id \
        ORDER BY CASE WHEN state = 'open' THEN 0 ELSE 1 END, id DESC LIMIT 1) \
    WHERE e.id = $1 ORDER BY s.idx";

async fn insert(tx: &mut Tx, new: &NewExecution) -> Result<ExecutionInsert, StoreError> {
    let execution = &new.execution;
    let fits = match execution.state {
        ExecutionState::AwaitingApproval => new.approval.is_some(),
        ExecutionState::Queued => new.approval.is_none(),
        _ => false,
    };
    if !fits {
        let state = execution.state.as_str();
        return Err(StoreError::Corrupt(format!(
            "an execution can't begin as {state} with this approval"
        )));
    }
    if !touch(tx, execution.task, execution.created_at).await? {
        return Ok(ExecutionInsert::NoTask);
    }
    let active = sql(
        "SELECT id FROM executions WHERE task_id = $1 AND ended_at IS NULL AND parent_id IS NULL \
                        AND ($2 IS NULL OR idempotency_key IS NULL OR idempotency_key <> $2)",
    )
    .bind(execution.task)
    .bind(&new.idempotency_key);
    if let Some(row) = tx.row(active).await? {
        return Ok(ExecutionInsert::Active(row.get("id")?));
    }
    // Under the lock of the task, which everybody takes who adds an input.
    if let Some(planned) = &new.inputs
        && *planned != artifacts::input_digests(tx, execution.task).await?
    {
        return Ok(existing(tx, new).await?.unwrap_or(ExecutionInsert::InputsChanged));
    }
    if tx.execute(insert_row(new)?).await? == 0 {
        let gone = StoreError::Unavailable("an execution with this idempotency key is just being deleted".into());
        return existing(tx, new).await?.ok_or(gone);
    }
    super::steps::insert(tx, execution).await?;
    if let Some(approval) = &new.approval {
        approvals::insert(tx, approval).await?;
    }
    if execution.state == ExecutionState::Queued {
        tx.changed(Topic::Queue);
    }
    Ok(ExecutionInsert::Inserted)
}

/// What the owner started with the same key before; such a repetition is answered whatever has changed since.
async fn existing(tx: &mut Tx, new: &NewExecution) -> Result<Option<ExecutionInsert>, StoreError> {
    let existing = sql(concat!(
        "SELECT request_digest, ",
        execution_columns!(),
        " FROM executions WHERE owner = $1 AND idempotency_key = $2"
    ))
    .bind(&new.execution.owner)
    .bind(&new.idempotency_key);
    let row = tx.row(existing).await?;
    row.map(|row| {
        Ok(ExecutionInsert::Existing(
            Box::new(read(&row)?),
            row.get("request_digest")?,
        ))
    })
    .transpose()
}

fn insert_row(new: &NewExecution) -> Result<Sql, StoreError> {
    let execution = &new.execution;
    Ok(sql("INSERT INTO executions \
         (id, task_id, owner, state, target, intent, plan, plan_digest, idempotency_key, request_digest, created_at, \
          is_group, priority, session) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (owner, idempotency_key) DO NOTHING")
    .bind(execution.id)
    .bind(execution.task)
    .bind(&execution.owner)
    .bind(execution.state)
    .bind(&execution.plan.target)
    .bind(&execution.plan.intent)
    .bind(json(&execution.plan)?)
    .bind(execution.plan_digest)
    .bind(&new.idempotency_key)
    .bind(new.request_digest)
    .bind(execution.created_at)
    .bind(u32::from(execution.plan.group.is_some()))
    .bind(new.priority)
    .bind(&new.session))
}

type CancelRequest<'a> = (ExecutionId, Option<&'a str>, &'a str, UnixMs);

async fn cancel(tx: &mut Tx, request: CancelRequest<'_>) -> Result<Option<ExecutionState>, StoreError> {
    let (id, reason, by, now) = request;
    // Locks the row. The first request counts; what has ended stays as it is.
    let asked = sql("UPDATE executions SET \
           cancel_reason = CASE WHEN cancel_requested_at IS NULL THEN $3 ELSE cancel_reason END, \
           cancel_by = CASE WHEN cancel_requested_at IS NULL THEN $4 ELSE cancel_by END, \
           cancel_requested_at = COALESCE(cancel_requested_at, $2) \
         WHERE id = $1 AND ended_at IS NULL RETURNING state")
    .bind(id)
    .bind(now)
    .bind(reason)
    .bind(by);
    let Some(row) = tx.row(asked).await? else {
        let ended = tx
            .row(sql("SELECT state FROM executions WHERE id = $1").bind(id))
            .await?;
        return ended.map(|row| row.get("state")).transpose();
    };
    let state: ExecutionState = row.get("state")?;
    tx.changed(Topic::Execution(id));
    if state.is_driven() {
        // Its worker waits for this, to hear of the cancel before its next sign of life.
        tx.changed(Topic::Queue);
        return Ok(Some(state));
    }
    let after = next(state, Event::CancelDone)?;
    let outcome = Outcome {
        summary: "Cancelled before anything ran.".into(),
        reason: Some(Reason {
            code: "cancelled".into(),
            message: "the execution was cancelled before it started".into(),
            retryable: true,
            hint: "start the task again if it is still wanted".into(),
        }),
        ..Outcome::default()
    };
    close(tx, id, (state, after), &outcome, now).await?;
    approvals::withdraw(tx, id, by, now).await?;
    Ok(Some(after))
}

/// Writes a terminal state, gives up the lease, and settles the steps. The row is locked already.
pub(super) async fn close(
    tx: &mut Tx,
    id: ExecutionId,
    (before, after): (ExecutionState, ExecutionState),
    outcome: &Outcome,
    now: UnixMs,
) -> Result<(), StoreError> {
    let written = tx
        .execute(
            sql(
                "UPDATE executions SET state = $3, outcome = $4, ended_at = $5, worker = NULL, lease_until = NULL \
                 WHERE id = $1 AND state = $2",
            )
            .bind(id)
            .bind(before)
            .bind(after)
            .bind(json(outcome)?)
            .bind(now),
        )
        .await?;
    if written != 1 {
        return Err(StoreError::Corrupt("a locked execution changed its state".into()));
    }
    // What still counts as running when its execution ends was lost.
    tx.execute(
        sql(
            "UPDATE steps SET ended_at = CASE WHEN state = 'running' THEN $2 ELSE ended_at END, \
               state = CASE WHEN state = 'running' THEN 'unknown' ELSE 'skipped' END \
             WHERE execution_id = $1 AND state IN ('pending', 'running')",
        )
        .bind(id)
        .bind(now),
    )
    .await?;
    super::questions::close(tx, id, now).await?;
    tx.changed(Topic::Execution(id));
    super::groups::nudge(tx, id).await
}

async fn step_on(tx: &mut Tx, lease: &Lease, event: Event, now: UnixMs) -> Result<ExecutionState, StoreError> {
    let before = lease.fence(tx).await?.state;
    let after = next(before, event)?;
    if after.is_terminal() {
        return Err(crate::domain::execution::IllegalTransition { from: before, event }.into());
    }
    tx.execute(
        sql("UPDATE executions SET state = $3, started_at = COALESCE(started_at, $4) WHERE id = $1 AND state = $2")
            .bind(lease.execution())
            .bind(before)
            .bind(after)
            .bind(now),
    )
    .await?;
    tx.changed(Topic::Execution(lease.execution()));
    Ok(after)
}

async fn end(tx: &mut Tx, lease: &Lease, finish: &Finish<'_>) -> Result<ExecutionState, StoreError> {
    let id = lease.execution();
    // The task before the execution: see the order of locks in mod.rs.
    let task = sql("UPDATE tasks SET active_at = $2 WHERE id = (SELECT task_id FROM executions WHERE id = $1)")
        .bind(id)
        .bind(finish.now);
    tx.execute(task).await?;
    let before = lease.fence(tx).await?.state;
    let after = next(before, finish.event)?;
    if !after.is_terminal() {
        return Err(crate::domain::execution::IllegalTransition {
            from: before,
            event: finish.event,
        }
        .into());
    }
    close(tx, id, (before, after), finish.outcome, finish.now).await?;
    // In one order, so that two that store the same content don't wait for each other in a circle.
    let mut collected: Vec<_> = finish.artifacts.iter().collect();
    collected.sort_by_key(|artifact| artifact.blob());
    for artifact in collected {
        artifacts::insert(tx, artifact).await?;
    }
    // A target that was full may have room now.
    tx.changed(Topic::Queue);
    Ok(after)
}

pub(super) fn read(row: &Row) -> Result<Execution, StoreError> {
    let outcome: Option<String> = row.find("outcome")?;
    Ok(Execution {
        id: row.get("id")?,
        task: row.get("task_id")?,
        owner: row.get("owner")?,
        state: row.get("state")?,
        plan: row.json("plan")?,
        plan_digest: row.get("plan_digest")?,
        created_at: row.get("created_at")?,
        started_at: row.find("started_at")?,
        ended_at: row.find("ended_at")?,
        cancel_requested_at: row.find("cancel_requested_at")?,
        cancel_reason: row.find("cancel_reason")?,
        log_size: row.get("log_size")?,
        epoch: row.get("epoch")?,
        outcome: match outcome {
            Some(_) => Some(row.json("outcome")?),
            None => None,
        },
    })
}
