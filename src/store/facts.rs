//! Facts: what a probe learned about a target, and through which connection.

use super::sql::sql;
use super::tasks::json;
use super::{Store, StoreError};
use crate::domain::{Digest, Facts};

impl Store {
    /// Stores what was learned about a target, unless something younger is there for the same connection.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn facts_put(&self, target: &str, connection: Digest, facts: &Facts) -> Result<(), StoreError> {
        let put = sql(
            "INSERT INTO facts (target, connection, facts, learned_at) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (target) DO UPDATE SET connection = excluded.connection, \
                         facts = excluded.facts, learned_at = excluded.learned_at \
                       WHERE facts.connection <> excluded.connection OR facts.learned_at <= excluded.learned_at",
        )
        .bind(target)
        .bind(connection)
        .bind(json(facts)?)
        .bind(facts.learned_at);
        self.change(put).await.map(drop)
    }

    /// What is known about a target, with the digest of the connection it was learned through.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn facts_get(&self, target: &str) -> Result<Option<(Digest, Facts)>, StoreError> {
        let known = sql("SELECT connection, facts FROM facts WHERE target = $1").bind(target);
        match self.row(known).await? {
            Some(row) => Ok(Some((row.get("connection")?, row.json("facts")?))),
            None => Ok(None),
        }
    }
}
