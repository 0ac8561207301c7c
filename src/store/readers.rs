//! The connections that read a SQLite database. Reads see the last commit and never wait for the writer.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::Semaphore;

use super::StoreError;
use super::sql::{Conn, Row, Sql};

/// A few connections that are opened when needed and kept.
pub(super) struct Readers {
    options: SqliteConnectOptions,
    permits: Semaphore,
    idle: Arc<Mutex<Vec<SqliteConnection>>>,
}

/// A connection that goes back when it is dropped, also in the middle of a query: the driver runs queries of one
/// connection one after the other.
struct Borrowed {
    /// Taken only when dropped.
    conn: Option<SqliteConnection>,
    idle: Arc<Mutex<Vec<SqliteConnection>>>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions, max: u32) -> Self {
        Self {
            options,
            permits: Semaphore::new(max.max(1) as usize),
            idle: Arc::default(),
        }
    }

    /// Runs a query.
    pub(super) async fn fetch(&self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        let closed = |_| StoreError::Unavailable("the database is closed".into());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.options.connect().await?,
        };
        let mut borrowed = Borrowed {
            conn: Some(conn),
            idle: Arc::clone(&self.idle),
        };
        let Some(conn) = &mut borrowed.conn else {
            return Ok(Vec::new());
        };
        match Conn::Sqlite(conn).fetch(sql).await {
            Ok(rows) => Ok(rows),
            Err(error) => {
                if StoreError::lost_connection(&error) {
                    borrowed.conn = None;
                }
                Err(error.into())
            }
        }
    }

    /// Ends every connection; later reads are refused.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
