//! A recorded session of `openclaw mcp serve` 2026.9.6 before a real gateway, replayed: whoever was content with that one is
//! content with this one. What differs is named here, and has its line in the table of docs/CLIENTS.md.

use super::*;
use crate::mcp::recorded::{lines, missing};

const SESSION: &str = include_str!("../../../fixtures/openclaw/bridge.jsonl");

/// The line of the recording that is a call.
struct Played {
    params: Value,
    /// What came of it; `None` for a tool error.
    gives: Option<Value>,
    /// The first line of the text.
    text: String,
}

fn played(line: &Value) -> Option<Played> {
    let text = line["text"].as_str().or(line["error"].as_str())?;
    Some(Played {
        params: line["call"].clone(),
        gives: line.get("gives").cloned(),
        text: text.to_owned(),
    })
}

/// The state of the gateway in which the recording was made.
fn set_up(board: &Board, lines: &[Value]) {
    let find = |name: &str, field: &str| {
        let mut calls = lines.iter().filter(|line| line["call"]["name"] == name);
        calls
            .find_map(|line| Some(line["gives"][field].clone()).filter(|value| !value.is_null()))
            .expect("recorded")
    };
    let one = find("conversation_get", "conversation");
    let key = one["sessionKey"].as_str().expect("a key").to_owned();
    let mut session = one.clone();
    (session["key"], session["lastTo"]) = (one["sessionKey"].clone(), one["to"].clone());
    session["lastAccountId"] = one["accountId"].clone();
    let messages = find("messages_read", "messages");
    {
        let mut board = board.on_it();
        board.sessions = vec![session.clone()];
        board
            .messages
            .insert(key.clone(), messages.as_array().expect("messages").clone());
    }
    for message in messages.as_array().expect("messages") {
        let own = &message["__openclaw"];
        let payload = json!({
            "sessionKey": key, "messageId": own["id"], "messageSeq": own["seq"], "message": message, "session": session,
        });
        board.event("session.message", payload);
    }
}

#[tokio::test]
async fn the_tools_take_what_the_recorded_ones_take() {
    let board = Board::start().await;
    let mut client = Client::of(&board, &[]).await;
    let listed = client.ask("tools/list", json!({})).await;
    let lines = lines(SESSION);
    let theirs = lines
        .iter()
        .find_map(|line| line["tools"].as_array())
        .expect("recorded");
    assert_eq!(theirs.len(), 9);
    for tool in theirs {
        let ours = listed["result"]["tools"].as_array().expect("tools");
        let ours = ours.iter().find(|one| one["name"] == tool["name"]).expect("is there");
        assert_eq!(
            ours["inputSchema"]["required"], tool["inputSchema"]["required"],
            "{}",
            tool["name"]
        );
        for (name, field) in tool["inputSchema"]["properties"].as_object().expect("fields") {
            let own = &ours["inputSchema"]["properties"][name];
            assert_eq!(
                (&own["type"], &own["enum"]),
                (&field["type"], &field["enum"]),
                "{} {name}",
                tool["name"]
            );
            let bound = |schema: &Value, key: &str| schema[key].as_i64();
            assert_eq!(
                bound(own, "minimum"),
                bound(field, "minimum"),
                "{} {name}",
                tool["name"]
            );
            let most = bound(own, "maximum").unwrap_or(i64::MAX);
            assert!(
                most >= bound(field, "maximum").unwrap_or_default(),
                "{} {name}",
                tool["name"]
            );
        }
    }
    client.leave().await;
}

#[tokio::test]
async fn every_recorded_call_gives_no_less() {
    let board = Board::start().await;
    board.on_it().gives_admin = true;
    let mut client = Client::of(&board, &["--admin", "--self-approval"]).await;
    client.until_done("events_poll").await;
    let lines = lines(SESSION);
    let capabilities = &lines[0]["initialize"]["capabilities"];
    let lacking = missing("", capabilities, &client.hello["capabilities"]);
    assert_eq!(lacking, [".tools.listChanged"], "the list never changes");
    let (mut calls, mut differ) = (0, Vec::new());
    for played in lines.iter().filter_map(played) {
        let answer = client.ask("tools/call", played.params.clone()).await;
        let told = format!("{}", played.params);
        if calls == 0 {
            set_up(&board, &lines);
        }
        calls += 1;
        let Some(gives) = &played.gives else {
            if answer["result"]["isError"] != true {
                differ.push(told);
            }
            continue;
        };
        let result = &answer["result"];
        assert_eq!(result["isError"], false, "{told}: {answer}");
        let lacking = missing("", gives, &result["structuredContent"]);
        let expected = |path: &String| path.ends_with(".raw");
        assert!(lacking.iter().all(expected), "{told}: {lacking:?} in {result}");
        let text = result["content"][0]["text"].as_str().expect("a text");
        if text.lines().next() != Some(&played.text) {
            differ.push(told);
        }
    }
    assert_eq!(calls, 36);
    let expected = [
        // A cursor that was never given out.
        r#"{"arguments":{"after_cursor":99,"timeout_ms":10},"name":"events_wait"}"#,
        // No arguments where none are needed.
        r#"{"name":"conversations_list"}"#,
        // A tool that isn't there is an error of the protocol.
        r#"{"arguments":{},"name":"conversations_delete"}"#,
    ];
    assert_eq!(differ, expected);
    let said = lines
        .iter()
        .find(|line| line["notification"].is_object())
        .expect("recorded");
    let told = client.told().await;
    assert_eq!(told["method"], said["notification"]["method"]);
    assert_eq!(told["params"], said["notification"]["params"]);
    client.leave().await;
}
