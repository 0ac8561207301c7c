//! Opening a database, reading from it, and the transaction that every change goes through.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use tokio_util::task::TaskTracker;

use super::StoreError;
use super::changes::{Changes, Topic};
use super::readers::Readers;
use super::sql::{Conn, Row, Sql, sql};
use super::writer::{Lent, Writer};

/// The channel of PostgreSQL notifications.
pub(super) const CHANNEL: &str = "clawhand";
/// How long a write waits for another process's write to a SQLite database.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// How long a call waits for a connection to PostgreSQL.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(2);
/// Statements that a connection keeps prepared; more than this room has.
const STATEMENTS: usize = 200;

/// Where the state lives.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `sqlite:///absolute/path` or `postgres://user@host/database`.
    pub url: String,
    /// The most connections: of readers on SQLite (there is one writer), of any kind on PostgreSQL.
    pub max_connections: u32,
}

impl StoreSettings {
    /// A SQLite database in this file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the path isn't UTF-8.
    pub fn in_file(path: &Path, max_connections: u32) -> Result<Self, StoreError> {
        let path = path
            .to_str()
            .ok_or_else(|| StoreError::Corrupt("the path of a database must be UTF-8".into()))?;
        let path = path.replace('%', "%25").replace('?', "%3F");
        Ok(Self {
            url: format!("sqlite://{path}"),
            max_connections,
        })
    }
}

/// The durable state. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) db: Db,
    pub(super) changes: Changes,
    /// Whether notifications of PostgreSQL are being received, so that they alone wake the waiting.
    pub(super) listening: AtomicBool,
    tasks: TaskTracker,
}

pub(super) enum Db {
    Sqlite { readers: Box<Readers>, writer: Writer },
    Postgres(PgPool),
}

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Embedded, one file, one process that writes at a time.
    Sqlite,
    /// For several replicas.
    Postgres,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.dialect())
    }
}

impl Store {
    /// Connects to the database; makes an empty SQLite file if there is none. Does not migrate.
    ///
    /// # Errors
    /// When the address can't be understood ([`StoreError::Corrupt`]) or the database can't be reached.
    pub async fn open(settings: &StoreSettings, changes: Changes) -> Result<Self, StoreError> {
        let tasks = TaskTracker::new();
        let url = settings.url.as_str();
        let db = if url.starts_with("sqlite:") {
            open_sqlite(settings, &changes, &tasks)?
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            open_postgres(settings)?
        } else {
            return Err(StoreError::Corrupt(
                "a database address begins with sqlite: or postgres:".into(),
            ));
        };
        let store = Self {
            inner: Arc::new(Inner {
                db,
                changes,
                listening: AtomicBool::new(false),
                tasks,
            }),
        };
        store.ping().await?;
        Ok(store)
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.inner.db {
            Db::Sqlite { .. } => Dialect::Sqlite,
            Db::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Where changes are told.
    pub fn changes(&self) -> &Changes {
        &self.inner.changes
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.rows(sql("SELECT 1")).await.map(drop)
    }

    /// Ends the connections. Other clones of this handle get [`StoreError::Unavailable`] from then on.
    pub async fn close(self) {
        match &self.inner.db {
            Db::Sqlite { readers, writer } => {
                readers.close();
                writer.close().await;
                self.inner.tasks.close();
                self.inner.tasks.wait().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }

    /// Reads outside a transaction. On PostgreSQL a connection that turns out dead is replaced and asked again:
    /// reading twice does no harm.
    pub(super) async fn rows(&self, query: Sql) -> Result<Vec<Row>, StoreError> {
        let pool = match &self.inner.db {
            Db::Sqlite { readers, .. } => return readers.fetch(query).await,
            Db::Postgres(pool) => pool,
        };
        let mut dead = 0;
        loop {
            let mut conn = pool.acquire().await?;
            match Conn::Postgres(&mut conn).fetch(query.clone()).await {
                Err(error) if StoreError::lost_connection(&error) && dead <= pool.options().get_max_connections() => {
                    dead += 1;
                    conn.close_on_drop();
                }
                result => return Ok(result?),
            }
        }
    }

    /// The first row, if there is one.
    pub(super) async fn row(&self, query: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// A change of one statement that nobody waits for; answers whether it changed a row.
    pub(super) async fn change(&self, statement: Sql) -> Result<bool, StoreError> {
        match &self.inner.db {
            Db::Sqlite { writer, .. } => Ok(writer.change(statement).await? > 0),
            Db::Postgres(pool) => {
                // A statement by itself is a transaction.
                let mut held = PgHeld::new(pool.acquire().await?);
                let changed = held.conn()?.execute(statement).await;
                held.give_back(changed.is_ok());
                Ok(changed? > 0)
            }
        }
    }

    /// Begins a change. A dead connection is replaced: nothing was done on it yet.
    pub(super) async fn begin(&self) -> Result<Tx, StoreError> {
        let pool = match &self.inner.db {
            Db::Sqlite { writer, .. } => return Ok(Tx::new(self, Held::Sqlite(writer.begin().await?))),
            Db::Postgres(pool) => pool,
        };
        let mut dead = 0;
        loop {
            let mut held = PgHeld::new(pool.acquire().await?);
            match held.conn()?.execute(sql("BEGIN")).await {
                Err(error) if StoreError::lost_connection(&error) && dead <= pool.options().get_max_connections() => {
                    dead += 1;
                }
                result => {
                    result?;
                    return Ok(Tx::new(self, Held::Postgres(held)));
                }
            }
        }
    }
}

fn open_sqlite(settings: &StoreSettings, changes: &Changes, tasks: &TaskTracker) -> Result<Db, StoreError> {
    let options = SqliteConnectOptions::from_str(&settings.url)?
        .create_if_missing(true)
        // An answered write is on disk: every commit waits for it.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .statement_cache_capacity(STATEMENTS);
    let (writer, work) = Writer::new(options.clone(), changes.clone());
    tasks.spawn(work);
    let readers = Box::new(Readers::new(
        options.pragma("query_only", "ON"),
        settings.max_connections,
    ));
    Ok(Db::Sqlite { readers, writer })
}

fn open_postgres(settings: &StoreSettings) -> Result<Db, StoreError> {
    let options = PgConnectOptions::from_str(&settings.url)?
        .application_name("clawhand")
        .statement_cache_capacity(STATEMENTS);
    let pool = PgPoolOptions::new()
        // One for the listener.
        .max_connections(settings.max_connections.max(1) + 1)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    sqlx::Connection::ping(conn).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    Ok(Db::Postgres(pool))
}

/// A change of the database: all of it or nothing. Dropping it undoes it.
pub(super) struct Tx {
    held: Held,
    topics: Vec<Topic>,
    store: Store,
}

enum Held {
    Sqlite(Lent),
    Postgres(PgHeld),
}

/// A PostgreSQL connection that writes. It goes back to the pool only when its work is known to be over: a caller that
/// goes away in the middle may leave a transaction open on it, and what the next one wrote there would be lost with
/// it. Anything else closes it, and the server undoes what was open.
struct PgHeld(Option<PoolConnection<Postgres>>);

impl PgHeld {
    fn new(conn: PoolConnection<Postgres>) -> Self {
        Self(Some(conn))
    }

    fn conn(&mut self) -> Result<Conn<'_>, StoreError> {
        match &mut self.0 {
            Some(conn) => Ok(Conn::Postgres(conn)),
            None => Err(StoreError::Unavailable("the connection was given back".into())),
        }
    }

    /// Ends the use: back to the pool if it is as it was before.
    fn give_back(mut self, clean: bool) {
        if clean {
            drop(self.0.take());
        }
    }
}

impl Drop for PgHeld {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(conn.detach());
        }
    }
}

impl Tx {
    fn new(store: &Store, held: Held) -> Self {
        Self {
            held,
            topics: Vec::new(),
            store: store.clone(),
        }
    }

    /// Which database it is.
    pub(super) fn dialect(&self) -> Dialect {
        self.store.dialect()
    }

    fn conn(&mut self) -> Result<Conn<'_>, StoreError> {
        match &mut self.held {
            Held::Sqlite(lent) => lent.conn(),
            Held::Postgres(held) => held.conn(),
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn execute(&mut self, statement: Sql) -> Result<u64, StoreError> {
        Ok(self.conn()?.execute(statement).await?)
    }

    /// Runs a statement; answers its rows.
    pub(super) async fn rows(&mut self, statement: Sql) -> Result<Vec<Row>, StoreError> {
        Ok(self.conn()?.fetch(statement).await?)
    }

    /// Runs a statement; answers its first row, if there is one.
    pub(super) async fn row(&mut self, statement: Sql) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Remembers who is to be woken when this is committed.
    pub(super) fn changed(&mut self, topic: Topic) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }

    /// Commits what went well, undoes what didn't. When it answers, the change is on disk.
    pub(super) async fn end<T>(self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                if let Held::Postgres(mut held) = self.held {
                    let undone = held.conn()?.execute(sql("ROLLBACK")).await.is_ok();
                    held.give_back(undone);
                }
                return Err(error);
            }
        };
        match self.held {
            Held::Sqlite(lent) => lent.commit(self.topics).await?,
            Held::Postgres(held) => commit_postgres(&self.store, held, &self.topics).await?,
        }
        Ok(value)
    }
}

async fn commit_postgres(store: &Store, mut held: PgHeld, topics: &[Topic]) -> Result<(), StoreError> {
    if !topics.is_empty() {
        let words: Vec<_> = topics.iter().map(|topic| topic.word()).collect();
        let notify = sql("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(words.join(" "));
        held.conn()?.execute(notify).await?;
    }
    held.conn()?.execute(sql("COMMIT")).await?;
    held.give_back(true);
    // Otherwise the notification wakes them, once.
    if !store.inner.listening.load(Ordering::Acquire) {
        for topic in topics {
            store.inner.changes.nudge(*topic);
        }
    }
    Ok(())
}
