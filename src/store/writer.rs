//! The one writer of a SQLite database, with group commit.
//!
//! A single task owns the only connection that writes. It lends the connection to one write after the other; a write
//! of one statement it runs itself. When another write waits already, the transaction stays open and the next one goes
//! on in it behind a savepoint; the commit, which waits for the disk, is made once for all of them, and nobody is
//! answered before it. A write that gives up is undone to its savepoint; a commit that fails fails all of them.

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::changes::{Changes, Topic};
use super::connect::BUSY;
use super::sql::{Conn, Sql, sql};

/// The most writes that share a commit, so that the first of them doesn't wait long for its answer.
const SHARED_MAX: usize = 32;
/// How many writes may wait before further callers wait to be let in.
const WAITING_MAX: usize = 256;
/// Between two tries to turn the write-ahead log on.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Which connection, and a number of its that is different after anybody else wrote.
pub(super) type Version = (u64, i64);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
enum Ask {
    Work(Work),
    /// Something that is different after another process wrote.
    Version(Reply<Version>),
    /// To finish what came before, and stop.
    Stop,
}

/// What changes the database.
enum Work {
    /// The connection is asked for, inside a transaction.
    Write(Reply<Lent>),
    /// One statement, which by itself is done or not done; answered with how many rows it changed.
    Change(Sql, Reply<u64>),
}

/// The connection while a write has it. It goes back however the write ends.
pub(super) struct Lent {
    /// Taken only when it goes back.
    conn: Option<Box<SqliteConnection>>,
    back: Option<oneshot::Sender<Returned>>,
}

enum Returned {
    Commit {
        conn: Box<SqliteConnection>,
        topics: Vec<Topic>,
        done: Reply<()>,
    },
    Undo(Box<SqliteConnection>),
}

/// A write that ended well and waits for the commit.
enum Ended {
    Write(Vec<Topic>, Reply<()>),
    Change(u64, Reply<u64>),
}

/// A transaction that can't go on, and its connection if that is still there.
type Broken = (Option<Box<SqliteConnection>>, StoreError);

impl Lent {
    /// The connection.
    pub(super) fn conn(&mut self) -> Result<Conn<'_>, StoreError> {
        match &mut self.conn {
            Some(conn) => Ok(Conn::Sqlite(conn)),
            None => Err(gone()),
        }
    }

    /// Returns when what was written is on disk. `topics` are nudged then, even when nobody waits for the answer.
    pub(super) async fn commit(mut self, topics: Vec<Topic>) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let (Some(conn), Some(back)) = (self.conn.take(), self.back.take()) else {
            return Err(gone());
        };
        if back.send(Returned::Commit { conn, topics, done }).is_err() {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(conn), Some(back)) = (self.conn.take(), self.back.take()) {
            // The writer waits for it; if it is gone, so is the database's handle.
            let _ = back.send(Returned::Undo(conn));
        }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the writer of the database has stopped".into())
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Ask>);

impl Writer {
    /// A writer, and the future that does its work until every handle is gone.
    pub(super) fn new(options: SqliteConnectOptions, changes: Changes) -> (Self, impl Future<Output = ()> + Send) {
        let (asks, queue) = mpsc::channel(WAITING_MAX);
        let worker = Worker {
            options,
            changes,
            queue,
            conn: None,
            connections: 0,
            versions: Vec::new(),
        };
        (Self(asks), worker.run())
    }

    /// The connection, in an open transaction.
    pub(super) async fn begin(&self) -> Result<Lent, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Work(Work::Write(reply))).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Runs one statement; answers how many rows it changed, when that is on disk.
    pub(super) async fn change(&self, statement: Sql) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Change(statement, reply);
        self.0.send(Ask::Work(work)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Something that changes when another process or another handle wrote.
    pub(super) async fn version(&self) -> Result<Version, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Version(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Writer {
    /// Asks the writer to stop after what was asked before.
    pub(super) async fn close(&self) {
        // An error says that it has stopped already.
        let _ = self.0.send(Ask::Stop).await;
    }
}

struct Worker {
    options: SqliteConnectOptions,
    changes: Changes,
    queue: mpsc::Receiver<Ask>,
    conn: Option<Box<SqliteConnection>>,
    /// How many there were, this one included.
    connections: u64,
    versions: Vec<Reply<Version>>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(ask) = self.queue.recv().await {
            match ask {
                Ask::Version(reply) => self.versions.push(reply),
                Ask::Work(work) => self.share(work).await,
                // What is queued already is still done.
                Ask::Stop => self.queue.close(),
            }
            for reply in std::mem::take(&mut self.versions) {
                let _ = reply.send(self.version().await);
            }
        }
        if let Some(conn) = self.conn {
            // Checkpoints the log; a failure only means that the next opening does it.
            let _ = conn.close().await;
        }
    }

    async fn connected(&mut self) -> Result<Box<SqliteConnection>, StoreError> {
        match self.conn.take() {
            Some(conn) => Ok(conn),
            None => {
                self.connections += 1;
                let mut conn = Box::new(self.options.connect().await?);
                use_wal(&mut conn).await?;
                Ok(conn)
            }
        }
    }

    async fn version(&mut self) -> Result<Version, StoreError> {
        let mut conn = self.connected().await?;
        let rows = Conn::Sqlite(&mut conn).fetch(sql("PRAGMA data_version")).await?;
        self.conn = Some(conn);
        match rows.first() {
            Some(row) => Ok((self.connections, row.get("data_version")?)),
            None => Err(StoreError::Corrupt("data_version answers nothing".into())),
        }
    }

    /// One transaction for the work that is asked for and the work that waits behind it.
    async fn share(&mut self, first: Work) {
        let mut conn = match self.opened().await {
            Ok(conn) => conn,
            Err(error) => return refuse(first, error),
        };
        let mut ended: Vec<Ended> = Vec::new();
        let mut next = Some(first);
        while let Some(work) = next.take() {
            let done = match work {
                Work::Write(reply) => write(conn, reply, &mut ended).await,
                Work::Change(statement, reply) => change(conn, statement, reply, &mut ended).await,
            };
            conn = match done {
                Ok(conn) => conn,
                Err((conn, error)) => return fail(conn, ended, &error).await,
            };
            if ended.len() < SHARED_MAX {
                next = self.waiting();
            }
        }
        match run(&mut conn, "COMMIT").await {
            Ok(()) => {
                self.conn = Some(conn);
                self.succeed(ended);
            }
            Err(error) => fail(Some(conn), ended, &error).await,
        }
    }

    /// The connection with a transaction begun.
    async fn opened(&mut self) -> Result<Box<SqliteConnection>, StoreError> {
        let mut conn = self.connected().await?;
        match run(&mut conn, "BEGIN IMMEDIATE").await {
            Ok(()) => Ok(conn),
            Err(error) => {
                // Busy leaves the connection good; anything else is cured by a new one.
                if matches!(error, StoreError::Unavailable(_)) && run(&mut conn, "SELECT 1").await.is_ok() {
                    self.conn = Some(conn);
                }
                Err(error)
            }
        }
    }

    /// The next work that waits already.
    fn waiting(&mut self) -> Option<Work> {
        loop {
            match self.queue.try_recv() {
                Ok(Ask::Work(work)) => return Some(work),
                Ok(Ask::Version(reply)) => self.versions.push(reply),
                Ok(Ask::Stop) => self.queue.close(),
                Err(_) => return None,
            }
        }
    }

    fn succeed(&self, ended: Vec<Ended>) {
        for work in ended {
            match work {
                Ended::Change(rows, reply) => drop(reply.send(Ok(rows))),
                Ended::Write(topics, reply) => {
                    let _ = reply.send(Ok(()));
                    for topic in topics {
                        self.changes.nudge(topic);
                    }
                }
            }
        }
    }
}

/// Turns the write-ahead log on; the file remembers it. To turn it on, SQLite upgrades a lock that it holds, and where
/// another process has the file open at that moment it refuses at once, without the wait of its busy handler. So the
/// waiting is done here, as the handler would do it.
async fn use_wal(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let until = Instant::now() + BUSY;
    let mut again = tokio::time::interval(BUSY_PAUSE);
    loop {
        again.tick().await;
        match Conn::Sqlite(conn).execute(sql("PRAGMA journal_mode = WAL")).await {
            Err(error) if StoreError::busy(&error) && Instant::now() < until => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

fn refuse(work: Work, error: StoreError) {
    match work {
        Work::Write(reply) => drop(reply.send(Err(error))),
        Work::Change(_, reply) => drop(reply.send(Err(error))),
    }
}

/// Fails everybody who shares the transaction.
async fn fail(conn: Option<Box<SqliteConnection>>, ended: Vec<Ended>, error: &StoreError) {
    if let Some(mut conn) = conn {
        // Says no when the database rolled back by itself; a new connection is sure to have nothing open.
        let _ = run(&mut conn, "ROLLBACK").await;
        let _ = conn.close().await;
    }
    for work in ended {
        match work {
            Ended::Change(_, reply) => drop(reply.send(Err(error.clone()))),
            Ended::Write(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// Lends the connection for a write, and undoes the write if it doesn't end well.
async fn write(
    mut conn: Box<SqliteConnection>,
    reply: Reply<Lent>,
    ended: &mut Vec<Ended>,
) -> Result<Box<SqliteConnection>, Broken> {
    let alone = ended.is_empty();
    if !alone && let Err(error) = run(&mut conn, "SAVEPOINT w").await {
        let _ = reply.send(Err(error.clone()));
        return Err((Some(conn), error));
    }
    let (back, returned) = oneshot::channel();
    let lent = Lent {
        conn: Some(conn),
        back: Some(back),
    };
    // When nobody waits for it any more, dropping it sends it back.
    drop(reply.send(Ok(lent)));
    match returned.await {
        Ok(Returned::Commit { conn, topics, done }) => {
            ended.push(Ended::Write(topics, done));
            Ok(conn)
        }
        Ok(Returned::Undo(mut conn)) => match undo(&mut conn, alone).await {
            Ok(()) => Ok(conn),
            // The database undid the whole transaction, for instance because the disk is full.
            Err(error) => Err((Some(conn), error)),
        },
        Err(_) => Err((None, gone())),
    }
}

async fn undo(conn: &mut SqliteConnection, alone: bool) -> Result<(), StoreError> {
    if !alone {
        return run(conn, "ROLLBACK TO w").await;
    }
    // With nothing to save for others, begin anew. An error says that the transaction is over already.
    let _ = run(conn, "ROLLBACK").await;
    run(conn, "BEGIN IMMEDIATE").await
}

/// Runs one statement in the transaction.
async fn change(
    mut conn: Box<SqliteConnection>,
    statement: Sql,
    reply: Reply<u64>,
    ended: &mut Vec<Ended>,
) -> Result<Box<SqliteConnection>, Broken> {
    match Conn::Sqlite(&mut conn).execute(statement).await {
        Ok(rows) => {
            ended.push(Ended::Change(rows, reply));
            Ok(conn)
        }
        Err(error) => {
            let error = StoreError::from(error);
            let _ = reply.send(Err(error.clone()));
            match error {
                // The statement was undone, the transaction goes on.
                StoreError::Corrupt(_) => Ok(conn),
                // The database may have undone the whole transaction.
                _ => Err((Some(conn), error)),
            }
        }
    }
}

async fn run(conn: &mut SqliteConnection, text: &'static str) -> Result<(), StoreError> {
    Conn::Sqlite(conn).execute(sql(text)).await?;
    Ok(())
}
