//! The queue between replicas: who may drive which execution, until when, with which epoch.
//!
//! A lease is lost by being taken over after it lapsed, or by the end of the execution; until then it counts even if
//! it lapsed, because nobody else began. Everything a worker writes goes through [`Lease::fence`], which locks the
//! execution's row for the transaction.
//!
//! What begins anew is counted and taken under one lock, so that several workers never exceed a limit together. Whose
//! turn it is says [`crate::domain::queue`]; where a caller's execution stands in the queue is in place.rs.

use super::changes::Topic;
use super::connect::{Dialect, Tx};
use super::executions::{execution_columns, read};
use super::sql::{Row, Sql, sql};
use super::{Store, StoreError};
use crate::domain::execution::next;
use crate::domain::queue::{AtOnce, Head, Running};
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

    /// Makes sure that the lease still counts, and locks the execution until the transaction ends.
    pub(super) async fn fence(&self, tx: &mut Tx) -> Result<Fenced, StoreError> {
        self.fence_to_log(tx, 0, None).await
    }

    /// The same, and reserves room for so many bytes at the end of its log, to which they are added at this time.
    pub(super) async fn fence_to_log(
        &self,
        tx: &mut Tx,
        log_bytes: u64,
        at: Option<UnixMs>,
    ) -> Result<Fenced, StoreError> {
        let fence = sql(
            "UPDATE executions SET log_size = log_size + $3, logged_at = COALESCE($4, logged_at) \
                         WHERE id = $1 AND epoch = $2 AND lease_until IS NOT NULL RETURNING state, log_size",
        )
        .bind(self.execution)
        .bind(self.epoch)
        .bind(log_bytes)
        .bind(at);
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
    /// Only this one, and what it starts on the members of a group.
    pub only: Option<ExecutionId>,
    /// How many may run at once; what was begun already is taken over however many there are.
    pub at_once: &'a AtOnce,
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
    /// Takes an execution: first one whose lease lapsed, else the one in the queue whose turn it is. None when there is
    /// nothing that may begin.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn execution_claim(&self, claim: &Claim<'_>) -> Result<Option<(Execution, Lease)>, StoreError> {
        // Before anything is locked: what others take or add meanwhile is noticed when one is taken, or next time.
        let heads = self.rows(heads(claim.only)).await?;
        let heads = heads.iter().map(read_head).collect::<Result<Vec<_>, _>>()?;
        let mut tx = self.begin().await?;
        let result = take(&mut tx, claim, heads).await;
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

    /// What is driven now.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn running(&self) -> Result<Running, StoreError> {
        counted(&self.rows(sql(DRIVEN)).await?)
    }
}

/// Few rows: not more than workers have room for.
const DRIVEN: &str = "SELECT owner, target, MAX(is_group) AS is_group, COUNT(*) AS running FROM executions \
     WHERE state IN ('preparing', 'running', 'collecting') GROUP BY owner, target";

/// The next that waits of each owner for each target: the oldest of the highest priority. Goes from one to the next in the index, so it doesn't matter
/// how many wait behind them.
const HEADS: &str = "WITH RECURSIVE heads (id) AS (\
       SELECT (SELECT id FROM executions WHERE state = 'queued' \
               ORDER BY owner, target, priority DESC, id LIMIT 1) \
       UNION ALL \
       SELECT COALESCE(\
         (SELECT n.id FROM executions n WHERE n.state = 'queued' AND n.owner = e.owner AND n.target > e.target \
          ORDER BY n.target, n.priority DESC, n.id LIMIT 1), \
         (SELECT n.id FROM executions n WHERE n.state = 'queued' AND n.owner > e.owner \
          ORDER BY n.owner, n.target, n.priority DESC, n.id LIMIT 1)) \
       FROM heads JOIN executions e ON e.id = heads.id\
     ) SELECT e.id, e.owner, e.target, e.priority FROM heads JOIN executions e ON e.id = heads.id";

/// The searches of a claim. On PostgreSQL a row that another worker has locked is passed over; SQLite has one writer.
/// Texts of their own for one execution: PostgreSQL plans a statement once for all values.
macro_rules! searches {
    ($lapsed:ident, $next:ident, $lock:literal) => {
        /// Any, and the one with this id.
        const $lapsed: [&str; 2] = [
            concat!(
                "SELECT id, state FROM executions WHERE state IN ('preparing', 'running', 'collecting') \
                 AND (lease_until IS NULL OR lease_until < $1) ORDER BY lease_until LIMIT 1",
                $lock
            ),
            concat!(
                "SELECT id, state FROM executions WHERE state IN ('preparing', 'running', 'collecting') \
                 AND (lease_until IS NULL OR lease_until < $1) AND (id = $2 OR parent_id = $2) \
                 ORDER BY lease_until LIMIT 1",
                $lock
            ),
        ];
        /// The next of an owner for a target, and the one with this id.
        const $next: [&str; 2] = [
            concat!(
                "SELECT id, state FROM executions \
                 WHERE state = 'queued' AND owner = $1 AND target = $2 ORDER BY priority DESC, id LIMIT 1",
                $lock
            ),
            concat!(
                "SELECT id, state FROM executions WHERE state = 'queued' AND id = $1",
                $lock
            ),
        ];
    };
}
searches!(SQLITE_LAPSED, SQLITE_NEXT, "");
searches!(POSTGRES_LAPSED, POSTGRES_NEXT, " FOR UPDATE SKIP LOCKED");

/// Held by who counts what runs and begins one more, until that is committed. A worker that stands still with it is
/// thrown out, so that it doesn't stop the others. The number is any that nobody else uses.
const ONE_AT_A_TIME: &str = "SELECT set_config('idle_in_transaction_session_timeout', '10s', true), \
     pg_advisory_xact_lock(5212003)";

fn counted(rows: &[Row]) -> Result<Running, StoreError> {
    let mut running = Running::default();
    for row in rows {
        let (owner, target): (String, String) = (row.get("owner")?, row.get("target")?);
        let many = row.get("running")?;
        match row.get::<i64>("is_group")? {
            0 => running.add(&owner, &target, many),
            _ => running.add_groups(&target, many),
        }
    }
    Ok(running)
}

/// One that a worker let go of, by the end of its lease.
async fn lapsed(tx: &mut Tx, claim: &Claim<'_>) -> Result<Option<Row>, StoreError> {
    let [any, one] = match tx.dialect() {
        Dialect::Sqlite => SQLITE_LAPSED,
        Dialect::Postgres => POSTGRES_LAPSED,
    };
    let search = match claim.only {
        None => sql(any).bind(claim.now),
        Some(id) => sql(one).bind(claim.now).bind(id),
    };
    tx.row(search).await
}

/// The one whose turn it is, if the limits leave room for it.
async fn in_turn(tx: &mut Tx, claim: &Claim<'_>, heads: Vec<Head>) -> Result<Option<Row>, StoreError> {
    if heads.is_empty() {
        return Ok(None);
    }
    let [oldest, one] = match tx.dialect() {
        Dialect::Sqlite => SQLITE_NEXT,
        Dialect::Postgres => {
            tx.execute(sql(ONE_AT_A_TIME)).await?;
            POSTGRES_NEXT
        }
    };
    let running = counted(&tx.rows(sql(DRIVEN)).await?)?;
    for head in claim.at_once.in_turn(heads, &running) {
        let search = match claim.only {
            None => sql(oldest).bind(&head.owner).bind(&head.target),
            Some(_) => sql(one).bind(head.id),
        };
        // None when others took all that waited there since.
        if let Some(row) = tx.row(search).await? {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

fn heads(only: Option<ExecutionId>) -> Sql {
    match only {
        None => sql(HEADS),
        Some(id) => {
            let these = "SELECT id, owner, target, priority FROM executions \
                         WHERE (id = $1 OR parent_id = $1) AND state = 'queued'";
            sql(these).bind(id)
        }
    }
}

fn read_head(row: &Row) -> Result<Head, StoreError> {
    Ok(Head {
        id: row.get("id")?,
        owner: row.get("owner")?,
        target: row.get("target")?,
        priority: row.get("priority")?,
    })
}

async fn take(tx: &mut Tx, claim: &Claim<'_>, heads: Vec<Head>) -> Result<Option<(Execution, Lease)>, StoreError> {
    let found = match lapsed(tx, claim).await? {
        Some(row) => Some(row),
        None => in_turn(tx, claim, heads).await?,
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
    super::groups::nudge(tx, execution.id).await?;
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
    lease.fence(tx).await?;
    tx.execute(sql("UPDATE executions SET worker = NULL, lease_until = NULL WHERE id = $1").bind(lease.execution))
        .await?;
    tx.changed(Topic::Queue);
    Ok(())
}
