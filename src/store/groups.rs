//! The children of a group's execution: one for each member, started once whatever happens to the worker in between.

use super::changes::Topic;
use super::connect::Tx;
use super::log;
use super::queue::Lease;
use super::sql::{Row, sql};
use super::steps;
use super::tasks::json;
use super::{Store, StoreError};
use crate::domain::{Execution, ExecutionId, ExecutionState, Outcome, UnixMs};

/// The execution on one member.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its id.
    pub id: ExecutionId,
    /// The member's name.
    pub member: String,
    /// Where it stands.
    pub state: ExecutionState,
    /// When a worker first took it.
    pub started_at: Option<UnixMs>,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Whether its end is in the log of the group's execution.
    pub is_told: bool,
}

impl Store {
    /// Queues the execution on a member, once: a second time nothing happens. The line goes into the group's log in the
    /// same transaction.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease of the group's execution was lost.
    pub async fn child_start(&self, group: &Lease, child: &Execution, line: &[u8]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = start(&mut tx, group, child, line).await;
        tx.end(result).await
    }

    /// Writes into the group's log how a child ended, once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease of the group's execution was lost.
    pub async fn child_told(&self, group: &Lease, child: ExecutionId, line: &[u8]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = tell(&mut tx, group, child, line).await;
        tx.end(result).await
    }

    /// The children of a group's execution, in the order in which they were started.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn children(&self, group: ExecutionId) -> Result<Vec<Child>, StoreError> {
        let children = sql(
            "SELECT id, member, state, started_at, ended_at, outcome, told FROM executions \
             WHERE parent_id = $1 ORDER BY id",
        )
        .bind(group);
        self.rows(children).await?.iter().map(read).collect()
    }
}

async fn start(tx: &mut Tx, group: &Lease, child: &Execution, line: &[u8]) -> Result<(), StoreError> {
    group.fence(tx).await?;
    let insert = sql("INSERT INTO executions \
         (id, task_id, owner, state, target, intent, plan, plan_digest, request_digest, created_at, parent_id, member) \
         VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $7, $8, $9, $4) ON CONFLICT (parent_id, member) DO NOTHING")
    .bind(child.id)
    .bind(child.task)
    .bind(&child.owner)
    .bind(&child.plan.target)
    .bind(&child.plan.intent)
    .bind(json(&child.plan)?)
    .bind(child.plan_digest)
    .bind(child.created_at)
    .bind(group.execution());
    if tx.execute(insert).await? == 0 {
        return Ok(());
    }
    steps::insert(tx, child).await?;
    log::write(tx, group, line, None).await?;
    tx.changed(Topic::Queue);
    tx.changed(Topic::Execution(group.execution()));
    Ok(())
}

async fn tell(tx: &mut Tx, group: &Lease, child: ExecutionId, line: &[u8]) -> Result<(), StoreError> {
    group.fence(tx).await?;
    let told = sql("UPDATE executions SET told = 1 WHERE id = $1 AND parent_id = $2 AND told = 0")
        .bind(child)
        .bind(group.execution());
    if tx.execute(told).await? == 0 {
        return Ok(());
    }
    log::write(tx, group, line, None).await?;
    tx.changed(Topic::Execution(group.execution()));
    Ok(())
}

/// Wakes whoever follows the group that an execution belongs to.
pub(super) async fn nudge(tx: &mut Tx, id: ExecutionId) -> Result<(), StoreError> {
    let group = sql("SELECT parent_id FROM executions WHERE id = $1 AND parent_id IS NOT NULL").bind(id);
    if let Some(row) = tx.row(group).await? {
        tx.changed(Topic::Execution(row.get("parent_id")?));
    }
    Ok(())
}

fn read(row: &Row) -> Result<Child, StoreError> {
    let outcome: Option<String> = row.find("outcome")?;
    Ok(Child {
        id: row.get("id")?,
        member: row.get("member")?,
        state: row.get("state")?,
        started_at: row.find("started_at")?,
        ended_at: row.find("ended_at")?,
        outcome: match outcome {
            Some(_) => Some(row.json("outcome")?),
            None => None,
        },
        is_told: row.get::<i64>("told")? != 0,
    })
}
