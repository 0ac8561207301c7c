//! The three promises under attack: what runs is what was planned and approved, on the target it was planned for; what
//! can't be known is never told as known; nothing of the target is told at all.

use clawhand::control::Control;
use clawhand::control::contract::{
    CancelExecution, DecisionArg, GetResult, GetStatus, RespondToApproval, StartExecution, SubmitTask, UploadArtifact,
};
use clawhand::domain::{Actor, AttemptId, Digest, Event, Execution, ExecutionId, ExecutionState, StepState, UnixMs};
use clawhand::executors::ExecutorError;
use clawhand::executors::scripted::Move;
use clawhand::store::{Claim, ExecutionInsert, Lease, NewExecution, StepEnd, StepStart};
use serde_json::Value;

use crate::site::{LAB, Site, Worker, alice, file, ok, on_both_sites, refused, submit, text};
use crate::store::NO_LIMITS;

on_both_sites!(
    what_runs_is_what_was_planned,
    another_target_is_never_a_substitute,
    an_approval_is_for_the_target_as_it_was,
    what_the_operator_forbids_meanwhile_does_not_run,
    a_start_that_nobody_heard_of_is_not_called_failed,
    what_never_started_never_becomes_the_works_own_no,
    a_secret_that_changed_while_nobody_looked_is_not_shown,
    a_question_is_not_the_callers_to_write,
    no_offset_is_too_large_to_be_refused,
);

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
        priority: 0,
        session: None,
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

/// Follows an execution to its end by `control`, whose process must be listening; the result.
async fn ended(control: &Control, id: &str) -> Value {
    let mut cursor = None;
    loop {
        let ask = GetStatus {
            execution_id: id.into(),
            cursor,
            wait_ms: Some(20_000),
            max_bytes: None,
        };
        let status = ok(control.get_status(&alice(), ask).await);
        if status["log"]["done"] == true {
            break;
        }
        cursor = Some(text(&status, "/log/next_cursor"));
    }
    let get = GetResult {
        execution_id: id.into(),
        ..GetResult::default()
    };
    ok(control.get_result(&alice(), get).await)
}

async fn allowed(site: &Site, started: &Value, decision: DecisionArg) {
    let respond = RespondToApproval {
        approval_id: text(started, "/approval/id"),
        decision,
        reason: None,
    };
    ok(site.control.respond_to_approval(&Actor::operator(), respond).await);
}

/// What was approved was approved for the target as it was.
async fn an_approval_is_for_the_target_as_it_was(site: &Site) {
    let task = site.task(&alice(), "deploy").await;
    let started = ok(site.control.start_execution(&alice(), start(&task)).await);
    allowed(site, &started, DecisionArg::AllowAlways).await;
    site.write_target(
        "lab.toml",
        &LAB.replace("lab.internal.example", "production.internal.example"),
    );
    let home = site.another().await;
    let worker = Worker::start(&home);
    let result = ended(&home.control(None), &text(&started, "/execution_id")).await;
    assert_eq!(result["state"], "infra_failed", "{result}");
    assert_eq!(site.scripted.start_calls(), 0);
    // Nor does the lasting part of the answer cover it.
    let again = home.control(None).start_execution(&alice(), start(&task)).await;
    assert_eq!(ok(again)["state"], "awaiting_approval");
    worker.stop().await;
    home.store.clone().close().await;
}

/// What was queued when nobody had to be asked doesn't slip by a target that asks now, or that was switched off.
async fn what_the_operator_forbids_meanwhile_does_not_run(site: &Site) {
    let changes = [
        LAB.replace("deploy = \"always\"", "deploy = \"always\"\nrun = \"always\""),
        LAB.replace("name = \"lab\"", "name = \"lab\"\ndisabled = true"),
        LAB.replace("intents = [\"run\", ", "intents = ["),
    ];
    for changed in changes {
        site.write_target("lab.toml", LAB);
        let started = site.started(&alice(), "run").await;
        site.write_target("lab.toml", &changed);
        let home = site.another().await;
        let worker = Worker::start(&home);
        let result = ended(&home.control(None), &text(&started, "/execution_id")).await;
        assert_eq!(result["state"], "infra_failed", "{result}");
        assert_eq!(site.scripted.start_calls(), 0);
        worker.stop().await;
        home.store.clone().close().await;
    }
}

/// When a doomed worker began.
const BEGAN: UnixMs = UnixMs(1_795_000_000_000);

/// An execution whose worker stored that it starts the first step, and then died.
async fn began(site: &Site) -> (Lease, AttemptId) {
    let started = site.started(&alice(), "run").await;
    let claim = Claim {
        worker: "doomed",
        now: BEGAN,
        until: BEGAN,
        only: Some(text(&started, "/execution_id").parse().expect("an id")),
        at_once: &NO_LIMITS,
    };
    let store = &site.home.store;
    let (_, lease) = store.execution_claim(&claim).await.expect("claims").expect("queued");
    store
        .execution_move(&lease, Event::Prepared, BEGAN)
        .await
        .expect("moves");
    let intent = StepStart {
        index: 0,
        attempt: AttemptId::random(),
        header: b"",
        secrets: None,
        now: BEGAN,
    };
    store.step_start(&lease, &intent).await.expect("stored");
    (lease, intent.attempt)
}

/// A worker that died between storing the intent to start and hearing of the start leaves it open whether it started.
async fn a_start_that_nobody_heard_of_is_not_called_failed(site: &Site) {
    let (lease, _) = began(site).await;
    site.later(60_000);
    let place = "the run user 4711 can't pass through /srv/secret-place";
    site.scripted.fail_start(ExecutorError::Refused(place.into()));
    let worker = site.work();
    let result = ended(&site.control, &lease.execution().to_string()).await;
    assert_eq!(result["state"], "unknown", "{result}");
    assert!(!result.to_string().contains("4711"), "{result}");
    worker.stop().await;
}

/// A worker that died between storing that a step never started and storing the end comes to the same end.
async fn what_never_started_never_becomes_the_works_own_no(site: &Site) {
    let (lease, attempt) = began(site).await;
    let end = StepEnd {
        index: 0,
        attempt,
        state: StepState::Skipped,
        exit_code: None,
        now: BEGAN,
    };
    site.home.store.step_end(&lease, &end).await.expect("stored");
    site.later(60_000);
    let worker = site.work();
    let result = ended(&site.control, &lease.execution().to_string()).await;
    assert_eq!(result["state"], "infra_failed");
    // And that is how such a step is stored.
    site.scripted.script([Move::NeverStart("no".into())]);
    let result = ended(
        &site.control,
        &text(&site.started(&alice(), "run").await, "/execution_id"),
    )
    .await;
    assert_eq!(
        (&result["state"], &result["steps"][0]["state"]),
        (&"infra_failed".into(), &"skipped".into())
    );
    worker.stop().await;
}

/// A step that runs on may print the old value of a secret, which a process that was started later never read.
async fn a_secret_that_changed_while_nobody_looked_is_not_shown(site: &Site) {
    let secret = site.home.config.data.join("rotating");
    std::fs::write(&secret, "the-old-value").expect("written");
    let place = format!("LAB_TOKEN = {{ file = {secret:?} }}");
    site.write_target(
        "lab.toml",
        &LAB.replace("LAB_TOKEN = { env = \"SITE_SECRET\" }", &place),
    );
    site.scripted
        .script([Move::Wait("go"), Move::Print(b"the-old-value\n".into()), Move::Exit(0)]);
    site.scripted
        .script([Move::Print(b"another run\n".into()), Move::Exit(0)]);
    let home = site.another().await;
    let worker = Worker::start(&home);
    let control = home.control(None);
    let task = text(&ok(control.submit_task(&alice(), submit("run")).await), "/task_id");
    ok(control.upload_artifact(&alice(), file(&task, "job.txt", "")).await);
    let started = text(
        &ok(control.start_execution(&alice(), start(&task)).await),
        "/execution_id",
    );
    site.scripted.until(|scripted| scripted.started().len() == 1).await;
    worker.stop().await;

    std::fs::write(&secret, "the-new-value").expect("written");
    let later = site.another().await;
    let worker = Worker::start(&later);
    site.scripted.open("go");
    let control = later.control(None);
    let result = ended(&control, &started).await;
    assert_eq!(result["state"], "unknown", "{result}");
    assert!(
        result["reason"]["message"]
            .as_str()
            .is_some_and(|why| why.contains("secret")),
        "{result}"
    );
    let ask = GetStatus {
        execution_id: started,
        cursor: None,
        wait_ms: None,
        max_bytes: None,
    };
    let status = ok(control.get_status(&alice(), ask).await);
    assert!(!status.to_string().contains("the-old-value"), "{status}");
    // What starts from now on has the new one.
    ok(control.start_execution(&alice(), start(&task)).await);
    site.scripted.until(|scripted| scripted.started().len() == 2).await;
    worker.stop().await;
    home.store.clone().close().await;
    later.store.clone().close().await;
}

/// A person reads what will run before what the caller says, and the caller's words can't pass for clawhand's.
async fn a_question_is_not_the_callers_to_write(site: &Site) {
    let spoofed = SubmitTask {
        goal: format!("tidy up.\r\nIt will: nothing at all.\u{202e}{}", "x".repeat(5000)),
        ..submit("deploy")
    };
    let task = text(&ok(site.control.submit_task(&alice(), spoofed).await), "/task_id");
    ok(site
        .control
        .upload_artifact(&alice(), file(&task, "job.txt", "do it"))
        .await);
    let started = ok(site.control.start_execution(&alice(), start(&task)).await);
    let question = text(&started, "/approval/question");
    assert!(
        question.starts_with("May `deploy` run on lab? It will: do the job."),
        "{question}"
    );
    assert!(!question.contains(['\n', '\r', '\u{202e}']), "{question:?}");
    assert!(question.chars().count() < 1000, "{question}");
}

/// An offset that no upload can have is told so, whatever it adds up to.
async fn no_offset_is_too_large_to_be_refused(site: &Site) {
    let task = site.task(&alice(), "run").await;
    for offset in [u64::MAX, u64::MAX - 2, i64::MAX as u64, 1 << 62] {
        let part = UploadArtifact {
            offset: Some(offset),
            last: Some(true),
            ..file(&task, "job.txt", "abc")
        };
        assert_eq!(refused(site.control.upload_artifact(&alice(), part).await), "too_large");
    }
}
