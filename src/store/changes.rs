//! What changed: wakes whoever waits for a row to become different, in this process and across processes.
//!
//! A wake-up carries no data; who is woken reads the rows again. So one too many does no harm, and one too few is
//! impossible as long as a subscriber first watches and then reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::ExecutionId;

/// What a subscriber waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// There may be something to claim.
    Queue,
    /// The execution's row, steps, log or approval.
    Execution(ExecutionId),
}

impl Topic {
    /// As it is written in a notification.
    pub(super) fn word(self) -> String {
        match self {
            Self::Queue => "queue".into(),
            Self::Execution(id) => id.to_string(),
        }
    }

    /// Reads what [`Topic::word`] wrote.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "queue" => Some(Self::Queue),
            id => id.parse().ok().map(Self::Execution),
        }
    }
}

/// The switchboard between those who change and those who wait.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    topics: Mutex<HashMap<Topic, watch::Sender<()>>>,
    /// Somebody began to watch.
    watched: Notify,
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, watch::Sender<()>>> {
        // No code panics while it holds the lock, and a map of senders is never half changed.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// A switchboard that nobody uses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to watch: every change from now on is seen.
    pub fn watch(&self, topic: Topic) -> Watch {
        let mut topics = self.0.topics();
        let receiver = topics
            .entry(topic)
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        drop(topics);
        self.0.watched.notify_waiters();
        Watch {
            topic,
            receiver: Some(receiver),
            shared: Arc::clone(&self.0),
        }
    }

    /// How many watch `topic` now.
    pub fn watching(&self, topic: Topic) -> usize {
        self.0.topics().get(&topic).map_or(0, watch::Sender::receiver_count)
    }

    /// Tells everybody who watches `topic` that it changed.
    pub fn nudge(&self, topic: Topic) {
        if let Some(sender) = self.0.topics().get(&topic) {
            sender.send_replace(());
        }
    }

    /// Tells everybody that anything may have changed.
    pub fn nudge_all(&self) {
        for sender in self.0.topics().values() {
            sender.send_replace(());
        }
    }

    /// Returns when somebody watches something.
    pub(super) async fn until_watched(&self) {
        loop {
            let watched = self.0.watched.notified();
            tokio::pin!(watched);
            // Registered before looking, so that who begins to watch in between is noticed.
            watched.as_mut().enable();
            if !self.0.topics().is_empty() {
                return;
            }
            watched.await;
        }
    }
}

/// A subscription to one topic; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    topic: Topic,
    /// Taken only when dropped.
    receiver: Option<watch::Receiver<()>>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Returns when the topic was nudged since the last return, or since watching began. Dropping the future loses
    /// nothing.
    pub async fn changed(&mut self) {
        match &mut self.receiver {
            // The sender lives as long as this subscription, so an error can't happen; then nothing changes any more.
            Some(receiver) => {
                if receiver.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut topics = self.shared.topics();
        self.receiver = None;
        if topics
            .get(&self.topic)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_nudge_before_waiting_is_not_lost_and_several_are_one() {
        let changes = Changes::new();
        let mut queue = changes.watch(Topic::Queue);
        let mut other = changes.watch(Topic::Execution(ExecutionId::random()));
        assert!(queue.changed().now_or_never().is_none());
        changes.nudge(Topic::Queue);
        changes.nudge(Topic::Queue);
        assert!(queue.changed().now_or_never().is_some());
        assert!(queue.changed().now_or_never().is_none());
        assert!(other.changed().now_or_never().is_none());
        changes.nudge_all();
        assert!(other.changed().now_or_never().is_some());
    }

    #[test]
    fn a_topic_that_nobody_watches_is_forgotten() {
        let changes = Changes::new();
        let first = changes.watch(Topic::Queue);
        let second = changes.watch(Topic::Queue);
        assert_eq!(changes.watching(Topic::Queue), 2);
        drop(first);
        assert_eq!(changes.0.topics().len(), 1);
        drop(second);
        assert!(changes.0.topics().is_empty());
        assert_eq!(changes.watching(Topic::Queue), 0);
        assert!(changes.until_watched().now_or_never().is_none());
        let _third = changes.watch(Topic::Queue);
        assert!(changes.until_watched().now_or_never().is_some());
    }

    #[test]
    fn topics_survive_their_word() {
        for topic in [Topic::Queue, Topic::Execution(ExecutionId::random())] {
            assert_eq!(Topic::parse(&topic.word()), Some(topic));
        }
        assert_eq!(Topic::parse("nonsense"), None);
    }
}
