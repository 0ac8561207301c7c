//! clawhand ends at each stage of an attempt, and another process finds what it left. The end of an executor and of all
//! that it drives is the end of a process as far as the API and the folder can tell: its connections break and its locks
//! go.

use std::path::PathBuf;

use clawhand::executors::{AttemptState, Executor, Handle};
use serde_json::json;

use super::api::{Api, Gate, Reply, Seen, fine};
use super::stories::{jobs, plain};
use super::{LONG, Rig, call, end_of, report};

const OPERATIONS: &str = r#"
[executor.operations.put]
intents = ["run"]
summary = "s"
method = "PUT"
path = "/put"
[executor.operations.post]
intents = ["run"]
summary = "s"
method = "POST"
path = "/post"
[executor.operations.keyed]
intents = ["run"]
summary = "s"
method = "POST"
path = "/keyed"
idempotency_header = "Idempotency-Key"
"#;

/// An API that answers nothing before the gate opens.
async fn held() -> (Api, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |_, count| match count {
        0 => Reply::After(held.clone(), Box::new(fine())),
        _ => fine(),
    })
    .await;
    (api, gate)
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_where_that_does_no_harm() {
    for (operation, requests) in [("put", 2), ("keyed", 2), ("post", 1)] {
        let (api, _gate) = held().await;
        let rig = Rig::new();
        let block = plain(&api, OPERATIONS);
        let start = call(operation, json!({}));
        let first = rig.executor(&block);
        let handle = rig.start(&first, &start).await;
        api.until(1).await;
        drop(first);
        let second = rig.executor(&block);
        let (log, state) = end_of(&second, &handle).await;
        assert_eq!(api.seen().len(), requests, "{operation}: {log}");
        match operation {
            "post" => assert!(
                matches!(&state, AttemptState::Lost(why) if why.contains("interrupted")),
                "{state:?}"
            ),
            _ => {
                assert_eq!(report(&state).exit_code, Some(0), "{operation}: {log}");
                assert!(log.contains("sent again"), "{log}");
            }
        }
        if operation == "keyed" {
            let attempt = start.attempt.to_string();
            assert!(
                api.seen()
                    .iter()
                    .all(|seen| seen.header("idempotency-key") == Some(&attempt))
            );
        }
        // How it ended is told again, by whoever is asked.
        let third = rig.executor(&block);
        assert_eq!(end_of(&third, &handle).await, (log, state));
        rig.start(&third, &start).await;
        assert_eq!(api.seen().len(), requests, "{operation}");
    }
}

#[tokio::test]
async fn work_that_goes_on_is_found_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |seen, count| match (seen.method.as_str(), count) {
        ("POST", _) => Reply::Json(202, json!({"id": 9})),
        (_, 1) => Reply::After(held.clone(), Box::new(fine())),
        _ => Reply::Json(200, json!({"state": "done", "answer": 1})),
    })
    .await;
    let rig = Rig::new();
    let block = jobs(&api);
    let first = rig.executor(&block);
    let handle = rig.start(&first, &call("job", json!({}))).await;
    api.until(2).await;
    drop(first);
    // Long after its time, too: it may have ended while nobody asked.
    let second = rig.executor_at(&block, 10 * 24 * 3600 * 1000);
    let (log, state) = end_of(&second, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(api.asked(), ["POST /v1/jobs", "GET /v1/jobs/9", "GET /v1/jobs/9"]);
    assert_eq!(rig.files(&second).await["result.json"], br#"{"answer":1}"#);
}

#[tokio::test]
async fn a_cancel_that_nobody_heard_is_heard_later() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |seen, count| match (seen.method.as_str(), count) {
        ("POST", _) => Reply::Json(202, json!({"id": 9})),
        ("GET", 1) => Reply::After(held.clone(), Box::new(fine())),
        _ => fine(),
    })
    .await;
    let rig = Rig::new();
    let block = jobs(&api);
    let first = rig.executor(&block);
    let handle = rig.start(&first, &call("job", json!({}))).await;
    api.until(2).await;
    drop(first);
    let second = rig.executor(&block);
    second.cancel(&handle, LONG).await.expect("cancels");
    let (log, state) = end_of(&second, &handle).await;
    assert!(report(&state).cancelled, "{log}");
    assert_eq!(api.asked().last().map(String::as_str), Some("DELETE /v1/jobs/9"));
}

/// Where the notes of an attempt are.
fn notes(handle: &Handle) -> PathBuf {
    PathBuf::from(&handle.place)
}

#[tokio::test]
async fn before_anything_was_sent_it_is_simply_asked() {
    let (api, gate) = held().await;
    gate.open();
    let rig = Rig::new();
    let block = plain(&api, OPERATIONS);
    let start = call("post", json!({}));
    let first = rig.executor(&block);
    let handle = rig.start(&first, &start).await;
    end_of(&first, &handle).await;
    drop(first);
    // As a process leaves it that ended between the note of the call and that of the request.
    for note in ["progress.json", "exit.json", "out"] {
        std::fs::remove_file(notes(&handle).join(note)).expect("removes");
    }
    let second = rig.executor(&block);
    let (log, state) = end_of(&second, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(api.seen().len(), 2);
    // Nor was there a call: it is known that nothing happened.
    for note in ["progress.json", "exit.json", "call.json"] {
        std::fs::remove_file(notes(&handle).join(note)).expect("removes");
    }
    let (_, state) = end_of(&second, &handle).await;
    assert!(matches!(state, AttemptState::NeverStarted(_)), "{state:?}");
    assert_eq!(api.seen().len(), 2);
}

#[tokio::test]
async fn damaged_and_missing_notes_are_no_reason_to_ask_again() {
    let (api, gate) = held().await;
    gate.open();
    let rig = Rig::new();
    let block = plain(&api, OPERATIONS);
    let first = rig.executor(&block);
    let handle = rig.start(&first, &call("post", json!({}))).await;
    end_of(&first, &handle).await;
    std::fs::remove_file(notes(&handle).join("exit.json")).expect("removes");
    std::fs::write(notes(&handle).join("progress.json"), "{").expect("writes");
    let (_, state) = end_of(&first, &handle).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    first.clean_up(rig.execution).await.expect("cleans up");
    first.clean_up(rig.execution).await.expect("cleans up again");
    let (_, state) = end_of(&first, &handle).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn an_operation_that_is_gone_is_not_guessed() {
    let (api, _gate) = held().await;
    let rig = Rig::new();
    let first = rig.executor(&plain(&api, OPERATIONS));
    let handle = rig.start(&first, &call("put", json!({}))).await;
    api.until(1).await;
    drop(first);
    let changed = rig.executor(&plain(&api, ""));
    let (_, state) = end_of(&changed, &handle).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    let workspace = changed.workspace(rig.execution);
    let refused = changed.start(&workspace, &call("put", json!({}))).await;
    assert!(refused.is_err(), "{refused:?}");
    let mut program = call("fill", json!({}));
    program.call = None;
    assert!(changed.start(&workspace, &program).await.is_err());
}

#[tokio::test]
async fn a_target_ends_nothing_at_an_api_that_is_not_its_own() {
    let working = |seen: &Seen, _: usize| match seen.method.as_str() {
        "POST" => Reply::Json(202, json!({"id": 9})),
        _ => Reply::Json(200, json!({"state": "running"})),
    };
    let api = Api::start(None, working).await;
    let other = Api::start(None, working).await;
    let rig = Rig::new();
    let first = rig.executor(&jobs(&api));
    rig.start(&first, &call("job", json!({}))).await;
    api.until(2).await;
    drop(first);
    let second = rig.executor(&jobs(&other));
    second.clean_up(rig.execution).await.expect("cleans up");
    assert_eq!(other.asked(), Vec::<String>::new());
    assert!(
        !api.asked().iter().any(|asked| asked.starts_with("DELETE")),
        "{:?}",
        api.asked()
    );
    assert_eq!(second.leftovers().await.expect("lists"), []);
}
