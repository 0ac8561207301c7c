//! The queue between replicas: who may drive which execution, until when, with which epoch.
//!
//! A lease is lost by being taken over after it lapsed, or by the end of the execution; until then it counts even if
//! it lapsed, because nobody else began. Everything a worker writes goes through [`Lease::fence`], which locks the
//! execution's row for the transaction.

use std::collections::BTreeMap;

use super::changes::Topic;
use super::connect::{Dialect, Tx};
use super::executions::{execution_columns, read};
use super::sql::{Sql, sql};
use super::{Store, StoreError};
use crate::domain::execution::next;
use crate::domain::{Event, Execution, ExecutionId, ExecutionState, UnixMs};

/// The right to drive one execution. Only the store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    execution: ExecutionId,
    epoch: i64,
}

/// The execution under a lease, locked.
pub(super) struct Fenced {
    pub(super) state: ExecutionState,
    /// With the bytes that were asked for.
    pub(super) log_size: u64,
}

impl Lease {
    /// The execution it is for.
    pub const fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// Its number; the next lease of the execution has a higher one.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Makes sure that the lease still counts, locks the execution until the transaction ends, and reserves room at
    /// the end of its log.
    pub(super) async fn fence(&self, tx: &mut Tx, log_bytes: u64) -> Result<Fenced, StoreError> {
        let fence = sql("UPDATE executions SET log_size = log_size + $3 \
                         WHERE id = $1 AND epoch = $2 AND lease_until IS NOT NULL RETURNING state, log_size")
        .bind(self.execution)
        .bind(self.epoch)
        .bind(log_bytes);
        let Some(row) = tx.row(fence).await? else {
            return Err(StoreError::Fenced);
        };
        Ok(Fenced {
            state: row.get("state")?,
            log_size: row.get("log_size")?,
        })
    }
}

/// Who wants to drive what.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The worker's name.
    pub worker: &'a str,
    /// The time it is.
    pub now: UnixMs,
    /// Until when the lease holds if it isn't extended.
    pub until: UnixMs,
    /// Only this one.
    pub only: Option<ExecutionId>,
    /// Targets on which nothing new may begin; what was begun there is still taken over.
    pub full_targets: &'a [String],
}

/// A lease that holds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The execution it is for.
    pub execution: ExecutionId,
    /// Somebody wants it cancelled.
    pub cancel_requested: bool,
}

impl Store {
    /// Takes an execution: first one whose lease lapsed, else the oldest in the queue. None when there is nothing.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn execution_claim(&self, claim: &Claim<'_>) -> Result<Option<(Execution, Lease)>, StoreError> {
        let mut tx = self.begin().await?;
        let result = take(&mut tx, claim).await;
        tx.end(result).await
    }

    /// Extends leases. Those that are not in the answer were lost.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn lease_extend(&self, leases: &[Lease], worker: &str, until: UnixMs) -> Result<Vec<Held>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let result = extend(&mut tx, leases, worker, until).await;
        tx.end(result).await
    }

    /// Gives a lease back, so that another worker may take the execution at once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it was lost before.
    pub async fn lease_release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = release(&mut tx, lease).await;
        tx.end(result).await
    }

    /// Frees every lease of a worker that is known to be gone, so that another may take over at once. Its epochs stay:
    /// should it live after all, it is fenced as soon as somebody took over.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn leases_free(&self, worker: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let freed = tx
            .execute(
                sql("UPDATE executions SET worker = NULL, lease_until = NULL \
                     WHERE worker = $1 AND state IN ('preparing', 'running', 'collecting')")
                .bind(worker),
            )
            .await;
        if matches!(freed, Ok(1..)) {
            tx.changed(Topic::Queue);
        }
        tx.end(freed.map(|freed| freed > 0)).await
    }

    /// How many executions are driven on each target.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn running_by_target(&self) -> Result<BTreeMap<String, u32>, StoreError> {
        let rows = self
            .rows(sql("SELECT target, COUNT(*) AS running FROM executions \
                       WHERE state IN ('preparing', 'running', 'collecting') GROUP BY target"))
            .await?;
        rows.iter()
            .map(|row| Ok((row.get("target")?, row.get("running")?)))
            .collect()
    }

    /// The place of an execution in the queue; 1 is the next. None when it isn't queued.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn queue_position(&self, id: ExecutionId) -> Result<Option<u64>, StoreError> {
        let row = self
            .row(
                sql(
                    "SELECT COUNT(*) AS place FROM executions q WHERE q.state = 'queued' AND q.id <= $1 \
                     AND EXISTS (SELECT 1 FROM executions e WHERE e.id = $1 AND e.state = 'queued')",
                )
                .bind(id),
            )
            .await?;
        match row {
            Some(row) => Ok(Some(row.get("place")?).filter(|place| *place > 0)),
            None => Ok(None),
        }
    }
}

/// The two searches of a claim, by dialect and by whether one execution is meant: PostgreSQL plans a statement once for
/// all values, and must see that the oldest is asked for. There a row that another worker has locked is passed over;
/// SQLite has one writer.
macro_rules! searches {
    ($lapsed:ident, $queued:ident, $full:literal, $lock:literal) => {
        const $lapsed: [&str; 2] = [
            concat!(
                "SELECT id, state FROM executions WHERE state IN ('preparing', 'running', 'collecting') \
                 AND (lease_until IS NULL OR lease_until < $1) ORDER BY lease_until LIMIT 1",
                $lock
            ),
            concat!(
                "SELECT id, state FROM executions WHERE state IN ('preparing', 'running', 'collecting') \
                 AND (lease_until IS NULL OR lease_until < $1) AND id = $2",
                $lock
            ),
        ];
        const $queued: [&str; 2] = [
            concat!(
                "SELECT id, state FROM executions WHERE state = 'queued' AND target NOT IN (",
                $full,
                ") ORDER BY id LIMIT 1",
                $lock
            ),
            concat!(
                "SELECT id, state FROM executions WHERE state = 'queued' AND target NOT IN (",
                $full,
                ") AND id = $2",
                $lock
            ),
        ];
    };
}
searches!(SQLITE_LAPSED, SQLITE_QUEUED, "SELECT value FROM json_each($1)", "");
searches!(
    POSTGRES_LAPSED,
    POSTGRES_QUEUED,
    "SELECT json_array_elements_text($1::text::json)",
    " FOR UPDATE SKIP LOCKED"
);

fn searches(dialect: Dialect, claim: &Claim<'_>) -> Result<[Sql; 2], StoreError> {
    let (lapsed, queued) = match dialect {
        Dialect::Sqlite => (SQLITE_LAPSED, SQLITE_QUEUED),
        Dialect::Postgres => (POSTGRES_LAPSED, POSTGRES_QUEUED),
    };
    let full = super::tasks::json(&claim.full_targets)?;
    Ok(match claim.only {
        None => [sql(lapsed[0]).bind(claim.now), sql(queued[0]).bind(full)],
        Some(id) => [
            sql(lapsed[1]).bind(claim.now).bind(id),
            sql(queued[1]).bind(full).bind(id),
        ],
    })
}

async fn take(tx: &mut Tx, claim: &Claim<'_>) -> Result<Option<(Execution, Lease)>, StoreError> {
    let [lapsed, queued] = searches(tx.dialect(), claim)?;
    let found = match tx.row(lapsed).await? {
        Some(row) => Some(row),
        None => tx.row(queued).await?,
    };
    let Some(row) = found else {
        return Ok(None);
    };
    let before: ExecutionState = row.get("state")?;
    let after = match before {
        ExecutionState::Queued => next(before, Event::Claimed)?,
        driven => driven,
    };
    let taken = sql(concat!(
        "UPDATE executions SET state = $3, epoch = epoch + 1, worker = $4, lease_until = $5, \
           started_at = COALESCE(started_at, $6) \
         WHERE id = $1 AND state = $2 RETURNING ",
        execution_columns!()
    ))
    .bind(row.get::<ExecutionId>("id")?)
    .bind(before)
    .bind(after)
    .bind(claim.worker)
    .bind(claim.until)
    .bind(claim.now);
    let Some(row) = tx.row(taken).await? else {
        return Err(StoreError::Corrupt("a locked execution changed its state".into()));
    };
    let execution = read(&row)?;
    let lease = Lease {
        execution: execution.id,
        epoch: execution.epoch,
    };
    tx.changed(Topic::Execution(execution.id));
    Ok(Some((execution, lease)))
}

async fn extend(tx: &mut Tx, leases: &[Lease], worker: &str, until: UnixMs) -> Result<Vec<Held>, StoreError> {
    let mut held = Vec::with_capacity(leases.len());
    // Always in the same order, so that two that extend don't wait for each other.
    let mut leases: Vec<_> = leases.iter().collect();
    leases.sort_by_key(|lease| lease.execution);
    for lease in leases {
        let extend = sql("UPDATE executions SET lease_until = $4 \
                          WHERE id = $1 AND epoch = $2 AND worker = $3 AND lease_until IS NOT NULL \
                          RETURNING cancel_requested_at")
        .bind(lease.execution)
        .bind(lease.epoch)
        .bind(worker)
        .bind(until);
        if let Some(row) = tx.row(extend).await? {
            held.push(Held {
                execution: lease.execution,
                cancel_requested: row.find::<UnixMs>("cancel_requested_at")?.is_some(),
            });
        }
    }
    Ok(held)
}

async fn release(tx: &mut Tx, lease: &Lease) -> Result<(), StoreError> {
    lease.fence(tx, 0).await?;
    tx.execute(sql("UPDATE executions SET worker = NULL, lease_until = NULL WHERE id = $1").bind(lease.execution))
        .await?;
    tx.changed(Topic::Queue);
    Ok(())
}
