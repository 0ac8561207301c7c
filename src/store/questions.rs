//! What a run asks while it goes on: kept as approvals, answered as those, and told to the run by whoever drives it.

use super::approvals::{self, CLOSED_BY};
use super::changes::Topic;
use super::connect::Tx;
use super::queue::Lease;
use super::sql::{Row, sql};
use super::steps::must;
use super::{Store, StoreError};
use crate::domain::approval::RunQuestion;
use crate::domain::{Approval, ApprovalId, ApprovalState, Decision, Digest, Execution, ExecutionId, UnixMs};

/// A question of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQuestion {
    /// What the run calls it, and whether it takes a lasting answer.
    pub of_run: RunQuestion,
    /// In words, scrubbed.
    pub text: String,
    /// Of exactly what it wants to do.
    pub digest: Digest,
    /// Until when it waits.
    pub expires_at: UnixMs,
}

/// An answer that the run has to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// To which approval.
    pub approval: ApprovalId,
    /// What the run calls its question.
    pub key: String,
    /// What was answered.
    pub decision: Decision,
}

impl Store {
    /// Keeps what a run asks: what is new is opened, and what it asks no longer is closed. True if anything changed.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn questions_keep(
        &self,
        lease: &Lease,
        execution: &Execution,
        asked: &[NewQuestion],
        now: UnixMs,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let result = keep(&mut tx, lease, (execution, asked), now).await;
        tx.end(result).await
    }

    /// The answers of people that the run has not heard yet.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn questions_answered(&self, id: ExecutionId) -> Result<Vec<Answered>, StoreError> {
        let answered = sql("SELECT id, run_key, decision FROM approvals \
             WHERE execution_id = $1 AND decision IS NOT NULL AND told_at IS NULL AND state <> 'withdrawn' ORDER BY id")
        .bind(id);
        self.rows(answered).await?.iter().map(read).collect()
    }

    /// Notes that the run heard an answer, or in words why it didn't.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn question_told(
        &self,
        lease: &Lease,
        approval: ApprovalId,
        unheard: Option<&str>,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = told(&mut tx, lease, (approval, unheard), now).await;
        tx.end(result).await
    }
}

async fn keep(
    tx: &mut Tx,
    lease: &Lease,
    (execution, asked): (&Execution, &[NewQuestion]),
    now: UnixMs,
) -> Result<bool, StoreError> {
    lease.fence(tx).await?;
    let mut changed = 0;
    for question in asked {
        let approval = Approval {
            id: ApprovalId::random(),
            execution: execution.id,
            task: execution.task,
            owner: execution.owner.clone(),
            plan_digest: question.digest,
            target: execution.plan.target.clone(),
            intent: execution.plan.intent.clone(),
            question: question.text.clone(),
            state: ApprovalState::Open,
            created_at: now,
            expires_at: question.expires_at,
            decided_by: None,
            decided_at: None,
            reason: None,
            of_run: Some(question.of_run.clone()),
        };
        changed += approvals::insert(tx, &approval).await?;
    }
    let open = sql("SELECT id, run_key, expires_at FROM approvals \
         WHERE execution_id = $1 AND run_key IS NOT NULL AND state = 'open'")
    .bind(execution.id);
    for row in tx.rows(open).await? {
        let key: String = row.get("run_key")?;
        if asked.iter().any(|question| question.of_run.key == key) {
            continue;
        }
        let (state, reason) = match row.get::<UnixMs>("expires_at")? <= now {
            true => (ApprovalState::Expired, "nobody answered in time"),
            false => (
                ApprovalState::Withdrawn,
                "it was answered or taken back where the run is",
            ),
        };
        let close = sql("UPDATE approvals SET state = $2, decided_by = $3, decided_at = $4, reason = $5 WHERE id = $1")
            .bind(row.get::<ApprovalId>("id")?)
            .bind(state)
            .bind(CLOSED_BY)
            .bind(now)
            .bind(reason);
        changed += tx.execute(close).await?;
    }
    if changed > 0 {
        tx.changed(Topic::Execution(execution.id));
    }
    Ok(changed > 0)
}

async fn told(
    tx: &mut Tx,
    lease: &Lease,
    (approval, unheard): (ApprovalId, Option<&str>),
    now: UnixMs,
) -> Result<(), StoreError> {
    lease.fence(tx).await?;
    let heard = sql("UPDATE approvals SET told_at = $3, reason = COALESCE($4, reason), \
           state = CASE WHEN $4 IS NULL THEN state ELSE 'withdrawn' END \
         WHERE id = $1 AND execution_id = $2")
    .bind(approval)
    .bind(lease.execution())
    .bind(now)
    .bind(unheard);
    must(tx.execute(heard).await?, "approval")?;
    tx.changed(Topic::Execution(lease.execution()));
    Ok(())
}

/// Closes what a run asked when its execution ends, answers that it never heard among it.
pub(super) async fn close(tx: &mut Tx, id: ExecutionId, now: UnixMs) -> Result<(), StoreError> {
    let close = sql(
        "UPDATE approvals SET state = 'withdrawn', decided_by = COALESCE(decided_by, $2), \
           decided_at = COALESCE(decided_at, $3), reason = 'the run was over before it was answered' \
         WHERE execution_id = $1 AND run_key IS NOT NULL \
           AND (state = 'open' OR (decision IS NOT NULL AND told_at IS NULL))",
    )
    .bind(id)
    .bind(CLOSED_BY)
    .bind(now);
    tx.execute(close).await.map(drop)
}

fn read(row: &Row) -> Result<Answered, StoreError> {
    let word: String = row.get("decision")?;
    Ok(Answered {
        approval: row.get("id")?,
        key: row.get("run_key")?,
        decision: Decision::parse(&word)
            .ok_or_else(|| StoreError::Corrupt(format!("an approval was answered {word}")))?,
    })
}
