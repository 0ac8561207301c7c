//! The children of a group's execution: started once, told once, claimed like any other, gone with their task.

use clawhand::domain::execution::ExecutionState;
use clawhand::domain::plan::GroupPlan;
use clawhand::domain::queue::AtOnce;
use clawhand::domain::{Event, Execution, ExecutionId, Outcome};
use clawhand::store::{Claim, ExecutionInsert, Finish, Lease, NewExecution, StoreError, TaskFilter, Topic};

use super::{NO_LIMITS, NOW, World, at, execution, on_both, plan};

on_both!(
    a_child_is_started_once_and_its_end_told_once,
    an_overtaken_worker_starts_no_child,
    only_members_count_for_the_owner,
    one_execution_alone_has_its_children_with_it,
    a_task_is_known_by_its_group,
    what_happens_to_a_child_wakes_who_follows_the_group,
);

/// An execution of a group with two members, taken by a worker.
async fn group(world: &World) -> (NewExecution, Lease) {
    let task = world.task("key:a").await;
    let mut new = execution(&task, ExecutionState::Queued);
    new.execution.plan.target = "fleet".into();
    new.execution.plan.steps = Vec::new();
    new.execution.plan.group = Some(GroupPlan {
        at_once: 1,
        max_failures: 0,
        members: vec![plan("a"), plan("b")],
    });
    let inserted = world.store.execution_insert(&new).await;
    assert_eq!(inserted, Ok(ExecutionInsert::Inserted));
    let (_, lease) = world.claim(new.execution.id, "worker-a", 0).await.expect("queued");
    (new, lease)
}

fn child(group: &NewExecution, member: &str) -> Execution {
    Execution {
        id: ExecutionId::random(),
        plan: plan(member),
        plan_digest: plan(member).digest(),
        ..group.execution.clone()
    }
}

async fn claim(world: &World, only: Option<ExecutionId>, at_once: &AtOnce) -> Option<(Execution, Lease)> {
    let claim = Claim {
        worker: "worker-b",
        now: NOW,
        until: at(1000),
        only,
        at_once,
    };
    world.store.execution_claim(&claim).await.expect("claims")
}

fn finish(outcome: &Outcome) -> Finish<'_> {
    Finish {
        event: Event::InfraFailed,
        outcome,
        artifacts: &[],
        now: at(5),
    }
}

async fn log(world: &World, id: ExecutionId) -> String {
    let (bytes, _) = world.store.log_read(id, 0, 10_000).await.expect("reads");
    String::from_utf8(bytes).expect("text")
}

async fn a_child_is_started_once_and_its_end_told_once(world: &World) {
    let (group, lease) = group(world).await;
    let id = group.execution.id;
    let (first, again) = (child(&group, "a"), child(&group, "a"));
    for child in [&first, &again, &first] {
        assert_eq!(world.store.child_start(&lease, child, b"a begins\n").await, Ok(()));
    }
    let children = world.store.children(id).await.expect("reads");
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].id, children[0].member.as_str()), (first.id, "a"));
    assert_eq!(
        (children[0].state, children[0].is_told),
        (ExecutionState::Queued, false)
    );
    let steps = world.store.execution_steps(first.id).await.expect("reads");
    assert_eq!(steps.len(), 3);
    let (_, of_child) = claim(world, None, &NO_LIMITS).await.expect("queued");
    let ended = Outcome {
        summary: "no".into(),
        ..Outcome::default()
    };
    world
        .store
        .execution_finish(&of_child, &finish(&ended))
        .await
        .expect("ends");
    for _ in 0..2 {
        assert_eq!(world.store.child_told(&lease, first.id, b"a ended\n").await, Ok(()));
    }
    let children = world.store.children(id).await.expect("reads");
    assert!(children[0].is_told);
    assert_eq!(children[0].outcome, Some(ended));
    assert_eq!(log(world, id).await, "a begins\na ended\n");
}

async fn an_overtaken_worker_starts_no_child(world: &World) {
    let (group, old) = group(world).await;
    let id = group.execution.id;
    let (_, new) = world.claim(id, "worker-b", 11).await.expect("lapsed");
    let started = world.store.child_start(&old, &child(&group, "a"), b"x").await;
    assert_eq!(started, Err(StoreError::Fenced));
    let child = child(&group, "a");
    assert_eq!(world.store.child_start(&new, &child, b"").await, Ok(()));
    assert_eq!(
        world.store.child_told(&old, child.id, b"x").await,
        Err(StoreError::Fenced)
    );
    assert_eq!(log(world, id).await, "");
}

async fn only_members_count_for_the_owner(world: &World) {
    let (group, lease) = group(world).await;
    let running = world.store.running().await.expect("reads");
    assert_eq!((running.of_owner("key:a"), running.on_target("fleet")), (0, 1));
    for member in ["a", "b"] {
        let child = child(&group, member);
        world.store.child_start(&lease, &child, b"").await.expect("starts");
    }
    let one = AtOnce {
        per_owner: Some(1),
        ..AtOnce::default()
    };
    claim(world, None, &one).await.expect("the group takes no room");
    assert_eq!(claim(world, None, &one).await, None);
}

async fn one_execution_alone_has_its_children_with_it(world: &World) {
    let (group, lease) = group(world).await;
    world.execution(ExecutionState::Queued).await;
    let child = child(&group, "a");
    world.store.child_start(&lease, &child, b"").await.expect("starts");
    let only = Some(group.execution.id);
    let taken = claim(world, only, &NO_LIMITS).await;
    assert_eq!(taken.map(|(execution, _)| execution.id), Some(child.id));
    assert_eq!(claim(world, only, &NO_LIMITS).await, None);
}

async fn a_task_is_known_by_its_group(world: &World) {
    let (group, lease) = group(world).await;
    let (id, task) = (group.execution.id, group.execution.task);
    let child = child(&group, "a");
    world.store.child_start(&lease, &child, b"").await.expect("starts");
    let last = world.store.execution_last(task).await.expect("reads");
    assert_eq!(last.map(|last| last.id), Some(id));
    let filter = TaskFilter {
        limit: 10,
        ..TaskFilter::default()
    };
    let listed = world.store.task_list(&filter).await.expect("reads");
    assert_eq!(listed[0].execution, Some(id));
    let stored = world.store.task_get(task).await.expect("reads").expect("is there");
    let second = execution(&stored, ExecutionState::Queued);
    let active = world.store.execution_insert(&second).await;
    assert_eq!(active, Ok(ExecutionInsert::Active(id)));
    // All of it goes with the task, once all has ended.
    let (_, of_child) = claim(world, None, &NO_LIMITS).await.expect("queued");
    let ended = Outcome::default();
    for lease in [&of_child, &lease] {
        world
            .store
            .execution_finish(lease, &finish(&ended))
            .await
            .expect("ends");
    }
    let purged = world.store.purge(at(1_000_000), 10).await.expect("purges");
    assert_eq!((purged.tasks, purged.executions), (1, 2));
    assert_eq!(world.store.children(id).await, Ok(vec![]));
}

async fn what_happens_to_a_child_wakes_who_follows_the_group(world: &World) {
    let (group, lease) = group(world).await;
    let mut watch = world.store.changes().watch(Topic::Execution(group.execution.id));
    let child = child(&group, "a");
    let heard = async |watch: &mut clawhand::store::Watch, what: &str| {
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), watch.changed()).await;
        assert!(heard.is_ok(), "{what}");
    };
    world.store.child_start(&lease, &child, b"").await.expect("starts");
    heard(&mut watch, "its start").await;
    let (_, of_child) = claim(world, None, &NO_LIMITS).await.expect("queued");
    heard(&mut watch, "that it was taken").await;
    let ended = Outcome::default();
    world
        .store
        .execution_finish(&of_child, &finish(&ended))
        .await
        .expect("ends");
    heard(&mut watch, "its end").await;
}
