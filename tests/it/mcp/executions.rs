//! An execution as a client of MCP sees it: as a task, with its approval, its progress, its artifacts.

use clawhand::control::contract::{DecisionArg, RespondToApproval};
use clawhand::executors::ExitReport;
use clawhand::executors::scripted::Move;

use super::*;
use crate::site::{alice, caller, ok, on_both_sites, text};

on_both_sites!(
    a_start_is_answered_as_the_client_knows_it,
    every_state_has_its_word_as_a_task,
    what_runs_is_working,
    a_person_decides_and_the_task_goes_on,
    progress_is_told_while_waiting,
    artifacts_are_resources,
);

const OLD: &str = "2025-11-25";

async fn task(door: &Door, id: &str) -> Value {
    let got = door.answer(MODERN, "tasks/get", json!({"taskId": id})).await;
    assert_eq!(got["result"]["resultType"], "complete", "{got}");
    assert_eq!(got["result"]["taskId"], id);
    got["result"].clone()
}

/// The id of an execution of alice's that has ended.
async fn ended(site: &Site, moves: impl IntoIterator<Item = Move>) -> String {
    site.scripted.script(moves);
    let id = text(&site.started(&alice(), "run").await, "/execution_id");
    site.followed(&alice(), &id).await;
    id
}

async fn a_start_is_answered_as_the_client_knows_it(site: &Site) {
    let door = Door::to(site, alice()).await;
    let task_id = site.task(&alice(), "run").await;
    let arguments = json!({"task_id": task_id, "idempotency_key": "one"});
    let started = door.call(MODERN, "start_execution", arguments.clone()).await;
    assert_eq!(started["result"]["resultType"], "task", "{started}");
    assert_eq!(started["result"]["status"], "working");
    let plain = door.call(OLD, "start_execution", arguments).await;
    let plain = &plain["result"]["structuredContent"];
    assert_eq!(plain["execution_id"], started["result"]["taskId"], "one and the same");
    assert_eq!(plain["state"], "queued");
    let unknown = door.call(MODERN, "start_execution", json!({"task_id": "x"})).await;
    assert_eq!(unknown["result"]["isError"], true, "{unknown}");
}

async fn every_state_has_its_word_as_a_task(site: &Site) {
    let door = Door::to(site, alice()).await;
    let started = |intent| async move { text(&site.started(&alice(), intent).await, "/execution_id") };
    let cancelled = started("run").await;
    assert_eq!(task(&door, &cancelled).await["status"], "working", "queued");
    for _ in 0..2 {
        // The second wish changes nothing and is no error.
        let done = door.answer(MODERN, "tasks/cancel", json!({"taskId": cancelled})).await;
        assert_eq!(done["result"]["resultType"], "complete", "{done}");
    }
    let denied = site.started(&alice(), "deploy").await;
    let no = RespondToApproval {
        approval_id: text(&denied, "/approval/id"),
        decision: DecisionArg::Deny,
        reason: None,
    };
    ok(site.control.respond_to_approval(&Actor::operator(), no).await);
    let expired = started("deploy").await;
    assert_eq!(task(&door, &expired).await["status"], "input_required");
    site.later(11 * 60_000);

    let worker = site.work();
    site.followed(&alice(), &expired).await;
    let timed_out = Move::End(ExitReport {
        timed_out: true,
        ..ExitReport::default()
    });
    let table = [
        (
            ended(site, [Move::Exit(0)]).await,
            "succeeded",
            "completed",
            Some(false),
        ),
        (ended(site, [Move::Exit(3)]).await, "failed", "completed", Some(true)),
        (ended(site, [timed_out]).await, "timed_out", "completed", Some(true)),
        (text(&denied, "/execution_id"), "denied", "completed", Some(true)),
        (expired, "expired", "completed", Some(true)),
        (cancelled, "cancelled", "cancelled", None),
        (
            ended(site, [Move::Lose("gone".into())]).await,
            "unknown",
            "failed",
            None,
        ),
        (
            ended(site, [Move::NeverStart("no".into())]).await,
            "infra_failed",
            "failed",
            None,
        ),
    ];
    for (id, state, status, error) in table {
        let got = task(&door, &id).await;
        assert_eq!(got["status"], status, "{state}: {got}");
        assert_eq!(got["result"]["isError"].as_bool(), error, "{state}: {got}");
        if error.is_some() {
            assert_eq!(got["result"]["structuredContent"]["state"], state);
            assert_eq!(got["result"]["structuredContent"]["execution_id"], id);
        }
        if status == "failed" {
            assert_eq!(got["error"]["data"]["state"], state, "{got}");
            assert!(!got["error"]["message"].as_str().expect("words").is_empty());
        }
    }
    worker.stop().await;
}

async fn what_runs_is_working(site: &Site) {
    let door = Door::to(site, alice()).await;
    let worker = site.work();
    site.scripted
        .script([Move::Print(b"begun\n".to_vec()), Move::Wait("end")]);
    let running = text(&site.started(&alice(), "run").await, "/execution_id");
    site.scripted.until(|scripted| scripted.start_calls() == 1).await;
    assert_eq!(task(&door, &running).await["status"], "working", "running");
    site.scripted.open("end");
    site.followed(&alice(), &running).await;
    worker.stop().await;
}

async fn a_person_decides_and_the_task_goes_on(site: &Site) {
    let asker = Door::to(site, alice()).await;
    let person = Door::to(site, caller("carol", &[Scope::Approve])).await;
    let started = site.started(&alice(), "deploy").await;
    let (id, approval) = (text(&started, "/execution_id"), text(&started, "/approval/id"));
    let key = format!("approval-{approval}");
    let waiting = task(&asker, &id).await;
    let asked = &waiting["inputRequests"][&key];
    assert_eq!(asked["method"], "elicitation/create", "{waiting}");
    assert!(!asked["params"]["message"].as_str().expect("a question").is_empty());
    // Not by who asked, nor by a key that nobody asked about.
    let form = json!({"action": "accept", "content": {"decision": "allow_once"}});
    let answer = |key: &str| json!({"taskId": id, "inputResponses": {key: form}});
    let refused = asker.answer(MODERN, "tasks/update", answer(&key)).await;
    assert_eq!(refused["error"]["data"]["code"], "not_allowed", "{refused}");
    let unasked = asker.answer(MODERN, "tasks/update", answer("approval-x")).await;
    assert_eq!(unasked["error"]["code"], -32602, "{unasked}");
    let arguments = json!({"approval_id": approval, "decision": "allow_once"});
    for revision in [OLD, MODERN] {
        let refused = asker.call(revision, "respond_to_approval", arguments.clone()).await;
        assert_eq!(
            refused["result"]["structuredContent"]["code"], "not_allowed",
            "{refused}"
        );
    }
    let answered = person.call(OLD, "respond_to_approval", arguments).await;
    assert_eq!(
        answered["result"]["structuredContent"],
        json!({"approval": {"state": "allowed"}, "execution": {"state": "queued"}})
    );
    assert_eq!(task(&asker, &id).await["status"], "working");
}

async fn progress_is_told_while_waiting(site: &Site) {
    for (revision, gate) in [(OLD, "old"), (MODERN, "modern")] {
        let door = Door::to(site, alice()).await;
        site.scripted.script([Move::Wait(gate), Move::Exit(0)]);
        let id = text(&site.started(&alice(), "run").await, "/execution_id");
        let arguments = json!({"execution_id": id, "wait_ms": 20_000});
        let params = json!({"name": "get_status", "arguments": arguments, "_meta": {"progressToken": "tok"}});
        let mut response = door
            .request(revision, "tools/call", params)
            .send()
            .await
            .expect("an answer");
        let (mut said, mut worker) = (String::new(), None);
        while let Some(chunk) = response.chunk().await.expect("a chunk") {
            said += std::str::from_utf8(&chunk).expect("text");
            if worker.is_none() && said.contains("\"queued\"") {
                worker = Some(site.work());
            }
            if said.contains("running: work") {
                site.scripted.open(gate);
            }
        }
        let events: Vec<Value> = said
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect();
        let (answer, told) = events.split_last().expect("events");
        let told: Vec<&Value> = told.iter().map(|event| &event["params"]).collect();
        assert_eq!(told[0]["message"], "queued", "{said}");
        assert_eq!(told[0]["progressToken"], "tok");
        let numbers: Vec<f64> = told.iter().filter_map(|params| params["progress"].as_f64()).collect();
        assert!(
            numbers.len() == told.len() && numbers.is_sorted_by(|a, b| a < b),
            "{said}"
        );
        assert_eq!(answer["result"]["structuredContent"]["state"], "succeeded", "{said}");
        worker.expect("it was told that it is queued").stop().await;
    }
}

async fn artifacts_are_resources(site: &Site) {
    let door = Door::to(site, alice()).await;
    let worker = site.work();
    let large = vec![b'x'; 11 << 20];
    let leave = |name: &str, content: &[u8]| Move::Leave(name.into(), content.to_vec());
    let moves = [
        leave("out/binary", &[0xff, 0xfe]),
        leave("out/large.txt", &large),
        leave("out/text.txt", b"hello"),
        Move::Exit(0),
    ];
    let id = ended(site, moves).await;
    let got = door.call(MODERN, "get_result", json!({"execution_id": id})).await;
    let result = &got["result"];
    let artifacts = result["structuredContent"]["artifacts"].as_array().expect("artifacts");
    assert_eq!(artifacts.len(), 3, "{result}");
    for (index, artifact) in artifacts.iter().enumerate() {
        let link = &result["content"][index + 1];
        assert_eq!(link["type"], "resource_link");
        assert_eq!((&link["uri"], &link["name"]), (&artifact["uri"], &artifact["name"]));
        let read = door
            .answer(MODERN, "resources/read", json!({"uri": artifact["uri"]}))
            .await;
        let content = &read["result"]["contents"][0];
        match artifact["name"].as_str() {
            Some("out/binary") => assert_eq!(content["blob"], "//4=", "{read}"),
            Some("out/text.txt") => assert_eq!(content["text"], "hello", "{read}"),
            _ => assert_eq!(read["error"]["data"]["code"], "too_large"),
        }
        let bob = Door::to(site, caller("bob", &[Scope::Tasks])).await;
        let foreign = bob.answer(OLD, "resources/read", json!({"uri": artifact["uri"]})).await;
        assert_eq!(foreign["error"]["code"], -32002, "{foreign}");
    }
    worker.stop().await;
}
