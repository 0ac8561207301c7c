//! The schema: embedded migrations per dialect, with the same versions in both.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::connect::{Db, Dialect};
use super::sql::{Conn, sql};
use super::{Store, StoreError};

/// A migration in both dialects; the files have the same name.
struct Pair {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// One that was in a program that somebody may have used is never edited: its database would be refused.
const MIGRATIONS: [Pair; 4] = [
    Pair {
        version: 1,
        name: "first",
        sqlite: include_str!("../../migrations/sqlite/0001_first.sql"),
        postgres: include_str!("../../migrations/postgres/0001_first.sql"),
    },
    Pair {
        version: 2,
        name: "groups",
        sqlite: include_str!("../../migrations/sqlite/0002_groups.sql"),
        postgres: include_str!("../../migrations/postgres/0002_groups.sql"),
    },
    Pair {
        version: 3,
        name: "chats",
        sqlite: include_str!("../../migrations/sqlite/0003_chats.sql"),
        postgres: include_str!("../../migrations/postgres/0003_chats.sql"),
    },
    Pair {
        version: 4,
        name: "questions",
        sqlite: include_str!("../../migrations/sqlite/0004_questions.sql"),
        postgres: include_str!("../../migrations/postgres/0004_questions.sql"),
    },
];

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|pair| {
        let text = match dialect {
            Dialect::Sqlite => pair.sqlite,
            Dialect::Postgres => pair.postgres,
        };
        Migration::new(
            pair.version,
            pair.name.into(),
            MigrationType::Simple,
            text.into_sql_str(),
            // On SQLite all of them run in the one transaction of `migrate`.
            dialect == Dialect::Sqlite,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

impl Store {
    /// The version of the schema that this program works with.
    pub const SCHEMA_VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

    /// Brings the schema to [`Store::SCHEMA_VERSION`]. Several processes may do so at once: one does the work.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a migration that was applied is not the one in this program, or is newer.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrator = migrator(self.dialect());
        match &self.inner.db {
            Db::Postgres(pool) => {
                // On a connection that isn't used again: a failed migration leaves its session's lock behind.
                let mut conn = pool.acquire().await?.detach();
                migrator.run_direct(None, &mut conn, false).await?;
                Ok(())
            }
            Db::Sqlite { writer, .. } => {
                // Within one transaction that excludes other writers: the driver has no lock for migrations.
                let mut lent = writer.begin().await?;
                if let Conn::Sqlite(conn) = lent.conn()? {
                    migrator.run_direct(None, conn, false).await?;
                }
                lent.commit(Vec::new()).await
            }
        }
    }

    /// The version of the schema in the database; none when it was never migrated.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn schema_version(&self) -> Result<Option<i64>, StoreError> {
        let tables = match self.dialect() {
            Dialect::Sqlite => sql("SELECT name FROM sqlite_schema WHERE name = '_sqlx_migrations'"),
            Dialect::Postgres => sql("SELECT 'there' AS name WHERE to_regclass('_sqlx_migrations') IS NOT NULL"),
        };
        if self.row(tables).await?.is_none() {
            return Ok(None);
        }
        match self
            .row(sql("SELECT MAX(version) AS version FROM _sqlx_migrations"))
            .await?
        {
            Some(row) => row.find("version"),
            None => Ok(None),
        }
    }
}
