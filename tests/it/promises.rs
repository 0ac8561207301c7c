//! The three promises under attack: what runs is what was planned and approved, on the target it was planned for; what
//! can't be known is never told as known; nothing of the target is told at all.

use clawhand::control::contract::{CancelExecution, StartExecution};
use clawhand::domain::{Digest, Execution, ExecutionId, ExecutionState};
use clawhand::store::{ExecutionInsert, NewExecution};

use crate::site::{LAB, Site, alice, file, ok, on_both_sites, refused, submit, text};

on_both_sites!(what_runs_is_what_was_planned, another_target_is_never_a_substitute,);

fn start(task_id: &str) -> StartExecution {
    StartExecution {
        task_id: task_id.into(),
        idempotency_key: None,
    }
}

/// An execution as it was queued, then cancelled so that its plan can be borrowed.
async fn queued(site: &Site) -> Execution {
    let started = site.started(&alice(), "run").await;
    let id: ExecutionId = text(&started, "/execution_id").parse().expect("an id");
    let queued = site.home.store.execution_get(id).await.expect("reads").expect("there");
    let cancel = CancelExecution {
        execution_id: id.to_string(),
        reason: None,
    };
    ok(site.control.cancel_execution(&alice(), cancel).await);
    queued
}

async fn what_runs_is_what_was_planned(site: &Site) {
    let planned = queued(site).await;
    let task = site.task(&alice(), "run").await;
    ok(site
        .control
        .upload_artifact(&alice(), file(&task, "slipped/in.txt", "unasked"))
        .await);
    let new = |inputs| NewExecution {
        execution: Execution {
            id: ExecutionId::random(),
            task: task.parse().expect("an id"),
            state: ExecutionState::Queued,
            ..planned.clone()
        },
        idempotency_key: None,
        request_digest: Digest::of(b""),
        approval: None,
        inputs,
    };
    // The file came between the planning and the start: the start notices.
    let store = &site.home.store;
    let raced = store.execution_insert(&new(Some(planned.plan.inputs.clone()))).await;
    assert_eq!(raced, Ok(ExecutionInsert::InputsChanged));
    // Even if it didn't, only what the plan's digest covers is laid out.
    let unnoticed = new(None);
    assert_eq!(store.execution_insert(&unnoticed).await, Ok(ExecutionInsert::Inserted));
    let worker = site.work();
    site.followed(&alice(), &unnoticed.execution.id.to_string()).await;
    assert_eq!(
        site.scripted.prepared(),
        [(unnoticed.execution.id, vec!["job.txt".to_owned()])]
    );
    worker.stop().await;
}

async fn another_target_is_never_a_substitute(site: &Site) {
    let task = site.task(&alice(), "run").await;
    // The name is gone, but as a reference it would fit another target now.
    site.remove_target("lab.toml");
    site.write_target(
        "other.toml",
        &LAB.replace("name = \"lab\"", "name = \"lab-two\"")
            .replace("the lab", "lab"),
    );
    let home = site.another().await;
    let control = home.control(None);
    ok(control.submit_task(&alice(), submit("run")).await);
    assert_eq!(
        refused(control.start_execution(&alice(), start(&task)).await),
        "unknown_target"
    );
    home.store.clone().close().await;
}
