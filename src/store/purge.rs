//! Retention: old tasks go with everything of theirs; blobs that nothing refers to any more are named.

use std::collections::BTreeSet;

use super::connect::Tx;
use super::sql::sql;
use super::{Store, StoreError};
use crate::domain::{Digest, TaskId, UnixMs};

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many tasks.
    pub tasks: u64,
    /// How many executions of theirs.
    pub executions: u64,
    /// What no row refers to any more. An upload of the same content may be under way: ask
    /// [`Store::digest_used`] again, under whatever keeps uploads out, before the bytes are deleted.
    pub digests: Vec<Digest>,
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
    let old = sql("SELECT t.id FROM tasks t WHERE t.active_at < $1 AND NOT EXISTS \
                     (SELECT 1 FROM executions e WHERE e.task_id = t.id AND e.ended_at IS NULL) \
                   ORDER BY t.active_at LIMIT $2")
    .bind(before)
    .bind(limit);
    let mut purged = Purged::default();
    let mut digests = BTreeSet::new();
    for row in tx.rows(old).await? {
        let id: TaskId = row.get("id")?;
        let held = sql("SELECT DISTINCT digest FROM artifacts WHERE task_id = $1").bind(id);
        let mut of_task = Vec::new();
        for row in tx.rows(held).await? {
            of_task.push(row.get::<Digest>("digest")?);
        }
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
            digests.extend(of_task);
        }
    }
    for digest in digests {
        let one = sql("SELECT id FROM artifacts WHERE digest = $1 LIMIT 1").bind(digest);
        if tx.row(one).await?.is_none() {
            purged.digests.push(digest);
        }
    }
    Ok(purged)
}
