//! Many callers at once: exactly one wins, and the others learn it.

use std::collections::BTreeSet;
use std::sync::Arc;

use clawhand::domain::approval::ApprovalState;
use clawhand::domain::execution::ExecutionState;
use clawhand::domain::{Event, ExecutionId, Outcome, TaskId};
use clawhand::store::{
    Claim, Decide, Decided, ExecutionInsert, Grant, LogPiece, Store, StoreError, TaskInsert, Upload, UploadKind,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{NO_LIMITS, NOW, World, at, execution, on_both, task};

on_both!(
    a_task_is_made_once,
    an_execution_is_made_once,
    each_execution_is_claimed_by_one,
    an_approval_is_decided_once,
    a_link_is_taken_once,
    a_write_that_fails_takes_no_other_with_it,
    a_write_that_is_dropped_blocks_nobody,
);

const CALLERS: usize = 8;

/// Runs the same thing as several callers that begin together.
async fn together<T, F>(callers: usize, run: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(callers));
    let mut set = JoinSet::new();
    for index in 0..callers {
        let (barrier, work) = (Arc::clone(&barrier), run(index));
        set.spawn(async move {
            barrier.wait().await;
            work.await
        });
    }
    set.join_all().await
}

async fn a_task_is_made_once(world: &World) {
    let answers = together(CALLERS, |_| {
        let store = world.store.clone();
        let mut task = task("key:a");
        task.idempotency_key = Some("again".into());
        async move { (task.id, store.task_insert(&task).await.expect("answers")) }
    })
    .await;
    let made: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| *answer == TaskInsert::Inserted)
        .collect();
    assert_eq!(made.len(), 1);
    for (_, answer) in &answers {
        if let TaskInsert::Existing(task) = answer {
            assert_eq!(task.id, made[0].0);
        }
    }
    let mut foreign = task("key:b");
    foreign.idempotency_key = Some("again".into());
    assert_eq!(
        world.store.task_insert(&foreign).await,
        Ok(TaskInsert::Inserted),
        "keys are per owner"
    );
}

async fn an_execution_is_made_once(world: &World) {
    let task = world.task("operator").await;
    let answers = together(CALLERS, |_| {
        let store = world.store.clone();
        let mut new = execution(&task, ExecutionState::Queued);
        new.idempotency_key = Some("again".into());
        async move { (new.execution.id, store.execution_insert(&new).await.expect("answers")) }
    })
    .await;
    let made: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| *answer == ExecutionInsert::Inserted)
        .collect();
    assert_eq!(made.len(), 1);
    for (_, answer) in &answers {
        if let ExecutionInsert::Existing(execution, digest) = answer {
            assert_eq!((execution.id, *digest), (made[0].0, super::Digest::of(b"start")));
        }
    }
    assert_eq!(
        world.store.execution_steps(made[0].0).await.map(|steps| steps.len()),
        Ok(3)
    );
}

async fn each_execution_is_claimed_by_one(world: &World) {
    let mut queued = BTreeSet::new();
    for _ in 0..40 {
        queued.insert(world.execution(ExecutionState::Queued).await.execution.id);
    }
    // Half of them through a handle of their own, as another process has it.
    let other = world.another().await;
    let claimed = together(CALLERS, |index| {
        let store = if index % 2 == 0 {
            world.store.clone()
        } else {
            other.clone()
        };
        async move { claim_all(&store, &format!("worker-{index}")).await }
    })
    .await;
    other.close().await;
    let all: Vec<_> = claimed.into_iter().flatten().collect();
    assert_eq!(all.len(), queued.len(), "none twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), queued, "all of them");
}

async fn claim_all(store: &Store, worker: &str) -> Vec<ExecutionId> {
    let claim = Claim {
        worker,
        now: NOW,
        until: at(1000),
        only: None,
        at_once: &NO_LIMITS,
    };
    let mut mine = Vec::new();
    while let Some((execution, lease)) = store.execution_claim(&claim).await.expect("claims") {
        assert_eq!(lease.epoch(), 1);
        mine.push(execution.id);
    }
    mine
}

/// What one of the callers does to an execution that waits for approval; says whether it won.
async fn decide(store: &Store, new: &super::NewExecution, index: usize) -> Option<ExecutionState> {
    let approval = new.approval.as_ref().expect("it awaits approval");
    let outcome = Outcome::default();
    let (event, state, granted) = match index % 4 {
        0 => (Event::Allowed, ApprovalState::Allowed, true),
        1 => (Event::Denied, ApprovalState::Denied, false),
        2 => {
            let expired = store.approvals_expire(at(5000), &outcome).await.expect("expires");
            return (!expired.is_empty()).then_some(ExecutionState::Expired);
        }
        _ => {
            let before = store.approval_get(approval.id).await.expect("reads").expect("is there");
            let after = store
                .execution_cancel(new.execution.id, None, "operator", NOW)
                .await
                .expect("cancels");
            let approval = store.approval_get(approval.id).await.expect("reads").expect("is there");
            // It won if the approval was open until it was withdrawn; several cancels are one.
            let won = before.state == ApprovalState::Open && approval.state == ApprovalState::Withdrawn;
            return after.filter(|_| won);
        }
    };
    let grant = granted.then(|| Grant {
        owner: "operator".into(),
        plan_digest: approval.plan_digest,
        target: approval.target.clone(),
        intent: approval.intent.clone(),
        granted_by: "person".into(),
        at: NOW,
    });
    let answer = store
        .approval_decide(&Decide {
            approval: approval.id,
            event,
            decision: None,
            state,
            by: "person",
            reason: Some("because"),
            now: NOW,
            outcome: Some(&outcome),
            grant,
        })
        .await
        .expect("answers");
    match answer {
        Decided::Done(state) => Some(state),
        Decided::AlreadyDecided(other) => {
            assert_ne!(other.state, ApprovalState::Open);
            None
        }
        Decided::NotFound => panic!("the approval is there"),
    }
}

async fn an_approval_is_decided_once(world: &World) {
    for round in 0..6 {
        let new = Arc::new(world.execution(ExecutionState::AwaitingApproval).await);
        let answers = together(CALLERS, |index| {
            let (store, new) = (world.store.clone(), Arc::clone(&new));
            async move { decide(&store, &new, index + round).await }
        })
        .await;
        let view = world
            .store
            .execution_view(new.execution.id)
            .await
            .expect("reads")
            .expect("is there");
        let approval = view.approval.expect("is there");
        let winners: Vec<_> = answers.into_iter().flatten().collect();
        // A cancel may come after an allow: then both did what they said, and the approval stays allowed.
        let expected = match approval.state {
            ApprovalState::Allowed => {
                assert!(matches!(
                    view.execution.state,
                    ExecutionState::Queued | ExecutionState::Cancelled
                ));
                ExecutionState::Queued
            }
            ApprovalState::Denied => ExecutionState::Denied,
            ApprovalState::Expired => ExecutionState::Expired,
            ApprovalState::Withdrawn => ExecutionState::Cancelled,
            ApprovalState::Open => panic!("nobody won"),
        };
        if approval.state == ApprovalState::Withdrawn {
            assert!(winners.iter().all(|winner| *winner == expected), "{winners:?}");
        } else {
            assert_eq!(winners, [expected], "round {round}");
            if expected.is_terminal() {
                assert_eq!(view.execution.state, expected);
            }
        }
    }
    let allowed = world.execution(ExecutionState::AwaitingApproval).await;
    assert_eq!(decide(&world.store, &allowed, 0).await, Some(ExecutionState::Queued));
    let plan = allowed.execution.plan_digest;
    assert_eq!(world.store.grant_exists("operator", plan).await, Ok(true));
    assert_eq!(world.store.grant_exists("key:b", plan).await, Ok(false));
    assert_eq!(
        world.store.approval_list(Some(ApprovalState::Open), 10).await,
        Ok(vec![])
    );
    assert_eq!(world.store.approval_list(None, 3).await.map(|all| all.len()), Ok(3));
}

async fn a_link_is_taken_once(world: &World) {
    let task = world.task("operator").await;
    let link = Upload {
        id: TaskId::random().to_string(),
        task: task.id,
        owner: task.owner.clone(),
        name: "a".into(),
        digest: None,
        offset: 0,
        kind: UploadKind::Link,
        created_at: NOW,
        expires_at: at(100),
        used_at: None,
    };
    world.store.upload_insert(&link).await.expect("stored");
    let taken = together(CALLERS, |_| {
        let (store, id) = (world.store.clone(), link.id.clone());
        async move { store.upload_take(&id, at(1)).await.expect("answers") }
    })
    .await;
    assert_eq!(taken.iter().filter(|won| **won).count(), 1);
}

/// On SQLite these share transactions: the bad ones must be undone alone, the good ones kept.
async fn a_write_that_fails_takes_no_other_with_it(world: &World) {
    let (taken, old) = world.claimed().await;
    let (_, new) = world.claim(taken.id, "worker-b", 11).await.expect("lapsed");
    let answers = together(32, |index| {
        let (store, lease) = (
            world.store.clone(),
            if index % 3 == 0 { old.clone() } else { new.clone() },
        );
        async move {
            let piece = LogPiece {
                attempt: None,
                raw_offset: 0,
                last_byte: None,
                at: clawhand::domain::UnixMs(0),
                clean: &[b'a' + u8::try_from(index % 26).expect("small")],
            };
            (index, store.log_append(&lease, &piece).await)
        }
    })
    .await;
    for (index, answer) in &answers {
        let expected = if index % 3 == 0 {
            Err(StoreError::Fenced)
        } else {
            Ok(())
        };
        assert_eq!(*answer, expected, "caller {index}");
    }
    let (log, size) = world.store.log_read(taken.id, 0, 100).await.expect("reads");
    let mut letters: Vec<_> = log;
    letters.sort_unstable();
    let mut expected: Vec<_> = (0..32u8)
        .filter(|index| index % 3 != 0)
        .map(|index| b'a' + index % 26)
        .collect();
    expected.sort_unstable();
    assert_eq!((letters, size), (expected.clone(), expected.len() as u64));
}

/// A caller that goes away in the middle of a write leaves a database that others can use, and no half of its own.
async fn a_write_that_is_dropped_blocks_nobody(world: &World) {
    use futures_util::FutureExt as _;
    for polls in 0..40 {
        let task = task("operator");
        world.store.task_insert(&task).await.expect("stored");
        let new = execution(&task, ExecutionState::AwaitingApproval);
        {
            let mut insert = std::pin::pin!(world.store.execution_insert(&new));
            for _ in 0..polls {
                if insert.as_mut().now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let after = world.task("operator").await;
        assert_eq!(world.store.task_get(after.id).await, Ok(Some(after)));
        if let Some(view) = world.store.execution_view(new.execution.id).await.expect("reads") {
            assert_eq!((view.steps.len(), view.approval), (3, new.approval));
        }
    }
}
