//! The worker's side: leases, fences, steps, the log, cancelling, ending, retention.

use clawhand::domain::{
    ArtifactRole, AttemptId, Digest, Event, Execution, ExecutionId, ExecutionState, Outcome, StepState, UnixMs,
};
use clawhand::store::{Finish, Held, Lease, LogPiece, Purged, StepEnd, StepStart, StoreError};

use super::{NOW, World, artifact, at, execution, on_both};

on_both!(
    an_old_epoch_can_write_nothing,
    a_lease_ends_with_its_execution,
    a_lapsed_lease_is_taken_over_and_a_released_one_at_once,
    cancelling_in_every_state,
    an_event_that_cannot_happen_changes_nothing,
    a_step_and_its_attempts_are_recorded,
    an_end_is_recorded_with_its_outputs,
    the_log_is_read_from_anywhere,
    purging_keeps_what_is_used,
);

fn outcome(summary: &str) -> Outcome {
    Outcome {
        exit_code: Some(0),
        summary: summary.into(),
        ..Outcome::default()
    }
}

fn start(index: u32, attempt: AttemptId) -> StepStart<'static> {
    StepStart {
        index,
        attempt,
        header: b"$ true\n",
        secrets: None,
        now: at(1),
    }
}

fn piece(attempt: Option<AttemptId>, raw_offset: u64, clean: &[u8]) -> LogPiece<'_> {
    LogPiece {
        attempt,
        raw_offset,
        last_byte: clean.last().copied(),
        at: clawhand::domain::UnixMs(0),
        clean,
    }
}

fn step_end(index: u32, attempt: AttemptId) -> StepEnd {
    StepEnd {
        index,
        attempt,
        state: StepState::Succeeded,
        exit_code: Some(0),
        now: at(2),
    }
}

/// Tries every write that needs a lease; each must be refused.
async fn all_are_fenced(world: &World, lease: &Lease, attempt: AttemptId) {
    let store = &world.store;
    let ended = outcome("never");
    let finish = Finish {
        event: Event::InfraFailed,
        outcome: &ended,
        artifacts: &[],
        now: at(50),
    };
    let fenced = Err(StoreError::Fenced);
    assert_eq!(
        store.step_start(lease, &start(1, AttemptId::random())).await,
        fenced,
        "step_start"
    );
    assert_eq!(
        store.attempt_handle(lease, attempt, "late").await,
        fenced,
        "attempt_handle"
    );
    assert_eq!(
        store.log_append(lease, &piece(Some(attempt), 99, b"late")).await,
        fenced,
        "log_append"
    );
    assert_eq!(
        store.log_append(lease, &piece(None, 0, b"late")).await,
        fenced,
        "log_append of our own"
    );
    assert_eq!(store.step_end(lease, &step_end(0, attempt)).await, fenced, "step_end");
    assert_eq!(store.lease_release(lease).await, fenced, "lease_release");
    let state = Err(StoreError::Fenced);
    assert_eq!(
        store.execution_move(lease, Event::Prepared, at(50)).await,
        state,
        "execution_move"
    );
    assert_eq!(store.execution_finish(lease, &finish).await, state, "execution_finish");
    let held = store
        .lease_extend(std::slice::from_ref(lease), "worker-a", at(99))
        .await;
    assert_eq!(held, Ok(vec![]), "lease_extend");
}

async fn an_old_epoch_can_write_nothing(world: &World) {
    let (taken, old) = world.claimed().await;
    let attempt = AttemptId::random();
    world.store.step_start(&old, &start(0, attempt)).await.expect("starts");
    let (again, new) = world.claim(taken.id, "worker-b", 11).await.expect("lapsed");
    assert_eq!((taken.epoch, again.epoch), (1, 2));
    let all = async || {
        let view = world.store.execution_view(taken.id).await.expect("reads");
        let current = world.store.attempt_current(taken.id, 0).await.expect("reads");
        (
            view,
            current,
            world.store.log_read(taken.id, 0, 1000).await.expect("reads"),
        )
    };
    let before = all().await;
    all_are_fenced(world, &old, attempt).await;
    assert_eq!(all().await, before);
    assert_eq!(world.store.attempt_handle(&new, attempt, "mine").await, Ok(()));
}

async fn a_lease_ends_with_its_execution(world: &World) {
    let (taken, lease) = world.claimed().await;
    let attempt = AttemptId::random();
    world
        .store
        .step_start(&lease, &start(0, attempt))
        .await
        .expect("starts");
    let ended = outcome("no");
    let finish = Finish {
        event: Event::InfraFailed,
        outcome: &ended,
        artifacts: &[],
        now: at(3),
    };
    assert_eq!(
        world.store.execution_finish(&lease, &finish).await,
        Ok(ExecutionState::InfraFailed)
    );
    all_are_fenced(world, &lease, attempt).await;
    assert_eq!(world.claim(taken.id, "worker-b", 1000).await, None);
    let steps = world.store.execution_steps(taken.id).await.expect("reads");
    let states: Vec<_> = steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Unknown, StepState::Skipped, StepState::Skipped]);
}

async fn a_lapsed_lease_is_taken_over_and_a_released_one_at_once(world: &World) {
    let (taken, lease) = world.claimed().await;
    world
        .store
        .execution_move(&lease, Event::Prepared, at(1))
        .await
        .expect("moves");
    assert_eq!(world.claim(taken.id, "worker-b", 10).await, None, "it holds until then");
    let held = world
        .store
        .lease_extend(std::slice::from_ref(&lease), "worker-a", at(20))
        .await;
    assert_eq!(
        held,
        Ok(vec![Held {
            execution: taken.id,
            cancel_requested: false
        }])
    );
    let foreign = world
        .store
        .lease_extend(std::slice::from_ref(&lease), "worker-b", at(20))
        .await;
    assert_eq!(foreign, Ok(vec![]));
    assert_eq!(world.claim(taken.id, "worker-b", 15).await, None, "it was extended");
    let (over, second) = world.claim(taken.id, "worker-b", 21).await.expect("lapsed");
    assert_eq!((over.state, over.epoch), (ExecutionState::Running, 2));
    assert_eq!(over.started_at, taken.started_at);
    world.store.lease_release(&second).await.expect("gives it back");
    let (over, _) = world.claim(taken.id, "worker-c", 21).await.expect("was released");
    assert_eq!(over.epoch, 3);
}

/// An execution in this state, with its lease if it has one.
async fn in_state(world: &World, state: ExecutionState) -> (ExecutionId, Option<Lease>) {
    use ExecutionState as S;
    if matches!(state, S::AwaitingApproval | S::Queued) {
        return (world.execution(state).await.execution.id, None);
    }
    let (Execution { id, .. }, lease) = world.claimed().await;
    let path: &[Event] = match state {
        S::Preparing => &[],
        S::Running => &[Event::Prepared],
        S::Collecting => &[Event::Prepared, Event::StepsOver],
        _ => {
            let ended = outcome("ended");
            let finish = Finish {
                event: Event::InfraFailed,
                outcome: &ended,
                artifacts: &[],
                now: at(1),
            };
            world.store.execution_finish(&lease, &finish).await.expect("ends");
            return (id, None);
        }
    };
    for event in path {
        world.store.execution_move(&lease, *event, at(1)).await.expect("moves");
    }
    (id, Some(lease))
}

async fn cancelling_in_every_state(world: &World) {
    use ExecutionState as S;
    for (state, after) in [
        (S::AwaitingApproval, S::Cancelled),
        (S::Queued, S::Cancelled),
        (S::Preparing, S::Preparing),
        (S::Running, S::Running),
        (S::Collecting, S::Collecting),
        (S::InfraFailed, S::InfraFailed),
    ] {
        let (id, lease) = in_state(world, state).await;
        let before = world.store.execution_get(id).await.expect("reads").expect("is there");
        for (reason, now) in [("enough", 5), ("again", 6)] {
            let answer = world
                .store
                .execution_cancel(id, Some(reason), "operator", at(now))
                .await;
            assert_eq!(answer, Ok(Some(after)), "{state:?}");
        }
        let view = world.store.execution_view(id).await.expect("reads").expect("is there");
        let row = view.execution;
        if state.is_terminal() {
            assert_eq!(row, before);
            continue;
        }
        assert_eq!(row.state, after);
        assert_eq!(row.cancel_requested_at, Some(at(5)), "the first request counts");
        assert_eq!(row.cancel_reason.as_deref(), Some("enough"));
        assert_eq!(row.outcome.is_some(), after.is_terminal());
        assert_eq!(row.ended_at, after.is_terminal().then_some(at(5)));
        let skipped = view.steps.iter().all(|step| step.state == StepState::Skipped);
        assert_eq!(skipped, after.is_terminal());
        if let Some(approval) = view.approval {
            assert_eq!(approval.state.as_str(), "withdrawn");
        }
        if let Some(lease) = lease {
            let held = world.store.lease_extend(&[lease], "worker-a", at(30)).await;
            assert_eq!(
                held,
                Ok(vec![Held {
                    execution: id,
                    cancel_requested: true
                }])
            );
        } else {
            assert_eq!(world.claim(id, "worker-b", 1000).await, None);
        }
    }
    let nobody = world
        .store
        .execution_cancel(ExecutionId::random(), None, "operator", NOW)
        .await;
    assert_eq!(nobody, Ok(None));
}

async fn an_event_that_cannot_happen_changes_nothing(world: &World) {
    let (taken, lease) = world.claimed().await;
    let ended = outcome("too early");
    for event in [Event::WorkSucceeded, Event::Prepared] {
        let finish = Finish {
            event,
            outcome: &ended,
            artifacts: &[],
            now: at(1),
        };
        let result = world.store.execution_finish(&lease, &finish).await;
        assert!(matches!(result, Err(StoreError::Illegal(_))), "{event:?}: {result:?}");
    }
    for event in [Event::StepsOver, Event::InfraFailed] {
        let result = world.store.execution_move(&lease, event, at(1)).await;
        assert!(matches!(result, Err(StoreError::Illegal(_))), "{event:?}: {result:?}");
    }
    assert_eq!(world.store.execution_get(taken.id).await, Ok(Some(taken)));
}

async fn a_step_and_its_attempts_are_recorded(world: &World) {
    let store = &world.store;
    let (taken, lease) = world.claimed().await;
    assert_eq!(
        store.execution_move(&lease, Event::Prepared, at(1)).await,
        Ok(ExecutionState::Running)
    );
    assert_eq!(store.attempt_current(taken.id, 0).await, Ok(None));
    let (first, second) = (AttemptId::random(), AttemptId::random());
    store.step_start(&lease, &start(0, first)).await.expect("starts");
    store.step_start(&lease, &start(0, second)).await.expect("starts again");
    store.attempt_handle(&lease, second, "pid 7").await.expect("stored");
    store
        .log_append(&lease, &piece(Some(second), 20, b"scrubbed"))
        .await
        .expect("stored");
    store
        .log_append(&lease, &piece(Some(second), 25, b""))
        .await
        .expect("stored");
    let attempt = store
        .attempt_current(taken.id, 0)
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!((attempt.id, attempt.index, attempt.ended), (second, 0, false));
    assert_eq!(
        (attempt.handle.as_deref(), attempt.raw_offset, attempt.last_byte),
        (Some("pid 7"), 25, None)
    );
    store.step_end(&lease, &step_end(0, second)).await.expect("stored");
    assert!(
        store
            .attempt_current(taken.id, 0)
            .await
            .expect("reads")
            .expect("is there")
            .ended
    );
    let steps = store.execution_steps(taken.id).await.expect("reads");
    let step = &steps[0];
    assert_eq!((step.state, step.exit_code), (StepState::Succeeded, Some(0)));
    assert_eq!((step.started_at, step.ended_at), (Some(at(1)), Some(at(2))));
    let (log, size) = store.log_read(taken.id, 0, 1000).await.expect("reads");
    assert_eq!((log.as_slice(), size), (b"$ true\n$ true\nscrubbed".as_slice(), 22));
}

async fn an_end_is_recorded_with_its_outputs(world: &World) {
    let store = &world.store;
    let (taken, lease) = world.claimed().await;
    for event in [Event::Prepared, Event::StepsOver] {
        store.execution_move(&lease, event, at(3)).await.expect("moves");
    }
    let task = store.task_get(taken.task).await.expect("reads").expect("is there");
    let mut report = artifact(&task, "report.xml", b"<xml/>");
    report.execution = Some(taken.id);
    report.role = ArtifactRole::Output;
    let ended = outcome("all passed");
    let finish = Finish {
        event: Event::WorkSucceeded,
        outcome: &ended,
        artifacts: std::slice::from_ref(&report),
        now: at(4),
    };
    assert_eq!(
        store.execution_finish(&lease, &finish).await,
        Ok(ExecutionState::Succeeded)
    );
    let view = store.execution_view(taken.id).await.expect("reads").expect("is there");
    assert_eq!(view.execution.outcome, Some(ended));
    assert_eq!(
        (view.execution.started_at, view.execution.ended_at),
        (Some(NOW), Some(at(4)))
    );
    assert_eq!(view.steps[1].state, StepState::Skipped);
    assert_eq!(store.artifact_outputs(taken.id).await, Ok(vec![report]));
    assert_eq!(store.artifact_inputs(taken.task).await, Ok(vec![]));
}

async fn the_log_is_read_from_anywhere(world: &World) {
    let (taken, lease) = world.claimed().await;
    let mut whole = Vec::new();
    for (index, size) in [1, 0, 7, 64 * 1024, 3, 600 * 1024, 1].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size)
            .map(|i| u8::try_from((i * 31 + index) % 251).expect("small"))
            .collect();
        world
            .store
            .log_append(&lease, &piece(None, 0, &bytes))
            .await
            .expect("stored");
        whole.extend_from_slice(&bytes);
    }
    let size = whole.len();
    let froms = [
        0,
        1,
        2,
        7,
        8,
        9,
        65_543,
        65_544,
        65_547,
        300_000,
        327_691,
        size - 1,
        size,
        size + 5,
    ];
    for from in froms {
        for max in [0, 1, 5, 70_000, 10_000_000] {
            let (bytes, told) = world.store.log_read(taken.id, from as u64, max).await.expect("reads");
            let expected = &whole[from.min(size)..(from + max).min(size).max(from.min(size))];
            assert!(
                bytes == expected,
                "from {from} max {max}: {} bytes, not {}",
                bytes.len(),
                expected.len()
            );
            assert_eq!(told, size as u64);
        }
    }
    assert_eq!(
        world.store.log_read(ExecutionId::random(), 0, 10).await,
        Ok((vec![], 0))
    );
    let view = world
        .store
        .execution_view(taken.id)
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(view.execution.log_size, size as u64);
}

async fn purging_keeps_what_is_used(world: &World) {
    let store = &world.store;
    let aged = |mut task: clawhand::domain::Task, at: UnixMs| {
        task.created_at = at;
        task
    };
    let (old, young) = (aged(super::task("a"), at(-100)), aged(super::task("b"), at(0)));
    let (busy, active) = (aged(super::task("c"), at(-100)), aged(super::task("d"), at(-100)));
    for task in [&old, &young, &busy, &active] {
        store.task_insert(task).await.expect("stored");
        for (name, content) in [("shared", b"shared".as_slice()), ("own", task.owner.as_bytes())] {
            let mut input = artifact(task, name, content);
            input.created_at = if task.id == active.id { at(1) } else { task.created_at };
            store.artifact_insert_input(&input).await.expect("stored");
        }
    }
    let mut running = execution(&busy, ExecutionState::Queued);
    running.execution.created_at = at(-50);
    store.execution_insert(&running).await.expect("stored");
    let mut done = execution(&old, ExecutionState::Queued);
    done.execution.created_at = at(-50);
    store.execution_insert(&done).await.expect("stored");
    store
        .execution_cancel(done.execution.id, None, "operator", at(-40))
        .await
        .expect("cancels");

    let purged = store.purge(at(-1), 10).await.expect("purges");
    let expected = Purged {
        tasks: 1,
        executions: 1,
    };
    assert_eq!(purged, expected);
    assert_eq!(store.task_get(old.id).await, Ok(None));
    assert_eq!(store.execution_view(done.execution.id).await, Ok(None));
    for task in [&young, &busy, &active] {
        assert!(
            store.task_get(task.id).await.expect("reads").is_some(),
            "{}",
            task.owner
        );
        assert_eq!(store.artifact_inputs(task.id).await.map(|inputs| inputs.len()), Ok(2));
    }
    let going = store.blobs_going(100).await.expect("answers");
    let going: std::collections::BTreeSet<_> = going
        .iter()
        .filter(|going| going.kept.is_none())
        .map(|going| going.blob.digest)
        .collect();
    assert_eq!(going, [Digest::of(b"a")].into(), "what others share stays");
    assert_eq!(store.purge(at(-1), 10).await, Ok(Purged::default()));
    let limited = store.purge(at(1000), 1).await.expect("purges");
    assert_eq!(limited.tasks, 1);
}
