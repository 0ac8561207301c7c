//! Steps and their attempts: the intent to start is stored before anything starts, so that whoever takes over knows.

use super::changes::Topic;
use super::connect::Tx;
use super::log;
use super::queue::Lease;
use super::sql::{Row, Sql, sql};
use super::{Store, StoreError};
use crate::domain::execution::StepRow;
use crate::domain::{AttemptId, Digest, Execution, ExecutionId, StepState, UnixMs};

/// One start of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its id.
    pub id: AttemptId,
    /// The step's place in the plan.
    pub index: u32,
    /// The executor's words for where it is; none until the start was answered. Private.
    pub handle: Option<String>,
    /// A keyed digest of the secrets that it was started with, if there were any.
    pub secrets: Option<Digest>,
    /// How many bytes of its output are in the log.
    pub raw_offset: u64,
    /// The last of these bytes.
    pub last_byte: Option<u8>,
    /// Whether its end is stored.
    pub ended: bool,
}

/// A step that is about to start.
#[derive(Debug, Clone, Copy)]
pub struct StepStart<'a> {
    /// Its place in the plan.
    pub index: u32,
    /// The id of this start.
    pub attempt: AttemptId,
    /// What goes into the log before its output, scrubbed.
    pub header: &'a [u8],
    /// A keyed digest of the secrets that it is started with, if there are any.
    pub secrets: Option<Digest>,
    /// When.
    pub now: UnixMs,
}

/// A step that ended.
#[derive(Debug, Clone, Copy)]
pub struct StepEnd {
    /// Its place in the plan.
    pub index: u32,
    /// Which start of it ended.
    pub attempt: AttemptId,
    /// How.
    pub state: StepState,
    /// What it exited with.
    pub exit_code: Option<i32>,
    /// When.
    pub now: UnixMs,
}

impl Store {
    /// The steps of an execution in order.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn execution_steps(&self, id: ExecutionId) -> Result<Vec<StepRow>, StoreError> {
        let steps = sql(
            "SELECT idx, name AS step_name, state AS step_state, exit_code AS step_exit_code, \
                           started_at AS step_started_at, ended_at AS step_ended_at \
                         FROM steps WHERE execution_id = $1 ORDER BY idx",
        )
        .bind(id);
        self.rows(steps).await?.iter().map(read).collect()
    }

    /// Stores that a step is about to start: the step runs, the attempt exists, its header is in the log.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn step_start(&self, lease: &Lease, start: &StepStart<'_>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = begin(&mut tx, lease, start).await;
        tx.end(result).await
    }

    /// The last start of a step.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn attempt_current(&self, id: ExecutionId, index: u32) -> Result<Option<AttemptRow>, StoreError> {
        let last = sql("SELECT id, step_idx, handle, secrets, raw_offset, last_byte, ended FROM attempts WHERE execution_id = $1 AND step_idx = $2 \
                        ORDER BY epoch DESC, started_at DESC, id DESC LIMIT 1")
        .bind(id)
        .bind(index);
        self.row(last).await?.map(|row| read_attempt(&row)).transpose()
    }

    /// Stores where an attempt is.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn attempt_handle(&self, lease: &Lease, attempt: AttemptId, handle: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let set = sql("UPDATE attempts SET handle = $3 WHERE id = $1 AND execution_id = $2")
            .bind(attempt)
            .bind(lease.execution())
            .bind(handle);
        let result = fenced(&mut tx, lease, set, "attempt").await;
        tx.end(result).await
    }

    /// Stores how a step ended.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn step_end(&self, lease: &Lease, end: &StepEnd) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = finish(&mut tx, lease, end).await;
        tx.end(result).await
    }
}

/// The steps of a new execution, all pending, in one statement.
pub(super) async fn insert(tx: &mut Tx, execution: &Execution) -> Result<(), StoreError> {
    let steps = &execution.plan.steps;
    if steps.is_empty() {
        return Ok(());
    }
    let mut text = String::from("INSERT INTO steps (execution_id, idx, name, state) VALUES ");
    for index in 0..steps.len() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!("($1, {index}, ${}, 'pending')", index + 2));
    }
    let mut statement = Sql::composed(text).bind(execution.id);
    for step in steps {
        statement = statement.bind(&step.name);
    }
    tx.execute(statement).await.map(drop)
}

async fn begin(tx: &mut Tx, lease: &Lease, start: &StepStart<'_>) -> Result<(), StoreError> {
    log::write(tx, lease, start.header, Some(start.now)).await?;
    let running = sql(
        "UPDATE steps SET state = 'running', started_at = COALESCE(started_at, $3) \
                       WHERE execution_id = $1 AND idx = $2 AND state IN ('pending', 'running')",
    )
    .bind(lease.execution())
    .bind(start.index)
    .bind(start.now);
    must(tx.execute(running).await?, "step that can start")?;
    let attempt = sql(
        "INSERT INTO attempts (id, execution_id, step_idx, epoch, started_at, secrets) \
                       VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(start.attempt)
    .bind(lease.execution())
    .bind(start.index)
    .bind(lease.epoch())
    .bind(start.now)
    .bind(start.secrets);
    tx.execute(attempt).await?;
    tx.changed(Topic::Execution(lease.execution()));
    Ok(())
}

async fn finish(tx: &mut Tx, lease: &Lease, end: &StepEnd) -> Result<(), StoreError> {
    lease.fence(tx).await?;
    let ended = sql("UPDATE attempts SET ended = 1, ended_at = $3 WHERE id = $1 AND execution_id = $2")
        .bind(end.attempt)
        .bind(lease.execution())
        .bind(end.now);
    must(tx.execute(ended).await?, "attempt")?;
    let step = sql("UPDATE steps SET state = $3, exit_code = $4, ended_at = $5 WHERE execution_id = $1 AND idx = $2")
        .bind(lease.execution())
        .bind(end.index)
        .bind(end.state)
        .bind(end.exit_code)
        .bind(end.now);
    must(tx.execute(step).await?, "step")?;
    tx.changed(Topic::Execution(lease.execution()));
    Ok(())
}

/// One statement under the fence that must find its row.
async fn fenced(tx: &mut Tx, lease: &Lease, statement: Sql, noun: &str) -> Result<(), StoreError> {
    lease.fence(tx).await?;
    must(tx.execute(statement).await?, noun)
}

pub(super) fn must(changed: u64, noun: &str) -> Result<(), StoreError> {
    match changed {
        1 => Ok(()),
        _ => Err(StoreError::Corrupt(format!(
            "there is no such {noun} in this execution"
        ))),
    }
}

pub(super) fn read(row: &Row) -> Result<StepRow, StoreError> {
    Ok(StepRow {
        index: row.get("idx")?,
        name: row.get("step_name")?,
        state: row.get("step_state")?,
        exit_code: row.find("step_exit_code")?,
        started_at: row.find("step_started_at")?,
        ended_at: row.find("step_ended_at")?,
    })
}

fn read_attempt(row: &Row) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        id: row.get("id")?,
        index: row.get("step_idx")?,
        handle: row.find("handle")?,
        secrets: row.find("secrets")?,
        raw_offset: row.get("raw_offset")?,
        last_byte: row.find("last_byte")?,
        ended: row.get::<i64>("ended")? != 0,
    })
}
