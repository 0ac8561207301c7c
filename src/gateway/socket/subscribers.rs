//! Whom events are told: each subscriber has a queue of its own, bounded in number and in bytes. One that is too slow
//! loses the oldest events and is told how many; nobody else waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::gateway::GatewayError;
use crate::gateway::wire::{Event, Hello};

/// What a subscriber is told, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Notice {
    /// There is a new connection. What was subscribed at the gateway on an earlier one has to be subscribed again, and what
    /// happened in between was not told.
    Connected(Arc<Hello>),
    /// Something happened.
    Event(Arc<Event>),
    /// So many events happened here that are not told: this subscriber was too slow, or the gateway left them out.
    Gap {
        /// How many, at least.
        missed: u64,
    },
    /// The connection went.
    Disconnected(GatewayError),
}

/// How much a subscriber may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In events.
    pub events: usize,
    /// In bytes of their payloads.
    pub bytes: usize,
}

/// The subscriber's end.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

/// All subscribers of a connection.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    queues: Vec<Weak<Queue>>,
    connection: Option<Arc<Hello>>,
}

#[derive(Debug)]
struct Queue {
    wants: fn(&str) -> bool,
    room: Room,
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    notices: VecDeque<(Notice, usize)>,
    bytes: usize,
    /// What was thrown away before the first of the notices.
    missed: u64,
    /// The newest of the connection's ups and downs among that.
    passed: Option<Notice>,
    closed: bool,
}

impl Subscription {
    /// The next notice; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            // Asked for before looking, so that what comes in between wakes.
            let changed = self.queue.changed.notified();
            {
                let mut inside = lock(&self.queue.inside);
                if let Some(notice) = inside.take() {
                    return Some(notice);
                }
                if inside.closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Subscribers {
    /// Adds one that wants the events whose names `wants` says yes to. If there is a connection, it is told of it first.
    pub(super) fn add(&self, wants: fn(&str) -> bool, room: Room) -> Subscription {
        let queue = Arc::new(Queue {
            wants,
            room,
            inside: Mutex::default(),
            changed: Notify::new(),
        });
        let mut all = lock(&self.0);
        if let Some(hello) = &all.connection {
            queue.push(Notice::Connected(hello.clone()), 0);
        }
        all.queues.push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    /// Whether there is anyone.
    pub(super) fn any(&self) -> bool {
        lock(&self.0).queues.iter().any(|queue| queue.strong_count() > 0)
    }

    /// Whether anyone wants events of this name.
    pub(super) fn want(&self, name: &str) -> bool {
        self.living().iter().any(|queue| (queue.wants)(name))
    }

    /// Tells an event of `bytes` bytes to those who want it.
    pub(super) fn tell(&self, name: &str, event: Event, bytes: usize) {
        let event = Arc::new(event);
        for queue in self.living().iter().filter(|queue| (queue.wants)(name)) {
            queue.push(Notice::Event(event.clone()), bytes);
        }
    }

    /// There is a connection from here on.
    pub(super) fn connected(&self, hello: &Arc<Hello>) {
        let mut all = lock(&self.0);
        all.connection = Some(hello.clone());
        all.tell(&Notice::Connected(hello.clone()));
    }

    /// There is none any more.
    pub(super) fn disconnected(&self, why: &GatewayError) {
        let mut all = lock(&self.0);
        all.connection = None;
        all.tell(&Notice::Disconnected(why.clone()));
    }

    /// Tells everybody.
    pub(super) fn tell_all(&self, notice: &Notice) {
        lock(&self.0).tell(notice);
    }

    /// There will be no more.
    pub(super) fn close(&self) {
        for queue in self.living() {
            lock(&queue.inside).closed = true;
            queue.changed.notify_one();
        }
    }

    fn living(&self) -> Vec<Arc<Queue>> {
        lock(&self.0).living()
    }
}

impl All {
    fn living(&mut self) -> Vec<Arc<Queue>> {
        self.queues.retain(|queue| queue.strong_count() > 0);
        self.queues.iter().filter_map(Weak::upgrade).collect()
    }

    fn tell(&mut self, notice: &Notice) {
        for queue in self.living() {
            queue.push(notice.clone(), 0);
        }
    }
}

impl Queue {
    fn push(&self, notice: Notice, bytes: usize) {
        let mut inside = lock(&self.inside);
        inside.bytes += bytes;
        inside.notices.push_back((notice, bytes));
        // The newest stays, however large it is.
        while inside.notices.len() > 1 && (inside.notices.len() > self.room.events || inside.bytes > self.room.bytes) {
            inside.drop_oldest();
        }
        drop(inside);
        self.changed.notify_one();
    }
}

impl Inside {
    fn take(&mut self) -> Option<Notice> {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            return Some(Notice::Gap { missed });
        }
        if let Some(passed) = self.passed.take() {
            return Some(passed);
        }
        let (notice, bytes) = self.notices.pop_front()?;
        self.bytes -= bytes;
        Some(notice)
    }

    fn drop_oldest(&mut self) {
        let Some((notice, bytes)) = self.notices.pop_front() else {
            return;
        };
        self.bytes -= bytes;
        match notice {
            Notice::Event(_) => self.missed += 1,
            Notice::Gap { missed } => self.missed += missed,
            passed => self.passed = Some(passed),
        }
    }
}

/// No lock here is held across anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Fault;

    const ROOM: Room = Room { events: 3, bytes: 100 };

    fn everything(_: &str) -> bool {
        true
    }

    fn hello() -> Arc<Hello> {
        Arc::new(serde_json::from_str(r#"{"type":"hello-ok","protocol":4}"#).expect("a hello"))
    }

    fn other(name: &str) -> Event {
        Event::read(name.to_owned(), serde_json::value::RawValue::NULL.to_owned())
    }

    /// Everything that is in the queue, as words.
    async fn drained(subscription: &mut Subscription) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(notice) = subscription.next().await {
            words.push(match notice {
                Notice::Connected(_) => "up".to_owned(),
                Notice::Disconnected(_) => "down".to_owned(),
                Notice::Gap { missed } => format!("gap {missed}"),
                Notice::Event(event) => match &*event {
                    Event::Other { name, .. } => name.clone(),
                    other => format!("{other:?}"),
                },
            });
        }
        words
    }

    #[tokio::test]
    async fn the_slow_lose_the_oldest_and_are_told_how_many() {
        let subscribers = Subscribers::default();
        let mut slow = subscribers.add(everything, ROOM);
        for number in 0..10 {
            subscribers.tell("e", other(&number.to_string()), 1);
        }
        subscribers.close();
        assert_eq!(drained(&mut slow).await, ["gap 7", "7", "8", "9"]);
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_bytes_and_the_newest_always_fits() {
        let subscribers = Subscribers::default();
        let mut slow = subscribers.add(everything, ROOM);
        for (name, bytes) in [("a", 60), ("b", 60), ("c", 500)] {
            subscribers.tell("e", other(name), bytes);
        }
        subscribers.close();
        assert_eq!(drained(&mut slow).await, ["gap 2", "c"]);
    }

    #[tokio::test]
    async fn a_lost_connection_is_told_even_to_the_slow() {
        let subscribers = Subscribers::default();
        subscribers.connected(&hello());
        let mut slow = subscribers.add(everything, ROOM);
        subscribers.tell("e", other("1"), 1);
        subscribers.disconnected(&GatewayError::new(Fault::Unreachable, "gone"));
        subscribers.connected(&hello());
        subscribers.tell_all(&Notice::Gap { missed: 4 });
        for name in ["2", "3", "4"] {
            subscribers.tell("e", other(name), 1);
        }
        subscribers.close();
        assert_eq!(drained(&mut slow).await, ["gap 5", "up", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn each_gets_what_it_wants_and_the_gone_are_forgotten() {
        let subscribers = Subscribers::default();
        let mut ticks = subscribers.add(|name| name == "tick", ROOM);
        let gone = subscribers.add(everything, ROOM);
        assert!(subscribers.want("chat"));
        drop(gone);
        assert!(!subscribers.want("chat") && subscribers.want("tick") && subscribers.any());
        subscribers.tell("chat", other("chat"), 1);
        subscribers.tell("tick", other("t"), 1);
        subscribers.close();
        assert_eq!(drained(&mut ticks).await, ["t"]);
        drop(ticks);
        assert!(!subscribers.any());
    }

    #[tokio::test]
    async fn waiting_ends_when_something_comes() {
        let subscribers = Subscribers::default();
        let mut subscription = subscribers.add(everything, ROOM);
        let (notice, ()) = tokio::join!(subscription.next(), async {
            tokio::task::yield_now().await;
            subscribers.tell("e", other("late"), 1);
        });
        assert!(matches!(notice, Some(Notice::Event(_))));
    }
}
