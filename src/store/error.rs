//! What can go wrong in the database, in the few kinds that callers act on differently.

use sqlx::migrate::MigrateError;

use crate::domain::execution::IllegalTransition;

/// Why the store did not do what was asked. Nothing of the call is stored then, except after `Unavailable`, where the
/// connection may have been lost between the commit and its answer: ask again with the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, or is too busy; later it may go.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// No space is left for the database.
    #[error("database has no space left: {0}")]
    Full(String),
    /// The lease was lost: somebody else drives the execution, or it has ended. Nothing was written.
    #[error("lease lost")]
    Fenced,
    /// The event can't happen in the state that the execution is in.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// A row, a statement or the schema is not what this program expects.
    #[error("database not as expected: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the connection itself is of no use any more.
    pub(super) fn lost_connection(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| code.len() == 5 && code.starts_with("57P")),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            _ => false,
        }
    }

    /// Whether SQLite refused because another has the file locked (SQLITE_BUSY, with any extension).
    pub(super) fn busy(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code.parse::<u32>().is_ok_and(|code| code & 0xff == 5))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match &error {
            sqlx::Error::Database(error) => by_code(error.code().as_deref().unwrap_or_default(), text),
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Self::Full(text),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(text),
            _ => Self::Corrupt(text),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(version) => Self::Corrupt(format!(
                "migration {version} was applied by a newer version of this program"
            )),
            MigrateError::VersionMismatch(version) => Self::Corrupt(format!(
                "migration {version} was applied by a program with another one of that number: go on with that program, or \
                 begin with another database"
            )),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// SQLSTATE has five characters; SQLite's result codes are numbers whose low byte is the kind.
fn by_code(code: &str, text: String) -> StoreError {
    if code.len() == 5 {
        return match code {
            // disk_full
            "53100" => StoreError::Full(text),
            // serialization_failure, deadlock_detected, lock_not_available, read_only_sql_transaction, io_error,
            // invalid_catalog_name (the database is being made or restored)
            "40001" | "40P01" | "55P03" | "25006" | "58030" | "3D000" => StoreError::Unavailable(text),
            // connection exceptions, invalid authorization, insufficient resources, operator intervention
            _ if ["08", "28", "53", "57"].iter().any(|class| code.starts_with(class)) => StoreError::Unavailable(text),
            _ => StoreError::Corrupt(text),
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        // SQLITE_FULL
        Ok(13) => StoreError::Full(text),
        // SQLITE_PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CANTOPEN, PROTOCOL
        Ok(3 | 5 | 6 | 7 | 8 | 9 | 10 | 14 | 15) => StoreError::Unavailable(text),
        _ => StoreError::Corrupt(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_what_callers_act_on() {
        for (code, expected) in [
            ("53100", "full"),
            ("13", "full"),
            ("57P01", "unavailable"),
            ("08006", "unavailable"),
            ("53300", "unavailable"),
            ("40P01", "unavailable"),
            ("5", "unavailable"),
            ("517", "unavailable"),
            ("778", "unavailable"),
            ("11", "corrupt"),
            ("42P01", "corrupt"),
            ("", "corrupt"),
        ] {
            let got = match by_code(code, String::new()) {
                StoreError::Full(_) => "full",
                StoreError::Unavailable(_) => "unavailable",
                _ => "corrupt",
            };
            assert_eq!(got, expected, "code {code:?}");
        }
    }
}
