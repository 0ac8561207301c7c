//! What happens, by cursor and by waiting; what is missing, said.

use super::*;
use crate::gateway::scripted::board::{approval, told};
use crate::gateway::scripted::socket::soon;

const HERE: &str = "agent:main:telegram:1";

/// Follows the gateway, and tells the cursor to begin with.
async fn following(door: &Door) -> u64 {
    let (content, text) = done(door, "events_poll", json!({})).await;
    assert_eq!((&content["events"], text.as_str()), (&json!([]), "events: 0"));
    content["next_cursor"].as_u64().expect("a cursor")
}

async fn wait(door: &Door, after: u64) -> Value {
    done(
        door,
        "events_wait",
        json!({"after_cursor": after, "timeout_ms": 60_000}),
    )
    .await
    .0
}

/// Waits for as many events behind the cursor, one after the other: a cursor that nobody was told is none.
async fn until(door: &Door, begin: u64, events: u64) {
    for after in begin..begin + events {
        let came = wait(door, after).await;
        assert_eq!(came["event"]["cursor"], after + 1, "{came}");
    }
}

#[tokio::test]
async fn messages_are_told_without_the_rows_of_their_sessions() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    lab.lab.event("session.message", told(HERE, "m1", "hello"));
    let (came, text) = done(&door, "events_wait", json!({"after_cursor": begin})).await;
    let cursor = begin + 1;
    let expected = json!({
        "cursor": cursor, "type": "message", "sessionKey": HERE, "messageId": "m1", "messageSeq": 1, "role": "user",
        "text": "hello",
        "conversation": {
            "sessionKey": HERE, "channel": "telegram", "to": "telegram:1", "accountId": "default",
            "displayName": "chat with telegram:1", "updatedAt": 1_795_000_000_000_u64,
        },
    });
    assert_eq!(came, json!({ "event": expected, "next_cursor": cursor }));
    assert_eq!(text, format!("event {cursor}"));
    let (page, text) = done(&door, "events_poll", json!({"after_cursor": begin, "raw": true})).await;
    assert_eq!(text, "events: 1");
    let raw = &page["events"][0]["raw"];
    assert_eq!(
        (&raw["message"]["__openclaw"]["id"], &raw["senderIsOwner"]),
        (&json!("m1"), &json!(true))
    );
    assert!(!page.to_string().contains("systemPrompt"), "{page}");
    // Nothing is used up.
    assert_eq!(
        done(&door, "events_poll", json!({"after_cursor": 0})).await.0["events"],
        json!([expected])
    );
}

#[tokio::test]
async fn approvals_belong_to_their_session_and_those_from_before_are_found() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    lab.lab.on_it().exec = vec![approval("early", HERE, 5)];
    // What was asked before anybody followed is told first.
    let first = wait(&door, 0).await["event"].clone();
    assert_eq!(
        (&first["type"], &first["sessionKey"]),
        (&json!("exec_approval_requested"), &json!(HERE))
    );
    let expected = json!({
        "kind": "exec", "id": "early", "command": "uname -a", "decisions": ["allow-once", "deny"], "expiresAtMs": 1_800_005,
    });
    assert_eq!(first["approval"], expected);
    let begin = first["cursor"].as_u64().expect("a cursor");
    lab.lab
        .event("session.message", told("agent:main:telegram:2", "m1", "elsewhere"));
    lab.lab.event("plugin.approval.requested", {
        let request = json!({ "title": "mail it", "pluginId": "mail", "sessionKey": HERE });
        json!({ "id": "plugin:1", "request": request, "createdAtMs": 9, "expiresAtMs": 10 })
    });
    let request = approval("early", HERE, 5)["request"].clone();
    let resolved = json!({ "id": "early", "decision": "deny", "resolvedBy": "me", "request": request });
    lab.lab.event("exec.approval.resolved", resolved);
    until(&door, begin, 3).await;
    let only_here = json!({"after_cursor": begin, "session_key": HERE});
    let (page, _) = done(&door, "events_poll", only_here).await;
    let kinds: Vec<_> = page["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert_eq!(kinds, ["plugin_approval_requested", "exec_approval_resolved"]);
    assert_eq!(page["events"][0]["approval"]["title"], "mail it");
    let answer = json!({ "kind": "exec", "id": "early", "decision": "deny", "resolvedBy": "me" });
    assert_eq!(page["events"][1]["approval"], answer);
    assert_eq!(page["next_cursor"], begin + 3);
    let whole = json!({"after_cursor": 0, "session_key": HERE, "raw": true});
    let (page, _) = done(&door, "events_poll", whole).await;
    assert_eq!(
        page["events"][0]["raw"]["request"],
        approval("early", HERE, 5)["request"]
    );
    assert_eq!(page["events"][1]["raw"]["request"]["pluginId"], "mail");
    assert_eq!(page["events"][2]["raw"]["resolvedBy"], "me");
}

#[tokio::test]
async fn nothing_came_is_an_answer_too() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    let (came, text) = done(&door, "events_wait", json!({"timeout_ms": 1, "session_key": ""})).await;
    assert_eq!(came, json!({ "event": null, "next_cursor": begin }));
    assert_eq!(text, "timeout");
}

#[tokio::test]
async fn a_flood_leaves_the_newest_and_says_what_is_gone() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    for number in 0..10_000 {
        lab.lab.event("session.message", told(HERE, &format!("m{number}"), "x"));
    }
    // Whether told or told to be missing: nothing is passed over.
    let (mut cursor, mut known, mut gaps) = (begin, 0, 0);
    while known < 10_000 {
        let asked = json!({"after_cursor": cursor, "limit": 200});
        let (page, _) = done(&door, "events_poll", asked).await;
        if let Some(oldest) = page["gap"]["oldest_available_cursor"].as_u64() {
            assert_eq!(page["gap"]["requested_after_cursor"], cursor);
            assert_eq!(page["events"][0]["cursor"], oldest);
            known += oldest - cursor - 1;
            gaps += 1;
        }
        let events = page["events"].as_array().expect("events");
        for event in events {
            match event["type"].as_str() {
                Some("message") => known += 1,
                Some("gap") => known += event["missed"].as_u64().expect("a number"),
                other => panic!("{other:?}"),
            }
        }
        cursor = page["next_cursor"].as_u64().expect("a cursor");
        if events.is_empty() {
            wait(&door, cursor).await;
        }
    }
    let (page, _) = done(&door, "events_poll", json!({"after_cursor": begin, "limit": 1})).await;
    let oldest = page["gap"]["oldest_available_cursor"].as_u64();
    assert!(oldest > Some(begin + 1), "{page}, {gaps} gaps on the way");
    let (_, text) = done(
        &door,
        "events_wait",
        json!({"after_cursor": begin, "session_key": "none", "timeout_ms": 1}),
    )
    .await;
    assert!(
        text.starts_with("event gap before ") || text.starts_with("event "),
        "{text}"
    );
    lab.lab.event("session.message", told(HERE, "last", "still there"));
    assert_eq!(wait(&door, cursor).await["event"]["messageId"], "last");
}

#[tokio::test]
async fn a_page_of_long_messages_is_cut_and_goes_on() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    for number in 1..=3 {
        let long = format!("{number}{}", "x".repeat(600_000));
        lab.lab
            .event("session.message", told(HERE, &format!("m{number}"), &long));
    }
    until(&door, begin, 3).await;
    for cursor in begin..begin + 3 {
        let (page, _) = done(&door, "events_poll", json!({"after_cursor": cursor})).await;
        let events = page["events"].as_array().expect("events");
        assert_eq!((events.len(), &page["next_cursor"]), (1, &json!(cursor + 1)));
        assert_eq!(events[0]["cursor"], cursor + 1);
    }
}

#[tokio::test]
async fn a_broken_connection_is_a_gap() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    lab.lab.event("session.message", told(HERE, "m1", "before"));
    until(&door, begin, 1).await;
    lab.lab.on_it().exec = vec![approval("meanwhile", HERE, 5)];
    lab.lab.close();
    until(&door, begin, 3).await;
    let (page, _) = done(&door, "events_poll", json!({"after_cursor": begin + 1})).await;
    assert_eq!(page["events"][0]["type"], "gap");
    assert_eq!(page["events"][1]["approval"]["id"], "meanwhile");
    lab.lab.event("session.message", told(HERE, "m2", "after"));
    assert_eq!(wait(&door, begin + 3).await["event"]["messageId"], "m2");
}

#[tokio::test]
async fn what_the_gateway_left_out_is_a_gap() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    lab.lab.event("session.message", told(HERE, "m1", "before"));
    lab.lab.skip(5);
    lab.lab.event("session.message", told(HERE, "m2", "after"));
    until(&door, begin, 3).await;
    let (page, _) = done(
        &door,
        "events_poll",
        json!({"after_cursor": begin + 1, "session_key": "another"}),
    )
    .await;
    let gap = json!({ "cursor": begin + 2, "type": "gap", "missed": 5 });
    assert_eq!(page["events"], json!([gap]), "it is for everybody");
}

#[tokio::test]
async fn a_cursor_of_another_run_is_told_from_this_ones() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let begin = following(&door).await;
    assert!(begin > 1_700_000_000_000, "cursors of a later run are larger: {begin}");
    lab.lab.event("session.message", told(HERE, "m1", "x"));
    until(&door, begin, 1).await;
    for other in [7, begin - 5, begin + 900, 9_007_199_254_740_991] {
        let (page, _) = done(&door, "events_poll", json!({"after_cursor": other})).await;
        let gap = json!({ "requested_after_cursor": other, "oldest_available_cursor": begin + 1 });
        assert_eq!((&page["gap"], &page["events"][0]["messageId"]), (&gap, &json!("m1")));
    }
}

#[tokio::test]
async fn waiting_can_be_cancelled() {
    let lab = Lab::new().await;
    let begin = following(&lab.open().await).await;
    let mut client = Piped::to(&lab.control, caller(&[Scope::Openclaw])).await;
    let call = |id: u64, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "events_wait", "arguments": arguments}});
    let long = json!({"timeout_ms": 300_000, "after_cursor": begin});
    client.send(call(1, long.clone())).await;
    client.send(call(2, long)).await;
    client.cancel(1).await;
    let mut answered = Vec::new();
    // The server reads in turn: it knows of the cancel when it answers this.
    client.send(call(3, json!({"timeout_ms": 1}))).await;
    let mut until = async |client: &mut Piped, id: u64| {
        while !answered.contains(&json!(id)) {
            answered.push(soon(client.next()).await["id"].clone());
        }
    };
    until(&mut client, 3).await;
    // What it would have waited for; whoever waits on is told.
    lab.lab.event("session.message", told(HERE, "m1", "x"));
    until(&mut client, 2).await;
    client.send(call(4, json!({"timeout_ms": 1}))).await;
    until(&mut client, 4).await;
    assert!(!answered.contains(&json!(1)), "{answered:?}");
}
