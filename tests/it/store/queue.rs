//! The queue: whose turn it is, how many run at once however many workers there are, and what a place in it is.

use std::collections::{BTreeMap, BTreeSet};

use clawhand::domain::execution::ExecutionState;
use clawhand::domain::queue::{AtOnce, Place, WaitsFor};
use clawhand::domain::{Event, Execution, ExecutionId, Outcome};
use clawhand::store::{Claim, ExecutionInsert, Finish, Lease, Store};
use tokio::task::JoinSet;

use super::{NO_LIMITS, NOW, World, at, execution, on_both, task};

on_both!(
    full_targets_get_nothing_new,
    the_queue_is_first_in_first_out,
    many_of_one_owner_hold_up_no_other,
    who_runs_least_comes_first,
    limits_hold_with_several_workers,
    what_is_locked_is_passed_over,
    a_place_counts_what_comes_before,
    a_place_counts_those_that_wait_for_the_same,
    higher_priorities_come_first_among_an_owners_own,
);

/// An execution of an owner on a target that waits.
async fn queued(world: &World, owner: &str, target: &str) -> ExecutionId {
    queued_with(world, (owner, target), 0).await
}

async fn queued_with(world: &World, (owner, target): (&str, &str), priority: i64) -> ExecutionId {
    let mut task = task(owner);
    task.target = target.into();
    world.store.task_insert(&task).await.expect("stored");
    let mut new = execution(&task, ExecutionState::Queued);
    new.priority = priority;
    let inserted = world.store.execution_insert(&new).await;
    assert_eq!(inserted, Ok(ExecutionInsert::Inserted));
    new.execution.id
}

fn targets(limits: &[(&str, u32)]) -> AtOnce {
    AtOnce {
        per_owner: None,
        per_target: limits
            .iter()
            .map(|(name, limit)| ((*name).to_owned(), *limit))
            .collect(),
    }
}

async fn claim(store: &Store, at_once: &AtOnce) -> Option<(Execution, Lease)> {
    let claim = Claim {
        worker: "worker-a",
        now: NOW,
        until: at(1000),
        only: None,
        at_once,
    };
    store.execution_claim(&claim).await.expect("claims")
}

async fn claimed(world: &World, at_once: &AtOnce) -> Option<ExecutionId> {
    claim(&world.store, at_once).await.map(|(execution, _)| execution.id)
}

async fn full_targets_get_nothing_new(world: &World) {
    let id = queued(world, "key:a", "other, \"odd\"").await;
    let none = targets(&[("other, \"odd\"", 0)]);
    assert_eq!(claimed(world, &none).await, None);
    assert_eq!(claimed(world, &targets(&[("vault-staging", 0)])).await, Some(id));
    let over = Claim {
        worker: "worker-b",
        now: at(1001),
        until: at(2000),
        only: None,
        at_once: &none,
    };
    let over = world.store.execution_claim(&over).await.expect("claims");
    let epoch = over.map(|(execution, _)| execution.epoch);
    assert_eq!(epoch, Some(2), "what was begun is taken over");
}

async fn the_queue_is_first_in_first_out(world: &World) {
    let mut ids = Vec::new();
    for target in ["b", "a", "b"] {
        ids.push(queued(world, "key:a", target).await);
    }
    world.execution(ExecutionState::AwaitingApproval).await;
    let (first, lease) = claim(&world.store, &NO_LIMITS).await.expect("there is one");
    assert_eq!((first.id, lease.execution(), lease.epoch()), (ids[0], ids[0], 1));
    assert_eq!((first.state, first.started_at), (ExecutionState::Preparing, Some(NOW)));
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(ids[1]));
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(ids[2]));
    assert_eq!(claimed(world, &NO_LIMITS).await, None);
}

async fn many_of_one_owner_hold_up_no_other(world: &World) {
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(queued(world, "key:many", "lab").await);
    }
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(many[0]));
    let one = queued(world, "key:one", "lab").await;
    let place = world.store.queue_place(one, &NO_LIMITS).await.expect("reads");
    assert_eq!(place.map(|place| place.before), Some(0));
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(one));
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(many[1]), "older than any other");
    // An owner at its limit leaves the room to others, whatever it has waiting.
    let two_each = AtOnce {
        per_owner: Some(2),
        ..AtOnce::default()
    };
    assert_eq!(claimed(world, &two_each).await, None);
    let second = queued(world, "key:one", "lab").await;
    assert_eq!(claimed(world, &two_each).await, Some(second));
}

async fn who_runs_least_comes_first(world: &World) {
    for owner in ["key:a", "key:a", "key:b"] {
        queued(world, owner, "lab").await;
    }
    for _ in 0..3 {
        claimed(world, &NO_LIMITS).await.expect("there is one");
    }
    let mut ids = BTreeMap::new();
    for owner in ["key:a", "key:b", "key:c"] {
        ids.insert(owner, queued(world, owner, "lab").await);
    }
    for owner in ["key:c", "key:b", "key:a"] {
        assert_eq!(claimed(world, &NO_LIMITS).await, Some(ids[owner]), "{owner}");
    }
}

/// Claims all that may be claimed; ends each at once if asked to, so that there is room for the next.
async fn work(store: Store, at_once: AtOnce, ends: Ends) -> Vec<Execution> {
    let mut mine = Vec::new();
    while let Some((execution, lease)) = claim(&store, &at_once).await {
        if ends == Ends::AtOnce {
            let running = store.running().await.expect("reads");
            for owner in ["key:a", "key:b", "key:c"] {
                assert!(running.of_owner(owner) <= 2, "{running:?}");
            }
            assert!(
                running.on_target("one") <= 1 && running.on_target("three") <= 3,
                "{running:?}"
            );
            let finish = Finish {
                event: Event::InfraFailed,
                outcome: &Outcome::default(),
                artifacts: &[],
                now: NOW,
            };
            store.execution_finish(&lease, &finish).await.expect("ends");
        }
        mine.push(execution);
    }
    mine
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Never,
    AtOnce,
}

/// Four workers, each with a handle of its own as another process has it.
async fn four_workers(world: &World, at_once: &AtOnce, ends: Ends) -> Vec<Execution> {
    let mut set = JoinSet::new();
    for _ in 0..4 {
        let (store, at_once) = (world.another().await, at_once.clone());
        set.spawn(async move {
            let mine = work(store.clone(), at_once, ends).await;
            store.close().await;
            mine
        });
    }
    set.join_all().await.into_iter().flatten().collect()
}

async fn limits_hold_with_several_workers(world: &World) {
    let mut ids = BTreeSet::new();
    for owner in ["key:a", "key:b", "key:c"] {
        for target in ["one", "three", "any"] {
            for _ in 0..4 {
                ids.insert(queued(world, owner, target).await);
            }
        }
    }
    let limits = AtOnce {
        per_owner: Some(2),
        ..targets(&[("one", 1), ("three", 3)])
    };
    let taken = four_workers(world, &limits, Ends::Never).await;
    // Exactly as many as fit: two of each owner, and no target over its own limit.
    let count = |of: fn(&Execution) -> &str, name| taken.iter().filter(|execution| of(execution) == name).count();
    for owner in ["key:a", "key:b", "key:c"] {
        assert_eq!(count(|execution| &execution.owner, owner), 2, "{owner}");
    }
    assert!(count(|execution| &execution.plan.target, "one") <= 1);
    assert!(count(|execution| &execution.plan.target, "three") <= 3);
    let free = world.store.leases_free("worker-a").await;
    assert_eq!(free, Ok(true));
    // With what was begun coming to its end, all get their turn, and at no time are there too many.
    let ended = four_workers(world, &limits, Ends::AtOnce).await;
    let rest = four_workers(world, &limits, Ends::AtOnce).await;
    let all: BTreeSet<_> = ended.iter().chain(&rest).map(|execution| execution.id).collect();
    assert_eq!(all, ids);
}

/// Somebody cancels the oldest, slowly: the next one is taken, and nobody waits.
async fn what_is_locked_is_passed_over(world: &World) {
    use sqlx::Connection as _;
    if world.settings.url.starts_with("sqlite") {
        return;
    }
    let oldest = queued(world, "key:a", "lab").await;
    let next = queued(world, "key:a", "lab").await;
    let mut other = world.raw_postgres().await;
    let mut lock = other.begin().await.expect("begins");
    sqlx::query("SELECT id FROM executions WHERE id = $1 FOR UPDATE")
        .bind(oldest.to_string())
        .execute(&mut *lock)
        .await
        .expect("locks");
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(next));
    assert_eq!(claimed(world, &NO_LIMITS).await, None);
    lock.rollback().await.expect("lets go");
    assert_eq!(claimed(world, &NO_LIMITS).await, Some(oldest));
}

async fn place(world: &World, id: ExecutionId, at_once: &AtOnce) -> Option<(u64, WaitsFor)> {
    let place = world.store.queue_place(id, at_once).await.expect("reads");
    place.map(|Place { before, waits_for }| (before, waits_for))
}

async fn a_place_counts_what_comes_before(world: &World) {
    let mut ids = Vec::new();
    for owner in ["key:a", "key:a", "key:b", "key:a", "key:b"] {
        ids.push(queued(world, owner, "lab").await);
    }
    let waiting = world.execution(ExecutionState::AwaitingApproval).await.execution.id;
    assert_eq!(place(world, waiting, &NO_LIMITS).await, None);
    assert_eq!(place(world, ExecutionId::random(), &NO_LIMITS).await, None);
    // In turns: a's first, b's first, a's second, b's second, a's third.
    for (index, before) in [(0, 0), (2, 1), (1, 2), (4, 3), (3, 4)] {
        let found = place(world, ids[index], &NO_LIMITS).await;
        assert_eq!(found, Some((before, WaitsFor::Turn)), "{index}");
    }
    // And that is the order in which they are taken.
    for index in [0, 2, 1, 4, 3] {
        assert_eq!(place(world, ids[index], &NO_LIMITS).await, Some((0, WaitsFor::Turn)));
        assert_eq!(claimed(world, &NO_LIMITS).await, Some(ids[index]), "{index}");
        assert_eq!(place(world, ids[index], &NO_LIMITS).await, None);
    }
}

async fn a_place_counts_those_that_wait_for_the_same(world: &World) {
    for _ in 0..3 {
        queued(world, "key:a", "full").await;
    }
    let limits = targets(&[("full", 1), ("free", 9)]);
    claimed(world, &limits).await.expect("there is one");
    let full = queued(world, "key:b", "full").await;
    let free = queued(world, "key:a", "free").await;
    assert_eq!(place(world, full, &limits).await, Some((0, WaitsFor::Target)));
    let last = queued(world, "key:b", "full").await;
    assert_eq!(place(world, last, &limits).await, Some((2, WaitsFor::Target)));
    assert_eq!(place(world, free, &limits).await, Some((0, WaitsFor::Turn)));
    let one_each = AtOnce {
        per_owner: Some(1),
        ..limits
    };
    assert_eq!(place(world, free, &one_each).await, Some((0, WaitsFor::Owner)));
}

async fn higher_priorities_come_first_among_an_owners_own(world: &World) {
    let mut ids = Vec::new();
    for (owner, priority) in [("key:a", 0), ("key:a", 5), ("key:b", -9), ("key:a", 5)] {
        ids.push(queued_with(world, (owner, "lab"), priority).await);
    }
    // A low one of b comes before the second high one of a.
    let order = [1, 2, 3, 0];
    for (before, index) in (0..).zip(order) {
        assert_eq!(
            place(world, ids[index], &NO_LIMITS).await,
            Some((before, WaitsFor::Turn)),
            "{index}"
        );
    }
    for index in order {
        assert_eq!(claimed(world, &NO_LIMITS).await, Some(ids[index]), "{index}");
    }
}
