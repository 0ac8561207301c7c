//! What runs ask: kept once, closed when it isn't asked any more, answered once, and told once.

use clawhand::domain::{
    Approval, ApprovalState, Decision, Digest, Event, Execution, ExecutionState, Outcome, RunQuestion,
};
use clawhand::store::{Decide, Decided, Finish, Lease, NewQuestion, StoreError};

use super::{NOW, World, at, on_both};

on_both!(
    a_question_is_kept_once_and_closed_when_it_is_gone,
    an_answer_is_for_the_run_and_moves_nothing,
    the_end_of_an_execution_closes_what_was_not_heard,
    only_who_drives_may_ask,
);

fn question(key: &str) -> NewQuestion {
    NewQuestion {
        of_run: RunQuestion {
            key: key.to_owned(),
            may_always: key.contains("always"),
        },
        text: format!("may it {key}?"),
        digest: Digest::of(key.as_bytes()),
        expires_at: at(1000),
    }
}

async fn running(world: &World) -> (Execution, Lease) {
    let (execution, lease) = world.claimed().await;
    world
        .store
        .execution_move(&lease, Event::Prepared, NOW)
        .await
        .expect("moves");
    (execution, lease)
}

async fn keep(world: &World, (execution, lease): (&Execution, &Lease), keys: &[&str], now: i64) -> bool {
    let asked: Vec<_> = keys.iter().map(|key| question(key)).collect();
    let kept = world.store.questions_keep(lease, execution, &asked, at(now)).await;
    kept.expect("keeps")
}

/// All approvals, by what the runs call them.
async fn all(world: &World) -> Vec<Approval> {
    let mut all = world.store.approval_list(None, 100).await.expect("lists");
    all.sort_by_key(|approval| approval.of_run.as_ref().map(|asked| asked.key.clone()));
    all
}

async fn answer(world: &World, approval: &Approval, decision: Decision) -> Decided {
    let (event, state) = match decision {
        Decision::Deny => (Event::Denied, ApprovalState::Denied),
        _ => (Event::Allowed, ApprovalState::Allowed),
    };
    let decide = Decide {
        approval: approval.id,
        event,
        decision: Some(decision),
        state,
        by: "person",
        reason: None,
        now: at(5),
        outcome: None,
        grant: None,
    };
    world.store.approval_decide(&decide).await.expect("answers")
}

async fn a_question_is_kept_once_and_closed_when_it_is_gone(world: &World) {
    let (execution, lease) = running(world).await;
    let of = (&execution, &lease);
    assert!(keep(world, of, &["exec:a", "exec:always"], 1).await);
    assert!(
        !keep(world, of, &["exec:always", "exec:a"], 2).await,
        "they are the same"
    );
    let both = all(world).await;
    assert_eq!(both.len(), 2);
    assert_eq!(
        (both[0].owner.as_str(), both[0].question.as_str()),
        (execution.owner.as_str(), "may it exec:a?")
    );
    assert_eq!(both[1].of_run, Some(question("exec:always").of_run));
    let view = world
        .store
        .execution_view(execution.id)
        .await
        .expect("reads")
        .expect("is there");
    assert!(
        view.approval
            .is_some_and(|approval| approval.state == ApprovalState::Open)
    );
    assert_eq!(
        world.store.approval_for(execution.id).await,
        Ok(None),
        "it began without one"
    );
    assert_eq!(
        world.store.approvals_expire(at(5000), &Outcome::default()).await,
        Ok(Vec::new()),
        "an execution that runs doesn't lapse"
    );
    assert!(keep(world, of, &["exec:always"], 10).await);
    assert!(keep(world, of, &[], 2000).await);
    let states: Vec<_> = all(world).await.iter().map(|approval| approval.state).collect();
    assert_eq!(states, [ApprovalState::Withdrawn, ApprovalState::Expired]);
}

async fn an_answer_is_for_the_run_and_moves_nothing(world: &World) {
    let (execution, lease) = running(world).await;
    let of = (&execution, &lease);
    keep(world, of, &["exec:a", "exec:b"], 1).await;
    let asked = all(world).await;
    assert_eq!(
        answer(world, &asked[0], Decision::AllowOnce).await,
        Decided::Done(ExecutionState::Running)
    );
    assert_eq!(
        answer(world, &asked[1], Decision::Deny).await,
        Decided::Done(ExecutionState::Running)
    );
    let again = answer(world, &asked[0], Decision::Deny).await;
    assert!(matches!(again, Decided::AlreadyDecided(approval) if approval.state == ApprovalState::Allowed));
    let waiting = world.store.questions_answered(execution.id).await.expect("reads");
    let mut told: Vec<_> = waiting.iter().map(|one| (one.key.as_str(), one.decision)).collect();
    told.sort_by_key(|(key, _)| *key);
    assert_eq!(told, [("exec:a", Decision::AllowOnce), ("exec:b", Decision::Deny)]);
    world
        .store
        .question_told(&lease, asked[0].id, None, at(6))
        .await
        .expect("notes");
    world
        .store
        .question_told(&lease, asked[1].id, Some("too late"), at(6))
        .await
        .expect("notes");
    assert_eq!(world.store.questions_answered(execution.id).await, Ok(Vec::new()));
    // What was answered isn't asked any more, which closes nothing anew.
    assert!(!keep(world, of, &[], 7).await);
    let ends: Vec<_> = all(world)
        .await
        .into_iter()
        .map(|one| (one.state, one.reason))
        .collect();
    assert_eq!(
        ends,
        [
            (ApprovalState::Allowed, None),
            (ApprovalState::Withdrawn, Some("too late".to_owned()))
        ]
    );
}

async fn the_end_of_an_execution_closes_what_was_not_heard(world: &World) {
    let (execution, lease) = running(world).await;
    keep(world, (&execution, &lease), &["exec:a", "exec:b", "exec:c"], 1).await;
    let asked = all(world).await;
    answer(world, &asked[0], Decision::AllowOnce).await;
    world
        .store
        .question_told(&lease, asked[0].id, None, at(6))
        .await
        .expect("notes");
    answer(world, &asked[1], Decision::AllowOnce).await;
    let finish = Finish {
        event: Event::Lost,
        outcome: &Outcome::default(),
        artifacts: &[],
        now: at(8),
    };
    world.store.execution_finish(&lease, &finish).await.expect("ends");
    let states: Vec<_> = all(world).await.iter().map(|approval| approval.state).collect();
    assert_eq!(
        states,
        [
            ApprovalState::Allowed,
            ApprovalState::Withdrawn,
            ApprovalState::Withdrawn
        ]
    );
    assert_eq!(
        world.store.questions_answered(execution.id).await.map(|all| all.len()),
        Ok(0)
    );
}

async fn only_who_drives_may_ask(world: &World) {
    let (execution, lease) = running(world).await;
    world.store.lease_release(&lease).await.expect("lets go");
    let asked = [question("exec:a")];
    let kept = world.store.questions_keep(&lease, &execution, &asked, NOW).await;
    assert_eq!(kept, Err(StoreError::Fenced));
    assert_eq!(all(world).await, []);
}
