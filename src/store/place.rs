//! Where an execution stands in the queue, for whoever waits for it.

use super::connect::Dialect;
use super::sql::sql;
use super::{Store, StoreError};
use crate::domain::ExecutionId;
use crate::domain::queue::{AtOnce, Place, WaitsFor};

impl Store {
    /// The place of an execution in the queue, by the order in which it would be served if nothing changed. None when
    /// it isn't queued.
    ///
    /// Counted are those that wait for the same: for its target if that is full, else for a worker.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn queue_place(&self, id: ExecutionId, at_once: &AtOnce) -> Result<Option<Place>, StoreError> {
        let this = sql("SELECT owner, target FROM executions WHERE id = $1 AND state = 'queued'").bind(id);
        let Some(row) = self.row(this).await? else {
            return Ok(None);
        };
        let (owner, target): (String, String) = (row.get("owner")?, row.get("target")?);
        let running = self.running().await?;
        let waits_for = at_once.waits_for(&running, &owner, &target);
        let count = match (waits_for, self.dialect()) {
            (WaitsFor::Target, _) => sql(ON_TARGET).bind(id).bind(target),
            (_, Dialect::Sqlite) => sql(SQLITE_ELSE).bind(id).bind(full(&at_once.full_targets(&running))?),
            (_, Dialect::Postgres) => sql(POSTGRES_ELSE).bind(id).bind(full(&at_once.full_targets(&running))?),
        };
        // None when it was taken just now.
        let Some(row) = self.row(count).await? else {
            return Ok(None);
        };
        Ok(Some(Place {
            before: row.get("before")?,
            waits_for,
        }))
    }
}

fn full(targets: &[String]) -> Result<String, StoreError> {
    super::tasks::json(&targets)
}

/// Each in the queue has a turn: how many of its owner run or come before it, and itself. The lowest turn is served
/// first, and of equal ones the oldest.
macro_rules! place {
    ($name:ident, $among:literal) => {
        const $name: &str = concat!(
            "WITH running AS (\
               SELECT owner, COUNT(*) AS many FROM executions \
               WHERE state IN ('preparing', 'running', 'collecting') AND is_group = 0 GROUP BY owner\
             ), waiting AS MATERIALIZED (\
               SELECT id, owner, priority FROM executions WHERE state = 'queued' AND target ",
            $among,
            "), turns AS (\
               SELECT q.id, COALESCE(r.many, 0) + ROW_NUMBER() OVER (PARTITION BY q.owner ORDER BY q.priority DESC, q.id) AS turn \
               FROM waiting q LEFT JOIN running r ON r.owner = q.owner\
             ) SELECT (SELECT COUNT(*) FROM turns t \
                       WHERE t.turn < mine.turn OR (t.turn = mine.turn AND t.id < mine.id)) AS before \
               FROM turns mine WHERE mine.id = $1"
        );
    };
}
place!(ON_TARGET, "= $2");
place!(SQLITE_ELSE, "NOT IN (SELECT value FROM json_each($2))");
place!(
    POSTGRES_ELSE,
    "NOT IN (SELECT json_array_elements_text($2::text::json))"
);
