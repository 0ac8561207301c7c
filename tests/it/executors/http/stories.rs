//! What an operation does, from the request to the result.

use std::time::Duration;

use clawhand::executors::{AttemptState, Executor};
use serde_json::json;

use super::api::{Api, Gate, Reply, fine};
use super::{Rig, block, call, end_of, report};

/// A target that may reach the API of a test without TLS.
pub fn plain(api: &Api, operations: &str) -> clawhand::domain::target::HttpBlock {
    let executor = format!(
        "base_url = \"http://{}/v1\"\nplaintext = true\nallow_private = [\"127.0.0.1\"]\noutage = \"2s\"\nidle_timeout = \"60s\"",
        api.address
    );
    block(&executor, operations)
}

pub const DEPLOY: &str = r#"
[executor.operations.deploy]
intents = ["deploy"]
summary = "deploy a version"
method = "POST"
path = "/apps/{app}/releases"
query = { dry = "{dry}", tag = "{tags}" }
headers = { X-Reason = "asked for {app}" }
body = { version = "{version}", count = "{count}", note = "by {app}", gone = "{absent}" }
result = { id = "/id", missing = "/nowhere" }

[executor.operations.deploy.parameters]
app = { type = "string", required = true, description = "which" }
version = { type = "string", required = true, description = "what" }
count = { type = "integer", default = 2, description = "how many" }
dry = { type = "boolean", description = "only try" }
tags = { type = "list", description = "marks" }
absent = { type = "string", description = "not given" }
"#;

#[tokio::test]
async fn an_operation_is_asked_as_the_target_says() {
    let api = Api::start(None, |_, _| Reply::Json(201, json!({"id": 7, "état": "ok"}))).await;
    let rig = Rig::new();
    let block = plain(&api, DEPLOY);
    let executor = rig.executor(&block);
    let parameters = json!({"app": "a b/c", "version": "1.2\"x", "count": 3, "dry": true, "tags": ["x&y", "z"]});
    let handle = rig.start(&executor, &call("deploy", parameters)).await;
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0));
    let seen = api.seen();
    assert_eq!(
        api.asked(),
        ["POST /v1/apps/a%20b%2Fc/releases?dry=true&tag=x%26y&tag=z"]
    );
    assert_eq!(
        seen[0].json(),
        json!({"version": "1.2\"x", "count": 3, "note": "by a b/c"})
    );
    assert_eq!(seen[0].header("x-reason"), Some("asked for a b/c"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("authorization"), None);
    assert!(
        log.starts_with("POST /apps/a%20b%2Fc/releases?dry=true&tag=x%26y&tag=z\nHTTP 201"),
        "{log}"
    );
    assert!(log.contains("result id: 7\nresult missing: null\n"), "{log}");
    assert!(!log.contains("127.0.0.1"), "{log}");
    let files = rig.files(&executor).await;
    assert_eq!(
        files["response.json"],
        json!({"id": 7, "état": "ok"}).to_string().into_bytes()
    );
    assert_eq!(files["result.json"], br#"{"id":7,"missing":null}"#);
    executor.clean_up(rig.execution).await.expect("cleans up");
    assert!(executor.leftovers().await.expect("lists").is_empty());
}

#[tokio::test]
async fn what_the_api_says_no_to_fails_with_its_status() {
    let api = Api::start(None, |_, count| match count {
        0 => Reply::Json(409, json!({"error": "busy"})),
        1 => Reply::Json(200, json!({"ok": false})),
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[1,".to_vec()),
    })
    .await;
    let rig = Rig::new();
    let operations = r#"
[executor.operations.set]
intents = ["run"]
summary = "set"
method = "POST"
path = "/set"
success = { status = ["200", "203-204"], pointer = "/ok", equals = "true" }
"#;
    let block = plain(&api, operations);
    for said in [
        "the API answered HTTP 409",
        "the API answered, but /ok is false",
        "/ok is not there",
    ] {
        let (log, state) = rig.run(&block, "set", json!({})).await;
        let report = report(&state);
        assert_eq!(report.exit_code, Some(1), "{log}");
        assert!(
            report.exec_error.as_deref().is_some_and(|why| why.contains(said)),
            "{report:?}"
        );
    }
    assert_eq!(api.seen().len(), 3, "a POST is sent once");
}

#[tokio::test]
async fn retries_are_counted_exactly_and_only_where_they_do_no_harm() {
    let api = Api::start(None, |seen, count| match seen.target.as_str() {
        "/v1/never" => Reply::Json(503, json!({})),
        "/v1/cut" => Reply::Bytes(Vec::new()),
        "/v1/third" if count < 2 => Reply::Json(503, json!({})),
        _ => fine(),
    })
    .await;
    let rig = Rig::new();
    let operation = |name: &str, method: &str, more: &str| {
        format!(
            "[executor.operations.{name}]\nintents = [\"run\"]\nsummary = \"s\"\nmethod = \"{method}\"\npath = \"/{name}\"\nretries = 2\n{more}\n"
        )
    };
    // Method, path, more, requests, how it ends.
    let cases = [
        ("PUT", "third", "", 3, "yes"),
        ("GET", "never", "", 3, "no"),
        ("POST", "never", "", 1, "no"),
        ("POST", "never", "idempotent = true", 3, "no"),
        ("PUT", "never", "idempotent = false", 1, "no"),
        ("POST", "never", "idempotency_header = \"Idempotency-Key\"", 3, "no"),
        ("DELETE", "cut", "", 3, "lost"),
        ("POST", "cut", "", 1, "lost"),
    ];
    let mut before = 0;
    for (method, name, more, requests, end) in cases {
        let block = plain(&api, &operation(name, method, more));
        let start = call(name, json!({}));
        let executor = rig.executor(&block);
        let handle = rig.start(&executor, &start).await;
        let (log, state) = end_of(&executor, &handle).await;
        let new = api.seen().split_off(before);
        assert_eq!(new.len(), requests, "{method} {name} {more}: {log}");
        before += requests;
        match end {
            "yes" => assert_eq!(report(&state).exit_code, Some(0), "{log}"),
            "no" => assert_eq!(report(&state).exit_code, Some(1), "{log}"),
            _ => assert!(matches!(state, AttemptState::Lost(_)), "{state:?}"),
        }
        if more.contains("header") {
            let attempt = start.attempt.to_string();
            assert!(new.iter().all(|seen| seen.header("idempotency-key") == Some(&attempt)));
        }
    }
}

const JOBS: &str = r#"
[executor.operations.job]
intents = ["run"]
summary = "begin a job"
method = "POST"
path = "/jobs"
success = { status = ["202"] }
result = { answer = "/answer" }
poll = { path = "/jobs/{response:/id}", interval = "1s", until = { pointer = "/state", in = ["done"] }, failed = { pointer = "/state", equals = "broken" } }
cancel = { method = "DELETE", path = "/jobs/{response:/id}" }
"#;

/// The same with an interval that a file can't have.
pub fn jobs(api: &Api) -> clawhand::domain::target::HttpBlock {
    let mut block = plain(api, JOBS);
    let job = block.operations.get_mut("job").expect("the operation");
    job.poll.as_mut().expect("polls").interval = Duration::from_millis(10);
    block
}

#[tokio::test]
async fn work_that_goes_on_is_waited_for() {
    let api = Api::start(None, |seen, count| match (seen.method.as_str(), count) {
        ("POST", _) => Reply::Json(202, json!({"id": "j/1"})),
        (_, 1..=2) => Reply::Json(200, json!({"state": "running"})),
        (_, 3) => Reply::Json(503, json!({})),
        (_, 4) => Reply::Bytes(Vec::new()),
        _ => Reply::Json(200, json!({"state": "done", "answer": 42})),
    })
    .await;
    let rig = Rig::new();
    let block = jobs(&api);
    let executor = rig.executor(&block);
    let handle = rig.start(&executor, &call("job", json!({}))).await;
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(api.asked()[0], "POST /v1/jobs");
    assert!(
        api.asked()[1..].iter().all(|asked| asked == "GET /v1/jobs/j%2F1"),
        "{:?}",
        api.asked()
    );
    assert_eq!(log.matches("/state is \"running\"").count(), 1, "{log}");
    assert!(log.contains("result answer: 42"), "{log}");
    let files = rig.files(&executor).await;
    assert_eq!(files["submitted.json"], br#"{"id":"j/1"}"#);
    assert_eq!(files["response.json"], br#"{"answer":42,"state":"done"}"#);
}

#[tokio::test]
async fn work_that_fails_later_is_told() {
    let api = Api::start(None, |seen, _| match seen.method.as_str() {
        "POST" => Reply::Json(202, json!({"id": 1})),
        _ => Reply::Json(200, json!({"state": "broken"})),
    })
    .await;
    let rig = Rig::new();
    let (log, state) = rig.run(&jobs(&api), "job", json!({})).await;
    let report = report(&state);
    assert_eq!(report.exit_code, Some(1), "{log}");
    assert_eq!(
        report.exec_error.as_deref(),
        Some("the work failed: /state is \"broken\"")
    );
}

#[tokio::test]
async fn a_cancel_ends_the_wait_and_the_work() {
    let api = Api::start(None, |seen, _| match seen.method.as_str() {
        "POST" => Reply::Json(202, json!({"id": 1})),
        "DELETE" => Reply::Json(204, json!(null)),
        _ => Reply::Json(200, json!({"state": "running"})),
    })
    .await;
    let rig = Rig::new();
    let block = jobs(&api);
    let executor = rig.executor(&block);
    let handle = rig.start(&executor, &call("job", json!({}))).await;
    api.until(3).await;
    executor.cancel(&handle, Duration::from_secs(1)).await.expect("cancels");
    let (log, state) = end_of(&executor, &handle).await;
    let report = report(&state);
    assert!(report.cancelled && !report.timed_out, "{report:?}");
    assert_eq!(
        api.asked().last().map(String::as_str),
        Some("DELETE /v1/jobs/1"),
        "{log}"
    );
}

#[tokio::test]
async fn a_cancel_gives_up_a_request_and_says_what_is_not_known() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |_, _| Reply::After(held.clone(), Box::new(fine()))).await;
    let rig = Rig::new();
    let block = plain(&api, DEPLOY);
    let executor = rig.executor(&block);
    let handle = rig
        .start(&executor, &call("deploy", json!({"app": "a", "version": "1"})))
        .await;
    api.until(1).await;
    executor.cancel(&handle, Duration::from_secs(1)).await.expect("cancels");
    let (log, state) = end_of(&executor, &handle).await;
    assert!(report(&state).cancelled);
    assert!(log.contains("not known"), "{log}");
    gate.open();
}

#[tokio::test]
async fn large_and_binary_answers_are_kept_byte_for_byte() {
    const SIZE: usize = 100 * 1024 * 1024;
    let api = Api::start(None, |seen, _| match seen.target.as_str() {
        "/v1/large" => Reply::Large(SIZE),
        _ => Reply::Full(
            200,
            vec![("content-type", "application/zip".to_owned())],
            (0..=255).collect(),
        ),
    })
    .await;
    let rig = Rig::new();
    let get = |name: &str, max: &str| {
        format!(
            "[executor.operations.{name}]\nintents = [\"run\"]\nsummary = \"s\"\nmethod = \"GET\"\npath = \"/{name}\"\nmax_response = \"{max}\"\n"
        )
    };
    let block = plain(&api, &(get("large", "100 MiB") + &get("small", "1 KiB")));
    let executor = rig.executor(&block);
    let handle = rig.start(&executor, &call("large", json!({}))).await;
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert!(log.contains("[104857600 bytes that are no text]"), "{log}");
    let large = &rig.files(&executor).await["response.bin"];
    assert_eq!(large.len(), SIZE);
    assert!(
        large
            .iter()
            .zip((0..=250).cycle())
            .all(|(byte, wanted)| *byte == wanted)
    );
    let handle = rig.start(&executor, &call("small", json!({}))).await;
    assert_eq!(report(&end_of(&executor, &handle).await.1).exit_code, Some(0));
    assert_eq!(
        rig.files(&executor).await["response.zip"],
        (0..=255).collect::<Vec<u8>>()
    );
    let block = plain(&api, &get("large", "1 MiB"));
    let (_, state) = rig.run(&block, "large", json!({})).await;
    let report = report(&state);
    assert_eq!(report.exit_code, Some(1));
    assert_eq!(
        report.exec_error.as_deref(),
        Some("the API's answer is larger than 1048576 bytes")
    );
}
