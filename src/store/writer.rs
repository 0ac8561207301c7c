//! The one writer of a SQLite database, with group commit.
//!
//! A single task owns the only connection that writes. It lends the connection to one write after the other. When
//! another write waits already, the transaction stays open and the next one goes on in it behind a savepoint; the
//! commit, which waits for the disk, is made once for all of them, and nobody is answered before it. A write that
//! gives up is undone to its savepoint; a commit that fails fails all of them.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::changes::{Changes, Topic};
use super::sql::{Conn, sql};

/// The most writes that share a commit, so that the first of them doesn't wait long for its answer.
const SHARED_MAX: usize = 32;
/// How many writes may wait before further callers wait to be let in.
const WAITING_MAX: usize = 256;

/// Which connection, and a number of its that is different after anybody else wrote.
pub(super) type Version = (u64, i64);

/// What the writer is asked for.
enum Ask {
    /// The connection, inside a transaction.
    Write(oneshot::Sender<Result<Lent, StoreError>>),
    /// Something that is different after another process wrote.
    Version(oneshot::Sender<Result<Version, StoreError>>),
    /// To finish what came before, and stop.
    Stop,
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
        done: oneshot::Sender<Result<(), StoreError>>,
    },
    Undo(Box<SqliteConnection>),
}

/// A write that ended well and waits for the commit.
struct Ended {
    topics: Vec<Topic>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

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
        self.0.send(Ask::Write(reply)).await.map_err(|_| gone())?;
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
    versions: Vec<oneshot::Sender<Result<Version, StoreError>>>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(ask) = self.queue.recv().await {
            match ask {
                Ask::Version(reply) => self.versions.push(reply),
                Ask::Write(reply) => self.share(reply).await,
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
                Ok(Box::new(self.options.connect().await?))
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

    /// One transaction for the write that asks and those that wait behind it.
    async fn share(&mut self, first: oneshot::Sender<Result<Lent, StoreError>>) {
        let mut conn = match self.opened().await {
            Ok(conn) => conn,
            Err(error) => {
                let _ = first.send(Err(error));
                return;
            }
        };
        let mut ended: Vec<Ended> = Vec::new();
        let mut next = Some(first);
        while let Some(reply) = next.take() {
            conn = match lend(conn, reply).await {
                Some(Returned::Commit { conn, topics, done }) => {
                    ended.push(Ended { topics, done });
                    conn
                }
                Some(Returned::Undo(mut conn)) => match undo(&mut conn, ended.is_empty()).await {
                    Ok(()) if ended.is_empty() => {
                        // Nothing is open any more.
                        self.conn = Some(conn);
                        return;
                    }
                    Ok(()) => conn,
                    // The database undid the whole transaction, for instance because the disk is full.
                    Err(error) => return self.fail(Some(conn), ended, &error).await,
                },
                None => return self.fail(None, ended, &gone()).await,
            };
            if ended.len() < SHARED_MAX {
                next = self.waiting();
            }
            if next.is_some()
                && let Err(error) = run(&mut conn, "SAVEPOINT w").await
            {
                if let Some(reply) = next.take() {
                    let _ = reply.send(Err(error.clone()));
                }
                return self.fail(Some(conn), ended, &error).await;
            }
        }
        match run(&mut conn, "COMMIT").await {
            Ok(()) => {
                self.conn = Some(conn);
                self.succeed(ended);
            }
            Err(error) => self.fail(Some(conn), ended, &error).await,
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

    /// The next write that waits already.
    fn waiting(&mut self) -> Option<oneshot::Sender<Result<Lent, StoreError>>> {
        loop {
            match self.queue.try_recv() {
                Ok(Ask::Write(reply)) => return Some(reply),
                Ok(Ask::Version(reply)) => self.versions.push(reply),
                Ok(Ask::Stop) => self.queue.close(),
                Err(_) => return None,
            }
        }
    }

    fn succeed(&self, ended: Vec<Ended>) {
        for write in ended {
            let _ = write.done.send(Ok(()));
            for topic in write.topics {
                self.changes.nudge(topic);
            }
        }
    }

    async fn fail(&mut self, conn: Option<Box<SqliteConnection>>, ended: Vec<Ended>, error: &StoreError) {
        for write in ended {
            let _ = write.done.send(Err(error.clone()));
        }
        if let Some(mut conn) = conn {
            // Says no when the database rolled back by itself; a new connection is sure to have nothing open.
            let _ = run(&mut conn, "ROLLBACK").await;
            let _ = conn.close().await;
        }
    }
}

/// Lends the connection and waits until it is back; none when it was lost.
async fn lend(conn: Box<SqliteConnection>, reply: oneshot::Sender<Result<Lent, StoreError>>) -> Option<Returned> {
    let (back, returned) = oneshot::channel();
    let lent = Lent {
        conn: Some(conn),
        back: Some(back),
    };
    // When nobody waits for it any more, dropping it sends it back.
    drop(reply.send(Ok(lent)));
    returned.await.ok()
}

async fn undo(conn: &mut SqliteConnection, alone: bool) -> Result<(), StoreError> {
    match (alone, run(conn, if alone { "ROLLBACK" } else { "ROLLBACK TO w" }).await) {
        // Alone there is nothing to save: an error says that the transaction is over already.
        (true, _) => Ok(()),
        (false, result) => result,
    }
}

async fn run(conn: &mut SqliteConnection, text: &'static str) -> Result<(), StoreError> {
    Conn::Sqlite(conn).execute(sql(text)).await?;
    Ok(())
}
