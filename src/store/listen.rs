//! Hearing of changes that other processes made.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::changes::Topic;
use super::connect::{CHANNEL, Db};
use super::writer::Writer;
use super::{Store, StoreError};

/// How often a SQLite database is asked whether another process wrote, while somebody waits for something.
const POLL: Duration = Duration::from_millis(100);
/// How long to wait before a lost connection for notifications is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Store {
    /// Wakes those who watch when another process changed something; to be run as long as the program serves. Returns
    /// when cancelled.
    ///
    /// PostgreSQL tells by itself, in the transaction of the change. A SQLite database is asked ten times a second,
    /// only while somebody watches. After a lost connection everybody is woken.
    pub async fn listen(&self, stop: CancellationToken) {
        let listening = async {
            match &self.inner.db {
                Db::Sqlite { writer, .. } => self.poll(writer).await,
                Db::Postgres(pool) => self.receive(pool).await,
            }
        };
        stop.run_until_cancelled(listening).await;
        self.inner.listening.store(false, Ordering::Release);
    }

    async fn poll(&self, writer: &Writer) {
        let changes = &self.inner.changes;
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = writer.version().await.ok();
        // What changed before is not noticed any more.
        changes.nudge_all();
        loop {
            changes.until_watched().await;
            tick.tick().await;
            // An error may hide a change: it counts as one.
            let now = writer.version().await.ok();
            if now.is_none() || now != last {
                changes.nudge_all();
            }
            last = now;
        }
    }

    async fn receive(&self, pool: &PgPool) {
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let result = self.received(pool).await;
            self.inner.listening.store(false, Ordering::Release);
            self.inner.changes.nudge_all();
            if let Err(error) = result {
                tracing::warn!(error = %error, "notifications of the database are interrupted");
            }
        }
    }

    /// Passes notifications on until the connection can't be had again.
    async fn received(&self, pool: &PgPool) -> Result<(), StoreError> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        self.inner.listening.store(true, Ordering::Release);
        // What changed before is not told any more.
        self.inner.changes.nudge_all();
        loop {
            match listener.try_recv().await? {
                Some(notification) => {
                    for topic in notification.payload().split(' ').filter_map(Topic::parse) {
                        self.inner.changes.nudge(topic);
                    }
                }
                // It was lost and is there again.
                None => self.inner.changes.nudge_all(),
            }
        }
    }
}
