//! The main job on an API, through the program itself: an intent becomes a request, a crash changes nothing about how
//! often, and no caller learns where it went.

use serde_json::{Value, json};

use super::caller::{artifact_names, text};
use super::on_both_servers;
use super::place::{Place, SECRET};
use crate::executors::http::api::{Api, Gate, Reply};

on_both_servers!(
    an_intent_becomes_a_request,
    a_killed_server_goes_on_waiting_and_never_asks_twice,
    a_target_is_looked_at,
);

fn target(api: &Api) -> String {
    format!(
        r#"
name = "shop"
description = "the shop's API"
intents = ["check", "deploy", "run"]

[approval]
deploy = "always"

[executor]
kind = "http"
base_url = "http://{}/secret-base"
plaintext = true
allow_private = ["127.0.0.1"]
probe = "health"
auth = {{ kind = "bearer", token = {{ env = "STORY_SECRET" }} }}

[executor.operations.health]
intents = ["check"]
summary = "ask whether it is well"
method = "GET"
path = "/health"
result = {{ state = "/state" }}

[executor.operations.release]
intents = ["deploy", "run"]
summary = "release a version"
method = "POST"
path = "/apps/{{app}}/releases"
body = {{ version = "{{version}}" }}
poll = {{ header = "location", interval = "1s", until = {{ pointer = "/state", equals = "live" }} }}

[executor.operations.release.parameters]
app = {{ type = "string", required = true, description = "which part" }}
version = {{ type = "string", required = true, description = "which version" }}
"#,
        api.address
    )
}

fn task(intent: &str, inputs: &Value) -> Value {
    json!({"project_name": "shop", "goal": "do it", "target_ref": "the shop", "execution_intent": intent, "inputs": inputs})
}

/// Answers and repeats all that it was sent, in every form that it knows.
fn gossip(head: &str) -> Value {
    json!({"state": "live", "head": head, "host": format!("seen at {head}")})
}

async fn an_intent_becomes_a_request(place: &mut Place) {
    let api = Api::start(None, |seen, _| match seen.method.as_str() {
        "POST" => {
            let headers = vec![
                ("location", "/secret-base/releases/7".to_owned()),
                ("content-type", "application/json".to_owned()),
            ];
            Reply::Full(202, headers, gossip(&seen.head).to_string().into_bytes())
        }
        _ => Reply::Json(200, gossip(&seen.head)),
    })
    .await;
    place.write_target("shop.toml", &target(&api));
    let server = place.serve().await;
    let caller = server.caller();
    let refused = caller
        .refused("submit_task", task("deploy", &json!({"path": "/x"})))
        .await;
    assert_eq!(refused["code"], "invalid_argument", "{refused}");
    let planned = caller.ok("submit_task", task("deploy", &json!({"app": "web"}))).await;
    assert_eq!(planned["needs"][0]["code"], "parameter", "{planned}");
    let planned = caller
        .ok("submit_task", task("deploy", &json!({"app": "web", "version": "v1"})))
        .await;
    assert_eq!(planned["plan"]["risk"], "high", "{planned}");
    let question = caller
        .ok("start_execution", json!({"task_id": planned["task_id"]}))
        .await;
    assert!(
        text(&question, "/approval/question").contains("release a version"),
        "{question}"
    );
    let asked_before = api.seen().len();
    place
        .ok(&["approvals", "allow", &text(&question, "/approval/id")])
        .await;
    let (log, result) = caller.followed(&text(&question, "/execution_id")).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert!(log.contains("POST /apps/web/releases\nHTTP 202"), "{log}");
    assert_eq!(
        api.asked()[asked_before..],
        ["POST /secret-base/apps/web/releases", "GET /secret-base/releases/7"]
    );
    let names = artifact_names(&result);
    assert_eq!(names, ["response.json", "submitted.json"], "{result}");
    let answer = text(&result, "/artifacts/0/text");
    assert!(answer.contains("[secret]") && answer.contains("[private]"), "{answer}");
    let checked = caller.ok("submit_task", task("check", &json!({}))).await;
    assert_eq!(checked["plan"]["risk"], "low", "{checked}");
    let (_, result) = caller.followed(&caller.start(&text(&checked, "/task_id")).await).await;
    assert_eq!(
        (&result["state"], &result["exit_code"]),
        (&json!("succeeded"), &json!(0)),
        "{result}"
    );
    for seen in place.seen.all() {
        for private in [api.address.to_string(), "secret-base".to_owned(), SECRET.to_owned()] {
            assert!(!seen.contains(&private), "{private} in {seen}");
        }
    }
    server.stop().await;
}

async fn a_killed_server_goes_on_waiting_and_never_asks_twice(place: &mut Place) {
    let gate = Gate::new();
    let held = gate.clone();
    let api = Api::start(None, move |seen, _| {
        match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", path) if path.contains("/slow/") => {
                Reply::After(held.clone(), Box::new(Reply::Json(200, json!({}))))
            }
            ("POST", _) => Reply::Full(
                202,
                vec![("location", "/secret-base/releases/7".to_owned())],
                b"{}".to_vec(),
            ),
            (_, "/secret-base/health") => Reply::Json(200, json!({})),
            _ => Reply::After(held.clone(), Box::new(Reply::Json(200, json!({"state": "live"})))),
        }
    })
    .await;
    place.write_target("shop.toml", &target(&api));
    let server = place.serve().await;
    let caller = server.caller();
    let mut executions = Vec::new();
    for app in ["web", "slow"] {
        let planned = caller
            .ok("submit_task", task("run", &json!({"app": app, "version": "v1"})))
            .await;
        executions.push(caller.start(&text(&planned, "/task_id")).await);
    }
    let posts = |api: &Api| api.seen().iter().filter(|seen| seen.method == "POST").count();
    let polls = |api: &Api| {
        api.asked()
            .iter()
            .filter(|asked| asked.ends_with("/releases/7"))
            .count()
    };
    while posts(&api) < 2 || polls(&api) < 1 {
        api.until(api.seen().len() + 1).await;
    }
    server.kill().await;
    gate.open();
    let server = place.serve().await;
    let caller = server.caller();
    let (log, result) = caller.followed(&executions[0]).await;
    assert_eq!(result["state"], "succeeded", "{result}: {log}");
    let (log, result) = caller.followed(&executions[1]).await;
    assert_eq!(result["state"], "unknown", "{result}: {log}");
    assert_eq!(posts(&api), 2, "each was asked for once: {:?}", api.asked());
    server.stop().await;
}

async fn a_target_is_looked_at(place: &mut Place) {
    let api = Api::start(None, |_, _| Reply::Json(403, json!({}))).await;
    place.write_target("shop.toml", &target(&api));
    let probed = place.command_unseen(&["targets", "probe", "shop"]).await;
    let told = String::from_utf8_lossy(&probed.stderr).into_owned();
    assert!(told.contains("403") && told.contains("may not do this"), "{told}");
    let explained = place.ok(&["targets", "explain", "the shop"]).await;
    assert!(explained.contains("this one shop"), "{explained}");
    let listed = place.ok(&["targets", "list"]).await;
    assert!(listed.contains("check,deploy,run"), "{listed}");
    assert!(place.ok(&["targets", "check"]).await.contains("no mistakes"));
}
