//! What goes in comes out, filters filter, and replacing replaces.

use std::collections::BTreeMap;

use clawhand::domain::facts::Tool;
use clawhand::domain::{Digest, ExecutionState, Facts, KeyId, Scope, StepState, TaskId};
use clawhand::store::{
    ArtifactInsert, ExecutionFilter, ExecutionInsert, Key, PartInsert, StoreError, TaskFilter, Upload, UploadKind,
};

use super::{NOW, World, artifact, at, execution, on_both, task};

on_both!(
    a_task_survives_storage,
    tasks_are_listed_by_owner_state_and_age,
    an_input_of_the_same_name_is_replaced_until_the_task_starts,
    an_execution_is_seen_with_steps_and_approval,
    executions_are_listed_by_owner_state_task_and_age,
    nothing_is_made_that_cannot_be,
    an_upload_in_parts_advances_only_from_where_it_stands,
    a_link_works_once_until_it_expires,
    facts_are_kept_per_connection,
    keys_are_found_by_hash_and_end,
);

async fn a_task_survives_storage(world: &World) {
    let task = world.task("operator").await;
    assert_eq!(world.store.task_get(task.id).await, Ok(Some(task)));
    assert_eq!(world.store.task_get(TaskId::random()).await, Ok(None));
}

async fn tasks_are_listed_by_owner_state_and_age(world: &World) {
    let old = world.task("key:a").await;
    let young = world.task("key:a").await;
    let foreign = world.task("key:b").await;
    let started = execution(&young, ExecutionState::AwaitingApproval);
    world.store.execution_insert(&started).await.expect("stored");
    let id = started.execution.id;
    assert_eq!(
        world
            .store
            .execution_insert(&execution(&young, ExecutionState::Queued))
            .await,
        Ok(ExecutionInsert::Active(id)),
        "one at a time"
    );
    world
        .store
        .execution_cancel(id, None, "key:a", NOW)
        .await
        .expect("cancelled");
    let last = execution(&young, ExecutionState::Queued);
    world.store.execution_insert(&last).await.expect("stored");

    let list = async |filter: TaskFilter| {
        let rows = world.store.task_list(&filter).await.expect("lists");
        rows.into_iter().map(|row| (row.task.id, row.state)).collect::<Vec<_>>()
    };
    let submitted = || "submitted".to_owned();
    let filter = |owner: Option<&str>, state: Option<&str>, before| TaskFilter {
        owner: owner.map(Into::into),
        state: state.map(Into::into),
        limit: 10,
        before,
    };
    assert_eq!(
        list(filter(None, None, None)).await,
        [
            (foreign.id, submitted()),
            (young.id, "queued".into()),
            (old.id, submitted())
        ]
    );
    assert_eq!(
        list(filter(Some("key:b"), None, None)).await,
        [(foreign.id, submitted())]
    );
    assert_eq!(
        list(filter(Some("key:a"), Some("submitted"), None)).await,
        [(old.id, submitted())]
    );
    assert_eq!(
        list(filter(Some("key:a"), Some("queued"), None)).await,
        [(young.id, "queued".into())]
    );
    assert_eq!(list(filter(None, None, Some(young.id))).await, [(old.id, submitted())]);
    let one = TaskFilter {
        limit: 1,
        ..TaskFilter::default()
    };
    assert_eq!(list(one).await, [(foreign.id, submitted())]);
}

async fn an_input_of_the_same_name_is_replaced_until_the_task_starts(world: &World) {
    let task = world.task("operator").await;
    let store = &world.store;
    let first = artifact(&task, "a.py", b"one");
    let second = artifact(&task, "a.py", b"two, longer");
    let other = artifact(&task, "b.py", b"");
    for artifact in [&first, &other, &second] {
        assert_eq!(store.artifact_insert_input(artifact).await, Ok(ArtifactInsert::Stored));
    }
    assert_eq!(
        store.artifact_inputs(task.id).await,
        Ok(vec![second.clone(), other.clone()])
    );
    assert_eq!(store.artifact_get(first.id).await, Ok(None));
    assert_eq!(store.artifact_get(second.id).await, Ok(Some(second.clone())));
    let going: Vec<_> = store.blobs_going(10).await.expect("answers");
    assert_eq!(going.iter().map(|going| going.blob).collect::<Vec<_>>(), [first.blob()]);

    let new = execution(&task, ExecutionState::Queued);
    store.execution_insert(&new).await.expect("stored");
    let late = artifact(&task, "c.py", b"late");
    assert_eq!(
        store.artifact_insert_input(&late).await,
        Ok(ArtifactInsert::TaskStarted)
    );
    assert_eq!(store.artifact_inputs(task.id).await, Ok(vec![second, other]));
}

async fn an_execution_is_seen_with_steps_and_approval(world: &World) {
    for state in [ExecutionState::AwaitingApproval, ExecutionState::Queued] {
        let new = world.execution(state).await;
        let id = new.execution.id;
        let view = world.store.execution_view(id).await.expect("reads").expect("is there");
        assert_eq!(view.execution, new.execution);
        assert_eq!(view.approval, new.approval);
        let steps: Vec<_> = view
            .steps
            .iter()
            .map(|step| (step.index, step.name.as_str(), step.state))
            .collect();
        assert_eq!(
            steps,
            [
                (0, "venv", StepState::Pending),
                (1, "install", StepState::Pending),
                (2, "test", StepState::Pending)
            ]
        );
        assert_eq!(world.store.execution_get(id).await, Ok(Some(new.execution.clone())));
        assert_eq!(world.store.execution_steps(id).await, Ok(view.steps));
        assert_eq!(
            world.store.execution_last(new.execution.task).await,
            Ok(Some(new.execution))
        );
        assert_eq!(world.store.approval_for(id).await, Ok(new.approval));
    }
    let task = world.task("operator").await;
    let mut bare = execution(&task, ExecutionState::Queued);
    bare.execution.plan.steps.clear();
    world.store.execution_insert(&bare).await.expect("stored");
    let view = world
        .store
        .execution_view(bare.execution.id)
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!((view.execution, view.steps), (bare.execution, vec![]));
}

async fn executions_are_listed_by_owner_state_task_and_age(world: &World) {
    let (a, b) = (world.task("key:a").await, world.task("key:b").await);
    let other = world.task("key:a").await;
    let first = execution(&other, ExecutionState::Queued).execution;
    let second = execution(&a, ExecutionState::AwaitingApproval);
    let third = execution(&b, ExecutionState::Queued).execution;
    for execution in [&first, &second.execution, &third] {
        let mut new = second.clone();
        new.execution = execution.clone();
        if execution.id != second.execution.id {
            new.approval = None;
        }
        world.store.execution_insert(&new).await.expect("stored");
    }
    let all = ExecutionFilter {
        limit: 10,
        ..ExecutionFilter::default()
    };
    for (filter, expected) in [
        (all.clone(), vec![third.id, second.execution.id, first.id]),
        (
            ExecutionFilter {
                limit: 1,
                ..all.clone()
            },
            vec![third.id],
        ),
        (
            ExecutionFilter {
                owner: Some("key:a".into()),
                ..all.clone()
            },
            vec![second.execution.id, first.id],
        ),
        (
            ExecutionFilter {
                state: Some(ExecutionState::Queued),
                ..all.clone()
            },
            vec![third.id, first.id],
        ),
        (
            ExecutionFilter {
                task: Some(b.id),
                ..all.clone()
            },
            vec![third.id],
        ),
        (
            ExecutionFilter {
                before: Some(second.execution.id),
                ..all.clone()
            },
            vec![first.id],
        ),
    ] {
        let listed = world.store.execution_list(&filter).await.expect("lists");
        assert_eq!(
            listed.iter().map(|execution| execution.id).collect::<Vec<_>>(),
            expected,
            "{filter:?}"
        );
    }
}

async fn nothing_is_made_that_cannot_be(world: &World) {
    let gone = task("operator");
    let new = execution(&gone, ExecutionState::Queued);
    assert_eq!(world.store.execution_insert(&new).await, Ok(ExecutionInsert::NoTask));
    assert_eq!(world.store.execution_view(new.execution.id).await, Ok(None));
    let there = world.task("operator").await;
    for (state, approved) in [
        (ExecutionState::AwaitingApproval, false),
        (ExecutionState::Queued, true),
        (ExecutionState::Running, false),
        (ExecutionState::Succeeded, false),
    ] {
        let mut odd = execution(&there, ExecutionState::AwaitingApproval);
        odd.execution.state = state;
        odd.approval = odd.approval.filter(|_| approved);
        let refused = world.store.execution_insert(&odd).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{state:?}: {refused:?}");
    }
    let input = artifact(&gone, "a.py", b"a");
    assert_eq!(
        world.store.artifact_insert_input(&input).await,
        Ok(ArtifactInsert::NoTask)
    );
}

fn upload(task: TaskId, kind: UploadKind) -> Upload {
    Upload {
        id: TaskId::random().to_string(),
        task,
        owner: "operator".into(),
        name: "big.tar.gz".into(),
        digest: Some(Digest::of(b"big")),
        offset: 0,
        kind,
        created_at: NOW,
        expires_at: at(100),
        used_at: None,
    }
}

async fn an_upload_in_parts_advances_only_from_where_it_stands(world: &World) {
    let task = world.task("operator").await;
    let store = &world.store;
    let parts = upload(task.id, UploadKind::Parts);
    assert_eq!(store.upload_insert(&parts).await, Ok(true));
    assert_eq!(
        store.upload_insert(&upload(task.id, UploadKind::Parts)).await,
        Ok(false)
    );
    assert_eq!(store.upload_insert(&upload(task.id, UploadKind::Link)).await, Ok(true));
    assert_eq!(store.upload_find(task.id, "big.tar.gz").await, Ok(Some(parts.clone())));
    assert_eq!(store.upload_find(task.id, "other").await, Ok(None));
    assert_eq!(store.upload_part(&parts.id, 0, &[1; 10]).await, Ok(PartInsert::Stored));
    assert_eq!(
        store.upload_part(&parts.id, 0, &[2; 10]).await,
        Ok(PartInsert::Expected(10))
    );
    assert_eq!(store.upload_part(&parts.id, 10, &[3; 20]).await, Ok(PartInsert::Stored));
    assert_eq!(store.upload_part_at(&parts.id, 0).await, Ok(Some(vec![1; 10])));
    assert_eq!(store.upload_part_at(&parts.id, 10).await, Ok(Some(vec![3; 20])));
    assert_eq!(store.upload_part_at(&parts.id, 30).await, Ok(None));
    let moved = Upload {
        offset: 30,
        ..parts.clone()
    };
    assert_eq!(store.upload_get(&parts.id).await, Ok(Some(moved)));
    assert_eq!(store.uploads_lapsed(at(99), 10).await, Ok(vec![]));
    assert_eq!(store.uploads_lapsed(at(100), 10).await.map(|all| all.len()), Ok(2));
    assert_eq!(store.upload_delete(&parts.id).await, Ok(()));
    assert_eq!(store.upload_get(&parts.id).await, Ok(None));
    assert_eq!(store.upload_part_at(&parts.id, 0).await, Ok(None));
}

async fn a_link_works_once_until_it_expires(world: &World) {
    let task = world.task("operator").await;
    let store = &world.store;
    let link = upload(task.id, UploadKind::Link);
    store.upload_insert(&link).await.expect("stored");
    assert_eq!(store.upload_take(&link.id, at(100)).await, Ok(false), "it expired");
    assert_eq!(store.upload_take("another", at(1)).await, Ok(false));
    assert_eq!(store.upload_take(&link.id, at(1)).await, Ok(true));
    assert_eq!(store.upload_take(&link.id, at(2)).await, Ok(false));
    assert_eq!(store.upload_release(&link.id).await, Ok(()));
    assert_eq!(store.upload_take(&link.id, at(3)).await, Ok(true));
    let parts = upload(task.id, UploadKind::Parts);
    store.upload_insert(&parts).await.expect("stored");
    assert_eq!(store.upload_take(&parts.id, at(1)).await, Ok(false), "it is no link");
}

async fn facts_are_kept_per_connection(world: &World) {
    let facts = |learned| Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        tools: BTreeMap::from([(
            "python3".into(),
            Tool {
                version: "3.11.2".into(),
            },
        )]),
        isolation: vec!["landlock".into()],
        learned_at: at(learned),
    };
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let store = &world.store;
    assert_eq!(store.facts_get("local").await, Ok(None));
    for (connection, learned, expected) in [
        (one, 5, (one, 5)),
        (one, 4, (one, 5)),
        (one, 6, (one, 6)),
        (two, 1, (two, 1)),
    ] {
        store
            .facts_put("local", connection, &facts(learned))
            .await
            .expect("stored");
        let (connection, learned) = expected;
        assert_eq!(store.facts_get("local").await, Ok(Some((connection, facts(learned)))));
    }
}

async fn keys_are_found_by_hash_and_end(world: &World) {
    let key = |hash: &[u8], expires| Key {
        id: KeyId::random(),
        name: "ci".into(),
        prefix: "chk_abcd".into(),
        hash: hash.to_vec(),
        scopes: vec![Scope::Tasks, Scope::Approve],
        created_at: NOW,
        expires_at: expires,
        revoked_at: None,
        last_used_at: None,
    };
    let store = &world.store;
    let (lasting, short) = (key(&[0, 255, 1], None), key(&[2], Some(at(10))));
    store.key_insert(&lasting).await.expect("stored");
    store.key_insert(&short).await.expect("stored");
    assert_eq!(store.key_list().await, Ok(vec![lasting.clone(), short.clone()]));
    assert_eq!(store.key_by_hash(&[0, 255, 1]).await, Ok(Some(lasting.clone())));
    assert_eq!(store.key_by_hash(&[]).await, Ok(None));
    assert_eq!(
        (store.keys_active(at(9)).await, store.keys_active(at(10)).await),
        (Ok(2), Ok(1))
    );
    store.key_used(lasting.id, at(7)).await.expect("stored");
    store.key_used(lasting.id, at(6)).await.expect("stored");
    assert_eq!(store.key_revoke(lasting.id, at(8)).await, Ok(true));
    assert_eq!(store.key_revoke(lasting.id, at(9)).await, Ok(false));
    let revoked = Key {
        revoked_at: Some(at(8)),
        last_used_at: Some(at(7)),
        ..lasting
    };
    assert_eq!(store.key_by_hash(&[0, 255, 1]).await, Ok(Some(revoked)));
    assert_eq!(store.keys_active(at(10)).await, Ok(0));
}
