//! No answer is larger than clients take: Claude takes 150,000 characters, Claude Code 25,000 tokens.

use std::fmt::Write as _;

use clawhand::executors::scripted::Move;

use super::*;
use crate::site::{alice, on_both_sites, submit, text};

on_both_sites!(
    a_page_of_any_log_fits,
    a_result_with_everything_in_it_fits,
    a_list_of_long_goals_fits,
);

const OLD: &str = "2025-11-25";
const CHARACTERS: usize = 150_000;
/// A token is rarely less than three characters of a log or of JSON.
const TOKENS: usize = 25_000 * 3;

/// Checks the answer, and gives its structured content.
fn fits(answer: &Value) -> Value {
    let result = &answer["result"];
    let content = &result["structuredContent"];
    let once = content.to_string().chars().count();
    let texts = result["content"].as_array().expect("content");
    let all: usize = texts
        .iter()
        .map(|part| match part["text"].as_str() {
            Some(text) => text.chars().count(),
            None => part.to_string().chars().count(),
        })
        .sum();
    assert!(once <= TOKENS, "{once} characters of structured content");
    assert!(all + once <= CHARACTERS, "{} characters in all", all + once);
    content.clone()
}

async fn ended(site: &Site, intent: &str, moves: impl IntoIterator<Item = Move>) -> String {
    site.scripted.script(moves);
    let id = text(&site.started(&alice(), intent).await, "/execution_id");
    site.followed(&alice(), &id).await;
    id
}

async fn a_page_of_any_log_fits(site: &Site) {
    let door = Door::to(site, alice()).await;
    let worker = site.work();
    let logs: [&[u8]; 5] = [b"a line of a log\n", b"\x1b[1m", b"\x01", b"\xff", "\"\\é".as_bytes()];
    for log in logs.map(|log| log.repeat(100_000 / log.len())) {
        let id = ended(site, "run", [Move::Print(log.clone()), Move::Exit(0)]).await;
        for max_bytes in [None, Some(65_536)] {
            let (mut read, mut cursor) = (String::new(), Value::Null);
            loop {
                let mut arguments = json!({"execution_id": id});
                if !cursor.is_null() {
                    arguments["cursor"] = cursor;
                }
                if let Some(max_bytes) = max_bytes {
                    arguments["max_bytes"] = max_bytes.into();
                }
                let page = fits(&door.call(OLD, "get_status", arguments).await);
                read += page["log"]["text"].as_str().expect("text");
                cursor = page["log"]["next_cursor"].clone();
                if page["log"]["done"] == true {
                    break;
                }
            }
            assert!(
                read.ends_with(&*String::from_utf8_lossy(&log)),
                "the whole log was read"
            );
        }
    }
    worker.stop().await;
}

async fn a_result_with_everything_in_it_fits(site: &Site) {
    let door = Door::to(site, alice()).await;
    let worker = site.work();
    let mut report = String::from("<testsuite>");
    let (name, message) = ("n".repeat(400), "\"expected\"\n".repeat(372));
    for index in 0..200 {
        let failure = format!("<failure>{message}</failure>");
        for (kind, inside) in [("failed", failure.as_str()), ("passed", ""), ("skipped", "<skipped/>")] {
            let _ = write!(
                report,
                "<testcase classname=\"{kind}\" name=\"{index}{name}\">{inside}</testcase>"
            );
        }
    }
    report += "</testsuite>";
    let text_file = "\u{1b}[0m".repeat(1_000).into_bytes();
    let outputs = (0..300).map(|index| Move::Leave(format!("out/{index:04}.txt"), text_file.clone()));
    let moves: Vec<Move> = outputs
        .chain([Move::Leave("out/junit.xml".into(), report.into_bytes()), Move::Exit(1)])
        .collect();
    let id = ended(site, "test", moves).await;

    let answer = door.call(OLD, "get_result", json!({"execution_id": id})).await;
    let first = fits(&answer);
    let tests = &first["tests"];
    assert_eq!(
        (&tests["passed"], &tests["failed"], &tests["skipped"]),
        (&json!(200), &json!(200), &json!(200))
    );
    let listed: usize = ["failures", "passed_names", "skipped_names"]
        .iter()
        .filter_map(|list| tests[list].as_array().map(Vec::len))
        .sum();
    assert_eq!(tests["left_out"], 600 - listed);
    assert!(listed > 20, "{tests}");

    let (mut names, mut page) = (Vec::new(), first);
    loop {
        let artifacts = page["artifacts"].as_array().expect("artifacts");
        names.extend(artifacts.iter().map(|artifact| text(artifact, "/name")));
        let left_out = page["artifacts_left_out"].as_u64().unwrap_or_default();
        assert_eq!(names.len() as u64 + left_out, 301);
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        let arguments = json!({"execution_id": id, "cursor": cursor});
        page = fits(&door.call(OLD, "get_result", arguments).await);
    }
    assert!(
        names.len() == 301 && names.is_sorted_by(|a, b| a < b),
        "each once: {names:?}"
    );
    let wrong = door
        .call(OLD, "get_result", json!({"execution_id": id, "cursor": "x"}))
        .await;
    assert_eq!(
        wrong["result"]["structuredContent"]["code"], "invalid_argument",
        "{wrong}"
    );
    let task = door.answer(MODERN, "tasks/get", json!({"taskId": id})).await;
    fits(&json!({"result": task["result"]["result"]}));
    worker.stop().await;
}

async fn a_list_of_long_goals_fits(site: &Site) {
    let door = Door::to(site, alice()).await;
    for _ in 0..100 {
        let mut task = submit("run");
        task.goal = "\"é\"".repeat(3_000);
        task.project_name = "é".repeat(200);
        crate::site::ok(site.control.submit_task(&alice(), task).await);
    }
    let (mut count, mut cursor) = (0, Value::Null);
    loop {
        let mut arguments = json!({"limit": 100});
        if !cursor.is_null() {
            arguments["cursor"] = cursor;
        }
        let page = fits(&door.call(OLD, "list_tasks", arguments).await);
        count += page["tasks"].as_array().expect("tasks").len();
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(count, 100);
}
