//! Who waits hears of what another process changed, and is left alone otherwise.

use crate::database::Base;
use std::time::Duration;

use clawhand::domain::ExecutionState;
use clawhand::store::{Changes, LogPiece, Store, Topic, Watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{NOW, World, on_both};

on_both!(
    another_handle_hears_of_changes,
    the_same_handle_hears_of_changes_with_and_without_listening,
);

const PATIENCE: Duration = Duration::from_secs(20);

async fn heard(watch: &mut Watch, what: &str) {
    let changed = tokio::time::timeout(PATIENCE, watch.changed()).await;
    assert!(changed.is_ok(), "not heard: {what}");
}

/// A listener in the background, ended and waited for at the end of the test.
struct Listening {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listening {
    /// Returns when it listens: on PostgreSQL that wakes everybody.
    async fn begin(store: &Store) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut ready = store.changes().watch(Topic::Queue);
        let (listener, token) = (store.clone(), stop.clone());
        tasks.spawn(async move { listener.listen(token).await });
        if store.dialect() == clawhand::store::Dialect::Postgres {
            heard(&mut ready, "the beginning").await;
        }
        Self { stop, tasks }
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(PATIENCE, self.tasks.wait()).await;
        assert!(ended.is_ok(), "the listener goes on after it was cancelled");
    }
}

async fn another_handle_hears_of_changes(world: &World) {
    let other = world.another().await;
    let listening = Listening::begin(&other).await;
    let mut queue = other.changes().watch(Topic::Queue);
    let new = world.execution(ExecutionState::Queued).await;
    heard(&mut queue, "a queued execution").await;
    assert!(other.execution_get(new.execution.id).await.expect("reads").is_some());

    let id = new.execution.id;
    let mut follower = other.changes().watch(Topic::Execution(id));
    let (_, lease) = world.claim(id, "worker-a", 0).await.expect("claims");
    heard(&mut follower, "a claim").await;

    let mut follower = other.changes().watch(Topic::Execution(id));
    let piece = LogPiece {
        attempt: None,
        raw_offset: 0,
        last_byte: None,
        at: clawhand::domain::UnixMs(0),
        clean: b"hello",
    };
    world.store.log_append(&lease, &piece).await.expect("stored");
    heard(&mut follower, "a piece of log").await;
    assert_eq!(other.log_read(id, 0, 10).await, Ok((b"hello".to_vec(), 5)));

    let mut worker = world.store.changes().watch(Topic::Execution(id));
    let worker_listening = Listening::begin(&world.store).await;
    other
        .execution_cancel(id, None, "operator", NOW)
        .await
        .expect("cancels");
    heard(&mut worker, "a cancel").await;
    worker_listening.end().await;
    listening.end().await;
    other.close().await;
}

async fn the_same_handle_hears_of_changes_with_and_without_listening(world: &World) {
    let mut queue = world.store.changes().watch(Topic::Queue);
    world.execution(ExecutionState::Queued).await;
    heard(&mut queue, "a queued execution, without listening").await;
    let listening = Listening::begin(&world.store).await;
    let mut queue = world.store.changes().watch(Topic::Queue);
    world.execution(ExecutionState::Queued).await;
    heard(&mut queue, "a queued execution, while listening").await;
    listening.end().await;
    let mut queue = world.store.changes().watch(Topic::Queue);
    world.execution(ExecutionState::Queued).await;
    heard(&mut queue, "a queued execution, after listening").await;
}

/// A listener whose connection is ended wakes everybody when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_wakes_everybody() {
    let Some(cluster) = crate::database::cluster() else {
        return;
    };
    let world = World::on(Base::postgres(&cluster).await).await;
    let other = Store::open(&world.settings, Changes::new()).await.expect("opens");
    let listening = Listening::begin(&other).await;
    let mut queue = other.changes().watch(Topic::Queue);
    super::failures::end_every_connection(&world).await;
    heard(&mut queue, "the loss").await;
    let mut queue = other.changes().watch(Topic::Queue);
    // The writer's own connection may have been lost, too.
    let task = super::task("operator");
    let new = super::execution(&task, ExecutionState::Queued);
    super::failures::until_available(async || world.store.task_insert(&task).await).await;
    super::failures::until_available(async || world.store.execution_insert(&new).await).await;
    heard(&mut queue, "a change after the loss").await;
    listening.end().await;
    other.close().await;
    world.end().await;
}
