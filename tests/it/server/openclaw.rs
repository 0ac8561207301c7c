//! Chats in the background and tasks for agents, at real gateways: what becomes of them when a gateway dies in the middle.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::caller::{Caller, artifact_names, text};
use super::chats::{ended, execution, queued, status};
use super::keys::key;
use super::place::{Place, Server};
use crate::gateway::openclaw::real::{Real, one, two};

/// The gateway's own words to an agent whose turn its restart broke off; it says them by itself.
const RECOVERY: &str = "[System] Your previous turn was interrupted by a gateway restart";

async fn serve(place: &Place, gateways: &[&Real], limit: u32) -> Server {
    let tables = gateways.iter().map(|real| {
        let token = place.folder().join(real.text("name"));
        std::fs::write(&token, real.text("token")).expect("written");
        format!(
            "[[gateway]]\nname = \"{}\"\nurl = \"{}\"\ntoken = {{ file = \"{}\" }}\nadmin = true\nmax_concurrent = {limit}\n",
            real.text("name"),
            real.text("url"),
            token.display()
        )
    });
    place.configure(&tables.collect::<String>());
    place.write_target(
        "helper.toml",
        "name = \"helper\"\ndescription = \"an agent\"\nintents = [\"delegate\"]\n[executor]\nkind = \"openclaw\"\ninstance = \"one\"\n",
    );
    place.serve().await
}

fn script(script: &Value) -> String {
    format!("script:{script}")
}

/// The model's own record of what it was asked.
async fn runs(real: &Real) -> Vec<String> {
    let runs = reqwest::get(format!("{}/_runs", real.text("model")))
        .await
        .expect("the model answers");
    let runs: Value = runs.json().await.expect("JSON");
    runs.as_array()
        .expect("a list")
        .iter()
        .map(|run| text(run, "/text"))
        .collect()
}

async fn end(place: Place, server: Server) {
    server.stop().await;
    place.end().await;
}

/// A name that no other test, and no earlier run of this one, has given.
fn fresh(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_gateway_is_well_in_both_ways_and_says_its_version() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 1).await;
    let health = server.caller().ok("openclaw_status", json!({})).await;
    assert_eq!(health["state"], "ready", "{health}");
    assert!(text(&health, "/version").starts_with("20"), "{health}");
    server.stop().await;
    let told = place.command_unseen(&["doctor"]).await;
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    for part in [
        "ok   gateway one: ",
        "ok   gateway one, WebSocket: conversations and approvals",
    ] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_in_the_background_goes_on_with_the_conversation() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 3).await;
    let caller = server.caller();
    for session in ["plain", "Gespräch", "東京"].map(fresh) {
        let [first, second] = ["first", "second"].map(fresh);
        let ask = |said: &str| json!({ "message": script(&json!({ "say": said })), "session_id": session });
        caller.ok("openclaw_chat", ask(&first)).await;
        let task = queued(&caller, ask(&second)).await;
        assert_eq!(text(&ended(&caller, &task).await, "/result"), second);
        let known = async |said: &str| one.run(said, "answered").await["messages"].as_u64().expect("a count");
        let (before, after) = (known(&first).await, known(&second).await);
        assert!(
            after > before,
            "{session}: the model was told {before} messages, then {after}"
        );
    }
    end(place, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_dies_among_fifty_chats_costs_no_truth_and_asks_nothing_twice() {
    const CHATS: usize = 50;
    let (Some(one), Some(two)) = (one(), two().await) else {
        return;
    };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one, &two], 5).await;
    let caller = server.caller();
    let gate = fresh("fifty");
    let mut tasks = Vec::new();
    for number in 0..CHATS {
        let mark = format!("{gate}-chat{number:02}");
        // Every second one is at the gateway that dies, where none is answered before that.
        let (instance, said) = match number % 2 {
            0 => ("one", json!({ "say": format!("reply to {mark}") })),
            _ => ("two", json!({ "say": format!("reply to {mark}"), "gate": gate })),
        };
        let task = queued(&caller, json!({ "message": script(&said), "instance": instance })).await;
        tasks.push((task, mark, instance));
    }
    two.run(&gate, "running").await;
    two.kill().await;
    two.start(json!({})).await;
    // For each of them, and for what the gateway goes on with by itself.
    for _ in 0..2 * CHATS {
        two.open(&gate).await;
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (task, mark, instance) in &tasks {
        let end = ended(&caller, task).await;
        let state = text(&end, "/state");
        match state.as_str() {
            // What the gateway went on with may have other words; they are of this chat's session alone.
            "succeeded" => {
                let result = text(&end, "/result");
                assert!(*instance == "two" || result == format!("reply to {mark}"), "{end}");
                assert!(
                    !result.contains("chat") || result.contains(mark.as_str()),
                    "another's reply: {end}"
                );
            }
            "unknown" => assert!(
                *instance == "two" && text(&end, "/error").contains("restarted"),
                "{end}"
            ),
            other => panic!("{mark} ended as {other}: {end}"),
        }
        *ends.entry(format!("{instance} {state}")).or_default() += 1;
    }
    assert_eq!(ends.get("one succeeded"), Some(&25), "{ends:?}");
    assert!(ends.get("two succeeded") >= Some(&20), "{ends:?}");
    let (of_one, of_two) = (runs(&one).await, runs(&two).await);
    for (_, mark, instance) in &tasks {
        let asked = match *instance {
            "one" => &of_one,
            _ => &of_two,
        };
        let by_us = asked
            .iter()
            .filter(|text| text.contains(mark) && !text.contains(RECOVERY))
            .count();
        assert!(by_us <= 1, "{mark} was asked {by_us} times");
    }
    eprintln!("fifty chats ended as {ends:?}");
    end(place, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_takes_files_to_a_real_agent_and_brings_files_back() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 3).await;
    let caller = server.caller();
    let name = fresh("table");
    let folder = crate::executors::variable("CLAWHAND_TEST_OPENCLAW").expect("it is there");
    std::fs::write(format!("{folder}/one/workspace/{name}.csv"), "a,b\n1,2\n").expect("written");
    let goal = script(&json!({ "say": format!("see the table\nMEDIA:./{name}.csv") }));
    let submitted = caller
        .ok(
            "submit_task",
            json!({ "project_name": "tables", "goal": goal, "target_ref": "helper", "execution_intent": "delegate" }),
        )
        .await;
    let task = text(&submitted, "/task_id");
    caller.upload(&task, "notes.txt", "some notes of the test").await;
    let execution = caller.start(&task).await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{log}");
    assert!(
        log.contains("see the table") && log.contains(&format!("[file: {name}.csv, 8 bytes]")),
        "{log}"
    );
    let names = artifact_names(&result);
    assert_eq!(names, [&format!("files/{name}.csv"), "reply.md"]);
    let asked = runs(&one).await;
    let asked: Vec<_> = asked.iter().filter(|text| text.contains(&name)).collect();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("some notes of the test"), "{}", asked[0]);
    end(place, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_chat_ends_at_the_model() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 3).await;
    let caller = server.caller();
    let mark = fresh("cancel-me");
    // What could be the beginning of a secret is held back until its line is whole.
    let said = json!({ "say": ["first line\nand ", "second"], "gate": mark });
    let task = queued(&caller, json!({ "message": script(&said) })).await;
    one.run(&mark, "running").await;
    one.open(&mark).await;
    caller.until_logged(&execution(&task), "first line\n").await;
    let cancelled = caller.ok("openclaw_task_cancel", json!({ "task_id": task })).await;
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    one.run(&mark, "left").await;
    end(place, server).await;
}

/// What clawhand shows of a run that it found again after its own death.
async fn found_again(caller: &Caller, task: &str, mark: &str) {
    let done = ended(caller, task).await;
    assert_eq!(done["result"], format!("first {mark}"), "{done}");
    assert_eq!(status(caller, task).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_finds_its_runs_at_a_real_gateway() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 3).await;
    let mark = fresh("found-again");
    let said = json!({ "say": ["first ", mark], "gate": mark });
    let tasks = [
        queued(&server.caller(), json!({ "message": script(&said) })).await,
        queued(
            &server.caller(),
            json!({ "message": script(&json!({ "say": format!("first {mark}") })) }),
        )
        .await,
    ];
    one.run(&mark, "running").await;
    server.signal(Signal::SIGKILL);
    server.kill().await;
    let server = place.serve().await;
    let caller = server.caller();
    for _ in 0..2 {
        one.open(&mark).await;
    }
    for task in &tasks {
        found_again(&caller, task, &mark).await;
    }
    let asked = runs(&one).await;
    assert_eq!(
        asked.iter().filter(|text| text.contains(&mark)).count(),
        2,
        "each was asked once"
    );
    end(place, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_real_agent_asks_is_answered_as_an_approval_and_done() {
    let Some(one) = one() else { return };
    let place = Place::on_sqlite();
    let server = serve(&place, &[&one], 3).await;
    let (_, model) = key(&place, &["--scope", "tasks"]).await;
    let (_, person) = key(&place, &["--scope", "approve"]).await;
    let caller = server.caller().with_key(&model);
    for (decision, is_done) in [("allow_once", true), ("deny", false)] {
        let word = fresh("approve");
        let tool = json!({ "name": "exec", "arguments": { "command": format!("echo {word}") } });
        let submitted = caller
            .ok(
                "submit_task",
                json!({ "project_name": "p", "goal": script(&json!({ "tool": tool })), "target_ref": "helper",
                    "execution_intent": "delegate" }),
            )
            .await;
        let execution = caller.start(&text(&submitted, "/task_id")).await;
        caller.until_logged(&execution, "[the agent asks: ").await;
        let approval = caller.status(&execution).await["approval"].clone();
        let question = text(&approval, "/question");
        assert!(question.contains(&format!("\"echo {word}\"")), "{question}");
        let answer = json!({ "approval_id": text(&approval, "/id"), "decision": decision });
        let refused = caller.refused("respond_to_approval", answer.clone()).await;
        assert_eq!(refused["code"], "not_allowed", "{refused}");
        server
            .caller()
            .with_key(&person)
            .ok("respond_to_approval", answer)
            .await;
        let (log, result) = caller.followed(&execution).await;
        assert_eq!(result["state"], "succeeded", "{log}");
        let after = log.split("[a person answered: ").nth(1).expect("was answered");
        assert!(after.contains("the tool said"), "{log}");
        assert_eq!(after.contains(&format!("the tool said: {word}")), is_done, "{log}");
    }
    end(place, server).await;
}
