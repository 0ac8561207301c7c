//! Retention: old tasks go with everything of theirs. What becomes of their content is in blobs.rs.

use super::connect::Tx;
use super::sql::sql;
use super::{Store, StoreError};
use crate::domain::{TaskId, UnixMs};

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many tasks.
    pub tasks: u64,
    /// How many executions of theirs.
    pub executions: u64,
}

impl Store {
    /// Deletes at most `limit` tasks on which nothing happened since `before` and of which nothing is under way.
    ///
    /// # Errors
    /// When nothing could be deleted.
    pub async fn purge(&self, before: UnixMs, limit: u32) -> Result<Purged, StoreError> {
        let mut tx = self.begin().await?;
        let result = delete(&mut tx, before, limit).await;
        tx.end(result).await
    }
}

async fn delete(tx: &mut Tx, before: UnixMs, limit: u32) -> Result<Purged, StoreError> {
    // In one order for everybody who keeps house, so that none waits for another in a circle.
    let old = sql("SELECT t.id FROM tasks t WHERE t.active_at < $1 AND NOT EXISTS \
                     (SELECT 1 FROM executions e WHERE e.task_id = t.id AND e.ended_at IS NULL) \
                   ORDER BY t.active_at, t.id LIMIT $2")
    .bind(before)
    .bind(limit);
    let mut purged = Purged::default();
    for row in tx.rows(old).await? {
        let id: TaskId = row.get("id")?;
        let count = sql("SELECT COUNT(*) AS executions FROM executions WHERE task_id = $1").bind(id);
        let executions: u64 = match tx.row(count).await? {
            Some(row) => row.get("executions")?,
            None => 0,
        };
        // Looks again: something may have begun since. The rows of the task go with it.
        let delete = sql("DELETE FROM tasks WHERE id = $1 AND active_at < $2")
            .bind(id)
            .bind(before);
        if tx.execute(delete).await? == 1 {
            purged.tasks += 1;
            purged.executions += executions;
        }
    }
    Ok(purged)
}
