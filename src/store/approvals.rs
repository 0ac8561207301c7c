//! Approvals and grants: questions to a person, each answered once, and the answers that last.

use super::changes::Topic;
use super::connect::Tx;
use super::executions::close;
use super::sql::{Row, sql};
use super::{Store, StoreError};
use crate::domain::approval::{ApprovalState, RunQuestion};
use crate::domain::execution::next;
use crate::domain::{Approval, ApprovalId, Decision, Digest, Event, ExecutionId, ExecutionState, Outcome, UnixMs};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! approval_columns {
    () => {
        "id, execution_id, task_id, owner, plan_digest, target, intent, question, state, \
         created_at, expires_at, decided_by, decided_at, reason, run_key, may_always"
    };
}

/// Who closes what no person answered.
pub(super) const CLOSED_BY: &str = "clawhand";
/// The most approvals that one call of [`Store::approvals_expire`] lapses.
const EXPIRE_MAX: i64 = 100;

/// A lasting yes: the owner may run the plan with this digest without being asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose executions it is for.
    pub owner: String,
    /// Of exactly what may run.
    pub plan_digest: Digest,
    /// The target's semantic name, for lists.
    pub target: String,
    /// The intent, for lists.
    pub intent: String,
    /// Who said yes.
    pub granted_by: String,
    /// When.
    pub at: UnixMs,
}

/// A person's answer.
#[derive(Debug, Clone)]
pub struct Decide<'a> {
    /// To which question.
    pub approval: ApprovalId,
    /// What it means for an execution that waits for it.
    pub event: Event,
    /// What was answered, for a run that asked; none when nobody did.
    pub decision: Option<Decision>,
    /// What it means for the approval.
    pub state: ApprovalState,
    /// Who answered.
    pub by: &'a str,
    /// What they said about it.
    pub reason: Option<&'a str>,
    /// When.
    pub now: UnixMs,
    /// What came of the execution, if the answer ends it.
    pub outcome: Option<&'a Outcome>,
    /// The lasting part of the answer.
    pub grant: Option<Grant>,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts; the execution is in this state now.
    Done(ExecutionState),
    /// Somebody or something else was first.
    AlreadyDecided(Box<Approval>),
    /// There is no such approval.
    NotFound,
}

impl Store {
    /// The approval with this id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn approval_get(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
        let row = self
            .row(sql(concat!("SELECT ", approval_columns!(), " FROM approvals WHERE id = $1")).bind(id))
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// The approval without which an execution doesn't begin, if a person was asked.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn approval_for(&self, execution: ExecutionId) -> Result<Option<Approval>, StoreError> {
        let of = sql(concat!(
            "SELECT ",
            approval_columns!(),
            " FROM approvals WHERE execution_id = $1 AND run_key IS NULL"
        ))
        .bind(execution);
        self.row(of).await?.map(|row| read(&row)).transpose()
    }

    /// Approvals, the youngest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn approval_list(&self, state: Option<ApprovalState>, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let list = sql(concat!(
            "SELECT ",
            approval_columns!(),
            " FROM approvals WHERE ($1 IS NULL OR state = $1) ORDER BY id DESC LIMIT $2"
        ))
        .bind(state.map(ApprovalState::as_str))
        .bind(limit)
        .planned_anew();
        self.rows(list).await?.iter().map(read).collect()
    }

    /// Answers an approval that is still open: the approval, its execution and the grant change together or not at
    /// all. Whether it lapsed in the meantime is the caller's to look at.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when the event can't happen, or when nothing could be stored.
    pub async fn approval_decide(&self, decide: &Decide<'_>) -> Result<Decided, StoreError> {
        let mut tx = self.begin().await?;
        let result = settle(&mut tx, decide).await;
        tx.end(result).await
    }

    /// Ends what waited for an answer until now. Answers the executions that expired by it, at most a hundred a call. What a
    /// run asks lapses where the run is.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn approvals_expire(&self, now: UnixMs, outcome: &Outcome) -> Result<Vec<ExecutionId>, StoreError> {
        let lapsed = sql(
            "SELECT id, execution_id FROM approvals WHERE state = 'open' AND run_key IS NULL AND expires_at <= $1 \
                          ORDER BY expires_at LIMIT $2",
        )
        .bind(now)
        .bind(EXPIRE_MAX);
        let mut expired = Vec::new();
        for row in self.rows(lapsed).await? {
            let decided = self
                .approval_decide(&Decide {
                    approval: row.get("id")?,
                    event: Event::ApprovalExpired,
                    decision: None,
                    state: ApprovalState::Expired,
                    by: CLOSED_BY,
                    reason: None,
                    now,
                    outcome: Some(outcome),
                    grant: None,
                })
                .await?;
            if matches!(decided, Decided::Done(_)) {
                expired.push(row.get("execution_id")?);
            }
        }
        Ok(expired)
    }

    /// Whether the owner may run the plan with this digest without asking again.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn grant_exists(&self, owner: &str, plan: Digest) -> Result<bool, StoreError> {
        let grant = sql("SELECT owner FROM grants WHERE owner = $1 AND plan_digest = $2")
            .bind(owner)
            .bind(plan);
        Ok(self.row(grant).await?.is_some())
    }
}

async fn settle(tx: &mut Tx, decide: &Decide<'_>) -> Result<Decided, StoreError> {
    // Locks the execution first, as everybody does.
    let lock = sql("UPDATE executions SET state = state \
                    WHERE id = (SELECT execution_id FROM approvals WHERE id = $1) RETURNING id, state")
    .bind(decide.approval);
    let Some(row) = tx.row(lock).await? else {
        return Ok(Decided::NotFound);
    };
    let (id, before): (ExecutionId, ExecutionState) = (row.get("id")?, row.get("state")?);
    let answer = sql(
        "UPDATE approvals SET state = $2, decided_by = $3, decided_at = $4, reason = $5, \
           decision = CASE WHEN run_key IS NULL THEN NULL ELSE $6 END \
         WHERE id = $1 AND state = 'open' RETURNING run_key",
    )
    .bind(decide.approval)
    .bind(decide.state)
    .bind(decide.by)
    .bind(decide.now)
    .bind(decide.reason)
    .bind(decide.decision.map(Decision::as_str));
    let Some(answered) = tx.row(answer).await? else {
        let decided =
            sql(concat!("SELECT ", approval_columns!(), " FROM approvals WHERE id = $1")).bind(decide.approval);
        return match tx.row(decided).await? {
            Some(row) => Ok(Decided::AlreadyDecided(Box::new(read(&row)?))),
            None => Ok(Decided::NotFound),
        };
    };
    if answered.find::<String>("run_key")?.is_some() {
        // Whoever drives the run hears of it, and tells it.
        tx.changed(Topic::Execution(id));
        return Ok(Decided::Done(before));
    }
    let after = next(before, decide.event)?;
    if after.is_terminal() {
        let nothing = Outcome::default();
        close(tx, id, (before, after), decide.outcome.unwrap_or(&nothing), decide.now).await?;
    } else {
        let moved = sql("UPDATE executions SET state = $3 WHERE id = $1 AND state = $2")
            .bind(id)
            .bind(before)
            .bind(after);
        tx.execute(moved).await?;
        tx.changed(Topic::Queue);
    }
    if let Some(grant) = &decide.grant {
        insert_grant(tx, grant).await?;
    }
    tx.changed(Topic::Execution(id));
    Ok(Decided::Done(after))
}

async fn insert_grant(tx: &mut Tx, grant: &Grant) -> Result<(), StoreError> {
    tx.execute(
        sql(
            "INSERT INTO grants (owner, plan_digest, target, intent, granted_by, granted_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner, plan_digest) DO NOTHING",
        )
        .bind(&grant.owner)
        .bind(grant.plan_digest)
        .bind(&grant.target)
        .bind(&grant.intent)
        .bind(&grant.granted_by)
        .bind(grant.at),
    )
    .await
    .map(drop)
}

/// Stores a question, unless the run that asks it has asked it already. Answers how many were stored.
pub(super) async fn insert(tx: &mut Tx, approval: &Approval) -> Result<u64, StoreError> {
    tx.execute(
        sql(
            "INSERT INTO approvals (id, execution_id, task_id, owner, plan_digest, target, intent, question, state, \
               created_at, expires_at, decided_by, decided_at, reason, run_key, may_always) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (execution_id, run_key) DO NOTHING",
        )
        .bind(approval.id)
        .bind(approval.execution)
        .bind(approval.task)
        .bind(&approval.owner)
        .bind(approval.plan_digest)
        .bind(&approval.target)
        .bind(&approval.intent)
        .bind(&approval.question)
        .bind(approval.state)
        .bind(approval.created_at)
        .bind(approval.expires_at)
        .bind(&approval.decided_by)
        .bind(approval.decided_at)
        .bind(&approval.reason)
        .bind(approval.of_run.as_ref().map(|asked| asked.key.clone()))
        .bind(i64::from(approval.of_run.as_ref().is_none_or(|asked| asked.may_always))),
    )
    .await
}

/// Takes the open question of an execution back.
pub(super) async fn withdraw(tx: &mut Tx, id: ExecutionId, by: &str, now: UnixMs) -> Result<(), StoreError> {
    tx.execute(
        sql(
            "UPDATE approvals SET state = 'withdrawn', decided_by = $2, decided_at = $3 \
             WHERE execution_id = $1 AND state = 'open'",
        )
        .bind(id)
        .bind(by)
        .bind(now),
    )
    .await
    .map(drop)
}

fn read(row: &Row) -> Result<Approval, StoreError> {
    Ok(Approval {
        id: row.get("id")?,
        execution: row.get("execution_id")?,
        task: row.get("task_id")?,
        owner: row.get("owner")?,
        plan_digest: row.get("plan_digest")?,
        target: row.get("target")?,
        intent: row.get("intent")?,
        question: row.get("question")?,
        state: row.get("state")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        decided_by: row.find("decided_by")?,
        decided_at: row.find("decided_at")?,
        reason: row.find("reason")?,
        of_run: of_run(row.find("run_key")?, row.get("may_always")?),
    })
}

fn of_run(key: Option<String>, may_always: i64) -> Option<RunQuestion> {
    key.map(|key| RunQuestion {
        key,
        may_always: may_always != 0,
    })
}

/// Reads the approval that was joined to a row of its execution.
pub(super) fn read_beside(row: &Row) -> Result<Approval, StoreError> {
    Ok(Approval {
        id: row.get("approval_id")?,
        execution: row.get("id")?,
        task: row.get("task_id")?,
        owner: row.get("owner")?,
        plan_digest: row.get("plan_digest")?,
        target: row.get("approval_target")?,
        intent: row.get("approval_intent")?,
        question: row.get("approval_question")?,
        state: row.get("approval_state")?,
        created_at: row.get("approval_created_at")?,
        expires_at: row.get("approval_expires_at")?,
        decided_by: row.find("approval_decided_by")?,
        decided_at: row.find("approval_decided_at")?,
        reason: row.find("approval_reason")?,
        of_run: of_run(row.find("approval_run_key")?, row.get("approval_may_always")?),
    })
}
