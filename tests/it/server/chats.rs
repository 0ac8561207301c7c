//! Chats in the background and tasks for agents, through the program itself: what callers of `openclaw_chat_async` see, who
//! comes first, what a cancel does, and that no death of the server costs a reply or asks twice.

use std::time::Duration;

use serde_json::{Value, json};

use super::caller::{Caller, artifact_names, text};
use super::on_both_servers;
use super::place::{Place, Server};
use crate::gateway::scripted::TOKEN;
use crate::gateway::scripted::agents::{Act, Agents};

on_both_servers!(
    a_chat_is_answered_in_the_background,
    tasks_are_found_by_what_they_are_and_page_by_page,
    higher_priorities_come_first_and_an_instance_has_its_limit,
    what_waits_and_what_runs_can_be_cancelled,
    tasks_are_of_their_owner_not_of_a_connection,
    what_is_no_chat_is_refused,
    a_chat_that_fails_says_why,
    a_reply_that_is_too_long_is_none,
    a_chat_that_takes_too_long_is_ended,
    killed_servers_ask_nothing_twice_and_lose_no_reply,
    a_task_goes_to_an_agent,
    an_agent_that_was_asked_first_waits_for_a_person,
    the_doctor_looks_at_both_ways_to_a_gateway,
);

const TARGET: &str = r#"
name = "helper"
description = "an agent that does any work"
intents = ["delegate", "build"]
[approval]
build = "always"
[executor]
kind = "openclaw"
instance = "lab"
"#;

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

/// Agents that do what the message says.
pub(super) async fn agents() -> Agents {
    Agents::start(|_, message| {
        if message.contains("wait") {
            return vec![say("begun\n"), Act::Gate, say("over")];
        }
        if message.contains("fail") {
            return vec![Act::Fail("the model does not answer")];
        }
        if message.contains("ask me for mail") {
            return vec![say("begun\n"), Act::AskOfPlugin("Send mail")];
        }
        if message.contains("ask me") {
            return vec![say("begun\n"), Act::Ask("rm -rf build")];
        }
        if message.contains("too much") {
            return vec![
                say(&"x".repeat(2000)),
                Act::File("table.csv", b"a,b\n1,2 and more\n".to_vec()),
            ];
        }
        if message.contains("give") {
            return vec![
                say("see the file"),
                Act::File("table.csv", b"a,b\n1,2 and more\n".to_vec()),
            ];
        }
        vec![say(&format!("heard: {message}"))]
    })
    .await
}

/// Two instances at one gateway.
pub(super) async fn serve(place: &Place, agents: &Agents, limit: u32) -> Server {
    serve_with(place, agents, &format!("max_concurrent = {limit}")).await
}

/// The same with more keys in both tables.
async fn serve_with(place: &Place, agents: &Agents, more: &str) -> Server {
    let token = place.folder().join("token");
    std::fs::write(&token, TOKEN).expect("written");
    let table = |name: &str| {
        format!(
            "[[gateway]]\nname = \"{name}\"\nurl = \"http://localhost:{}\"\ntoken = {{ file = \"{}\" }}\n{more}\n",
            agents.address.port(),
            token.display()
        )
    };
    place.configure(&(table("lab") + &table("other")));
    place.write_target("helper.toml", TARGET);
    place.serve().await
}

pub(super) async fn queued(caller: &Caller, arguments: Value) -> String {
    text(&caller.ok("openclaw_chat_async", arguments).await, "/task_id")
}

/// The execution behind a task.
pub(super) fn execution(task: &str) -> String {
    format!("exe_{}", task.trim_start_matches("task_").replace('-', ""))
}

/// Waits for the end of a task; what it is then.
pub(super) async fn ended(caller: &Caller, task: &str) -> Value {
    caller.followed(&execution(task)).await;
    status(caller, task).await
}

pub(super) async fn status(caller: &Caller, task: &str) -> Value {
    caller.ok("openclaw_task_status", json!({ "task_id": task })).await
}

async fn a_chat_is_answered_in_the_background(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    let started = caller
        .ok(
            "openclaw_chat_async",
            json!({ "message": "  wait for me ", "session_id": "work", "priority": 2.0 }),
        )
        .await;
    assert_eq!(
        (&started["status"], &started["instance"]),
        (&json!("pending"), &json!("lab"))
    );
    let task = text(&started, "/task_id");
    assert_eq!(task.len(), "task_".len() + 36);
    caller.until_logged(&execution(&task), "begun\n").await;
    let running = status(&caller, &task).await;
    assert_eq!(
        (&running["type"], &running["status"]),
        (&json!("chat"), &json!("running"))
    );
    assert_eq!(
        (&running["progress_chars"], &running["result"]),
        (&json!(6), &Value::Null)
    );
    for time in ["created_at", "started_at", "last_activity_at"] {
        assert!(text(&running, &format!("/{time}")).ends_with('Z'), "{running}");
    }
    agents.open();
    let done = ended(&caller, &task).await;
    assert_eq!(
        (&done["status"], &done["result"]),
        (&json!("completed"), &json!("begun\nover"))
    );
    assert_eq!((&done["progress_chars"], &done["error"]), (&json!(10), &Value::Null));
    assert!(text(&done, "/completed_at") >= text(&done, "/started_at"));
    assert_eq!((&done["session_id"], &done["priority"]), (&json!("work"), &json!(2)));
    let told = agents.told();
    assert_eq!(
        (told.len(), told[0].message.as_str(), told[0].session.as_str()),
        (1, "wait for me", "work")
    );
    // As clients of openclaw-mcp read it.
    let (_, body) = caller
        .raw("openclaw_task_status", json!({ "task_id": task }))
        .await
        .expect("an answer");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let said: Value = serde_json::from_str(&text(&answer, "/result/content/0/text")).expect("JSON in the text");
    assert_eq!(said, answer["result"]["structuredContent"]);
    server.stop().await;
}

async fn tasks_are_found_by_what_they_are_and_page_by_page(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    let mut tasks = Vec::new();
    for (message, session, instance, priority) in [
        ("a", Some("s1"), "lab", 0),
        ("fail", Some("s1"), "other", 0),
        ("b", Some("s2"), "lab", 5),
        ("c", None, "other", -3),
    ] {
        let mut chat = json!({ "message": message, "instance": instance, "priority": priority });
        if let Some(session) = session {
            chat["session_id"] = json!(session);
        }
        let task = queued(&caller, chat).await;
        ended(&caller, &task).await;
        tasks.push(task);
    }
    let list = |filter: Value| async {
        let page = caller.ok("openclaw_task_list", filter).await;
        let ids = page["tasks"].as_array().expect("a list").iter();
        let ids = ids.map(|task| tasks.iter().position(|id| task["task_id"] == **id).expect("ours"));
        (ids.collect::<Vec<_>>(), page)
    };
    let (all, page) = list(json!({})).await;
    assert_eq!(all, [2, 0, 1, 3], "by priority, then by age");
    let counts = json!({ "pending": 0, "running": 0, "completed": 3, "failed": 1, "cancelled": 0 });
    assert_eq!(page["stats"], json!({ "total": 4, "byStatus": counts }));
    assert_eq!(
        (&page["tasks"][0]["has_result"], &page["tasks"][2]["has_result"]),
        (&json!(true), &json!(false))
    );
    let filtered = list(json!({ "status": "failed" })).await;
    assert_eq!(
        (filtered.0, &filtered.1["stats"]["total"]),
        (vec![1], &json!(4)),
        "the counts are of all"
    );
    assert_eq!(list(json!({ "session_id": "s1" })).await.0, [0, 1]);
    assert_eq!(list(json!({ "instance": "other" })).await.0, [1, 3]);
    assert_eq!(list(json!({ "instance": "nowhere" })).await.0, Vec::<usize>::new());
    let (first, page) = list(json!({ "limit": 3 })).await;
    let rest = list(json!({ "limit": 3, "cursor": page["next_cursor"] })).await;
    assert_eq!((first, rest.0), (vec![2, 0, 1], vec![3]));
    assert_eq!(rest.1["next_cursor"], Value::Null);
    server.stop().await;
}

async fn higher_priorities_come_first_and_an_instance_has_its_limit(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 1).await;
    let caller = server.caller();
    let first = queued(&caller, json!({ "message": "wait" })).await;
    caller.until(&execution(&first), "running").await;
    let mut tasks = Vec::new();
    for (message, priority) in [("low", -1), ("plain", 0), ("high", 7), ("high too", 7)] {
        tasks.push(queued(&caller, json!({ "message": message, "priority": priority })).await);
    }
    // Another instance has room of its own.
    let elsewhere = queued(&caller, json!({ "message": "elsewhere", "instance": "other" })).await;
    assert_eq!(ended(&caller, &elsewhere).await["status"], "completed");
    let waiting = status(&caller, &tasks[0]).await;
    assert_eq!(waiting["status"], "pending");
    assert!(text(&waiting, "/waits").contains("3 before it"), "{waiting}");
    agents.open();
    for task in &tasks {
        assert_eq!(ended(&caller, task).await["status"], "completed");
    }
    let told: Vec<String> = agents.told().into_iter().map(|told| told.message).collect();
    assert_eq!(told, ["wait", "elsewhere", "high", "high too", "plain", "low"]);
    server.stop().await;
}

async fn what_waits_and_what_runs_can_be_cancelled(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 1).await;
    let caller = server.caller();
    let running = queued(&caller, json!({ "message": "wait" })).await;
    let waiting = queued(&caller, json!({ "message": "never said" })).await;
    caller.until_logged(&execution(&running), "begun\n").await;
    for task in [&waiting, &running] {
        let cancelled = caller.ok("openclaw_task_cancel", json!({ "task_id": task })).await;
        assert_eq!(
            (&cancelled["status"], &cancelled["task_id"]),
            (&json!("cancelled"), &json!(task))
        );
        assert_eq!(status(&caller, task).await["status"], "cancelled");
        let again = caller.refused("openclaw_task_cancel", json!({ "task_id": task })).await;
        assert_eq!(again["message"], format!("Cannot cancel task {task}: it is cancelled"));
    }
    let told = agents.told();
    assert_eq!(told.len(), 1, "what was cancelled in time is never said: {told:?}");
    assert_eq!(agents.aborted(), [told[0].run.clone()]);
    server.stop().await;
}

async fn tasks_are_of_their_owner_not_of_a_connection(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let mut callers = Vec::new();
    for name in ["one", "two"] {
        let made = place
            .command_unseen(&["keys", "create", "--name", name, "--scope", "openclaw", "--json"])
            .await;
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        callers.push(server.caller().with_key(&text(&made, "/key")));
    }
    let task = queued(&callers[0], json!({ "message": "mine" })).await;
    for tool in ["openclaw_task_status", "openclaw_task_cancel"] {
        let refused = callers[1].refused(tool, json!({ "task_id": task })).await;
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!("not_found"), &json!(format!("Task not found: {task}")))
        );
    }
    let list = callers[1].ok("openclaw_task_list", json!({})).await;
    assert_eq!((&list["stats"]["total"], &list["tasks"]), (&json!(0), &json!([])));
    // Another connection of the same owner does.
    let mine = callers[0].ok("openclaw_task_list", json!({})).await;
    assert_eq!(mine["tasks"][0]["task_id"], task);
    // A key for chats alone may not go by the other doors.
    let execution = json!({ "execution_id": execution(&task) });
    assert_eq!(callers[0].refused("get_result", execution).await["code"], "not_allowed");
    server.stop().await;
}

/// Calls that are refused, each with what is said.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn refusals() -> Vec<(&'static str, Value, &'static str)> {
    let long = "x".repeat(100_001);
    vec![
        ("openclaw_chat_async", json!({}), "message must be a string"),
        (
            "openclaw_chat_async",
            json!({ "message": 5 }),
            "message must be a string",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": " \t" }),
            "message must not be empty",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": "a\u{7}" }),
            "message contains invalid control characters",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": long }),
            "message exceeds maximum length of 100000 characters",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": "a", "priority": 1.5 }),
            "priority must be an integer from -1000000 to 1000000",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": "a", "priority": "1" }),
            "priority must be a number",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": "a", "session_id": "a\nb" }),
            "session_id contains invalid control characters",
        ),
        (
            "openclaw_chat_async",
            json!({ "message": "a", "instance": "nowhere" }),
            "Unknown instance \"nowhere\". Available: lab, other",
        ),
        ("openclaw_task_status", json!({}), "task_id must be a string"),
        (
            "openclaw_task_status",
            json!({ "task_id": "stale" }),
            "Task not found: stale",
        ),
        (
            "openclaw_task_status",
            json!({ "task_id": "x".repeat(257) }),
            "task_id exceeds maximum length of 256 characters",
        ),
        (
            "openclaw_task_cancel",
            json!({ "task_id": "task_0190a0a0-0000-7000-8000-000000000000" }),
            "Task not found: task_0190a0a0-0000-7000-8000-000000000000",
        ),
        (
            "openclaw_task_list",
            json!({ "status": "done" }),
            "status must be one of: pending, running, completed, failed, cancelled",
        ),
        (
            "openclaw_task_list",
            json!({ "limit": 0 }),
            "limit must be an integer from 1 to 500",
        ),
        (
            "openclaw_task_list",
            json!({ "cursor": "x" }),
            "cursor is not one that openclaw_task_list gave",
        ),
    ]
}

async fn what_is_no_chat_is_refused(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    for (tool, arguments, said) in refusals() {
        let refused = caller.refused(tool, arguments.clone()).await;
        assert_eq!(refused["message"], said, "{tool}");
        let (_, body) = caller.raw(tool, arguments).await.expect("an answer");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            answer["result"]["content"][0]["text"],
            format!("Error: {said}"),
            "{tool}"
        );
    }
    // What is unknown is ignored, and every script has as many characters as the next.
    let task = queued(&caller, json!({ "message": "é".repeat(100_000), "max_tokens": 5 })).await;
    assert_eq!(ended(&caller, &task).await["progress_chars"], 100_007);
    assert!(agents.told().len() == 1);
    server.stop().await;
}

async fn a_chat_that_fails_says_why(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    for (message, said) in [
        ("fail", "the agent's run failed: the model does not answer"),
        ("refuse me", "the gateway refused it: the agent is not to be spoken to"),
    ] {
        let task = queued(&caller, json!({ "message": message })).await;
        let failed = ended(&caller, &task).await;
        assert_eq!(
            (&failed["status"], &failed["state"], &failed["result"]),
            (&json!("failed"), &json!("failed"), &Value::Null)
        );
        assert!(text(&failed, "/error").contains(said), "{failed}");
    }
    server.stop().await;
}

async fn a_reply_that_is_too_long_is_none(place: &mut Place) {
    let agents = agents().await;
    let server = serve_with(place, &agents, "max_reply = \"1KiB\"").await;
    let caller = server.caller();
    for (length, status) in [(900, "completed"), (1100, "failed")] {
        let message = "x".repeat(length);
        let task = queued(&caller, json!({ "message": message })).await;
        let end = ended(&caller, &task).await;
        assert_eq!(end["status"], status, "{end}");
        match status {
            "failed" => assert!(
                text(&end, "/error").contains("max_reply of this gateway is 1024"),
                "{end}"
            ),
            _ => assert!(text(&end, "/result").contains(&message), "{end}"),
        }
    }
    let task = queued(&caller, json!({ "message": "say too much" })).await;
    let (_, result) = caller.followed(&execution(&task)).await;
    assert_eq!(result["state"], "failed", "{result}");
    let names = artifact_names(&result);
    assert_eq!(names, ["files/table.csv"], "what came along is kept: {result}");
    let seen = status(&caller, &task).await;
    let file = &seen["files"][0];
    assert_eq!(
        (&file["name"], &file["text"]),
        (&json!("files/table.csv"), &json!("a,b\n1,2 and more\n")),
        "{seen}"
    );
    let task = queued(&caller, json!({ "message": "give" })).await;
    let end = ended(&caller, &task).await;
    assert_eq!(end["result"], "see the file", "{end}");
    let files = end["files"].as_array().expect("files");
    assert_eq!(
        (files.len(), &files[0]["name"]),
        (1, &json!("files/table.csv")),
        "the reply is none: {end}"
    );
    server.stop().await;
}

async fn a_chat_that_takes_too_long_is_ended(place: &mut Place) {
    let agents = agents().await;
    let server = serve_with(place, &agents, "task_timeout = \"1s\"").await;
    let caller = server.caller();
    let task = queued(&caller, json!({ "message": "wait" })).await;
    let end = ended(&caller, &task).await;
    assert_eq!(
        (&end["status"], &end["state"]),
        (&json!("failed"), &json!("timed_out")),
        "{end}"
    );
    assert!(agents.running().is_empty(), "the gateway's run is ended, too");
    server.stop().await;
}

async fn killed_servers_ask_nothing_twice_and_lose_no_reply(place: &mut Place) {
    const CHATS: usize = 12;
    let agents = agents().await;
    let mut server = serve(place, &agents, 5).await;
    let mut tasks = Vec::new();
    for number in 0..CHATS {
        tasks.push(queued(&server.caller(), json!({ "message": format!("wait {number}") })).await);
    }
    // Whatever stage each is in: killed with some running, killed as soon as it takes over.
    agents.until("some run", |agents| agents.running().len() >= 3).await;
    server.kill().await;
    server = place.serve().await;
    server.log.until("driving").await;
    server.kill().await;
    agents.open();
    server = place.serve().await;
    let caller = server.caller();
    for (number, task) in tasks.iter().enumerate() {
        let done = ended(&caller, task).await;
        assert_eq!(done["result"], "begun\nover", "{number}: {done}");
    }
    for number in 0..CHATS {
        let told = agents.told();
        let told: Vec<_> = told
            .iter()
            .filter(|told| told.message == format!("wait {number}"))
            .collect();
        let runs: std::collections::BTreeSet<_> = told.iter().map(|told| &told.run).collect();
        assert_eq!(runs.len(), 1, "{number} was asked under more than one key: {told:?}");
        assert_eq!(agents.starts(&told[0].run), 1, "{number}");
    }
    server.stop().await;
}

async fn a_task_goes_to_an_agent(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    let listed = caller.ok("list_targets", json!({})).await;
    let names: Vec<_> = listed["targets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|target| text(target, "/name"))
        .collect();
    assert_eq!(
        names,
        ["helper", "lab"],
        "chats have no target that a caller could name"
    );
    let submitted = caller
        .ok(
            "submit_task",
            json!({
                "project_name": "tables", "goal": "/give me a table", "target_ref": "helper",
                "execution_intent": "delegate", "context": "for the report", "constraints": { "timeout_s": 90 },
            }),
        )
        .await;
    assert_eq!(submitted["plan"]["steps"][0]["name"], "delegate", "{submitted}");
    assert_eq!(
        (&submitted["plan"]["risk"], &submitted["needs"]),
        (&json!("high"), &json!([]))
    );
    let task = text(&submitted, "/task_id");
    caller.upload(&task, "notes.txt", "some notes").await;
    let execution = caller.start(&task).await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert_eq!(
        log,
        "== step 1 of 1: delegate (an agent does the task as it sees fit)\nsee the file\n[file: table.csv, 17 bytes]\n"
    );
    let names = artifact_names(&result);
    assert_eq!(names, ["files/table.csv", "reply.md"]);
    assert_eq!(result["artifacts"][1]["text"], "see the file");
    let told = agents.told();
    let said = &told[0].message;
    for part in [
        "/give me a table",
        "for the report",
        "notes.txt",
        "90 seconds",
        "tables",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.starts_with('/'), "no command of the gateway: {said}");
    assert_eq!(told[0].params["attachments"][0]["content"], "c29tZSBub3Rlcw==");
    let refused = caller
        .refused(
            "submit_task",
            json!({ "project_name": "p", "goal": "g", "target_ref": "helper", "execution_intent": "delegate", "inputs": { "a": 1 } }),
        )
        .await;
    assert!(
        text(&refused, "/message").contains("an agent takes no input 'a'"),
        "{refused}"
    );
    let chat = json!({ "project_name": "p", "goal": "g", "target_ref": "openclaw:lab", "execution_intent": "chat" });
    assert_eq!(caller.refused("submit_task", chat).await["code"], "unknown_target");
    server.stop().await;
}

async fn an_agent_that_was_asked_first_waits_for_a_person(place: &mut Place) {
    let agents = agents().await;
    let server = serve(place, &agents, 3).await;
    let caller = server.caller();
    let submitted = caller
        .ok(
            "submit_task",
            json!({ "project_name": "p", "goal": "wait and build", "target_ref": "helper", "execution_intent": "build" }),
        )
        .await;
    assert_eq!(submitted["approvals"].as_array().map(Vec::len), Some(1), "{submitted}");
    let started = caller
        .ok("start_execution", json!({ "task_id": text(&submitted, "/task_id") }))
        .await;
    assert_eq!(started["state"], "awaiting_approval");
    assert!(agents.told().is_empty(), "nothing is said before that");
    let execution = text(&started, "/execution_id");
    place.ok(&["approvals", "allow", &text(&started, "/approval/id")]).await;
    caller.until_logged(&execution, "begun\n").await;
    assert!(agents.told()[0].message.contains("What kind of work it is: build"));
    // Ended from outside: told as what it is.
    caller
        .ok("cancel_execution", json!({ "execution_id": execution }))
        .await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "cancelled", "{log}");
    tokio::time::timeout(Duration::from_secs(60), async {
        agents.until("nothing runs", |agents| agents.running().is_empty()).await;
    })
    .await
    .expect("it is ended at the gateway");
    server.stop().await;
}

async fn the_doctor_looks_at_both_ways_to_a_gateway(place: &mut Place) {
    let agents = agents().await;
    serve(place, &agents, 3).await.stop().await;
    std::fs::write(place.folder().join("token"), "another").expect("written");
    let told = place.command_unseen(&["doctor"]).await;
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    for part in ["FAIL gateway lab: ", "FAIL gateway lab, WebSocket: "] {
        let line = told.lines().find(|line| line.starts_with(part)).expect(&told);
        assert!(line.contains("token"), "{told}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    place.configure(&format!("[[gateway]]\nname = \"lab\"\nurl = \"http://{address}\"\n"));
    let told = place.command_unseen(&["doctor"]).await;
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    assert!(told.contains("FAIL gateway lab: "), "{told}");
    assert!(!told.contains("WebSocket"), "who isn't there is told once: {told}");
}
