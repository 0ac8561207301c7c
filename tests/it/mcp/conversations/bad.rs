//! Calls that make no sense, and gateways that don't let anybody in.

use super::*;
use crate::gateway::scripted::board::row;

const HERE: &str = "agent:main:telegram:1";

#[tokio::test]
async fn bad_arguments_are_named_and_reach_no_gateway() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw, Scope::Approve]).await;
    let long = "x".repeat(1025);
    let key = |value: Value| json!({"session_key": value});
    let send = |text: &str| json!({"session_key": HERE, "text": text});
    let most = "é".repeat(100_001);
    for (tool, arguments, words) in [
        (
            "conversations_list",
            json!({"limit": 0}),
            "field limit: expected a whole number from 1 to 500, got a number",
        ),
        (
            "conversations_list",
            json!({"limit": 501}),
            "field limit: expected a whole number from 1 to 500, got a number",
        ),
        (
            "conversations_list",
            json!({"limit": 1.5}),
            "field limit: expected a whole number from 1 to 500, got a number",
        ),
        (
            "conversations_list",
            json!({"limit": "5"}),
            "field limit: expected a whole number from 1 to 500, got a text",
        ),
        (
            "conversations_list",
            json!({"search": 5}),
            "field search: expected a text, got a number",
        ),
        (
            "conversations_list",
            json!({"search": "a\u{7}b"}),
            "search contains invalid control characters",
        ),
        (
            "conversations_list",
            json!({"includeLastMessage": "yes"}),
            "field includeLastMessage: expected true or false, got a text",
        ),
        ("conversation_get", json!({}), "field session_key is missing"),
        ("conversation_get", key(json!("")), "session_key must not be empty"),
        ("conversation_get", key(json!("  ")), "session_key must not be empty"),
        (
            "conversation_get",
            key(json!(7)),
            "field session_key: expected a text, got a number",
        ),
        (
            "conversation_get",
            key(json!(null)),
            "field session_key: expected a text, got null",
        ),
        (
            "conversation_get",
            key(json!(long)),
            "session_key exceeds maximum length of 1024 characters",
        ),
        (
            "conversation_get",
            key(json!("a\nb")),
            "session_key contains invalid control characters",
        ),
        (
            "messages_read",
            json!({"session_key": HERE, "limit": 201}),
            "field limit: expected a whole number from 1 to 200, got a number",
        ),
        (
            "attachments_fetch",
            json!({"session_key": HERE}),
            "field message_id is missing",
        ),
        (
            "attachments_fetch",
            json!({"session_key": HERE, "message_id": ""}),
            "message_id must not be empty",
        ),
        (
            "events_poll",
            json!({"after_cursor": -1}),
            "field after_cursor: expected a whole number that is not negative, got a number",
        ),
        (
            "events_poll",
            json!({"after_cursor": "1"}),
            "field after_cursor: expected a whole number that is not negative, got a text",
        ),
        (
            "events_wait",
            json!({"timeout_ms": 0}),
            "field timeout_ms: expected a whole number from 1 to 300000, got a number",
        ),
        (
            "events_wait",
            json!({"timeout_ms": 300_001}),
            "field timeout_ms: expected a whole number from 1 to 300000, got a number",
        ),
        ("messages_send", json!({"session_key": HERE}), "field text is missing"),
        ("messages_send", send(""), "text must not be empty"),
        (
            "messages_send",
            send("a\0b"),
            "text contains invalid control characters",
        ),
        (
            "messages_send",
            send(&most),
            "text exceeds maximum length of 100000 characters",
        ),
        (
            "permissions_respond",
            json!({"kind": "exec", "id": "a"}),
            "field decision is missing",
        ),
        (
            "permissions_respond",
            json!({"kind": "other", "id": "a", "decision": "deny"}),
            "field kind: not one of its words",
        ),
        (
            "permissions_respond",
            json!({"kind": "exec", "id": "a", "decision": "allow_once"}),
            "field decision: not one of its words",
        ),
        (
            "permissions_respond",
            json!({"kind": "exec", "id": " ", "decision": "deny"}),
            "id must not be empty",
        ),
    ] {
        let (code, said) = refused(&door, tool, arguments).await;
        assert_eq!((code.as_str(), said.as_str()), ("invalid_argument", words), "{tool}");
    }
    let (code, said) = refused(&door, "conversations_list", json!({"instance": "nope"})).await;
    assert_eq!(
        (code.as_str(), said.as_str()),
        ("unknown_instance", "Unknown instance \"nope\". Available: lab, other")
    );
    assert!(lab.lab.on_it().asked.is_empty(), "{:?}", lab.lab.on_it().asked);
}

#[tokio::test]
async fn what_is_unknown_or_missing_does_no_harm() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    done(
        &door,
        "conversations_list",
        json!({"limit": 5.0, "search": " ", "channel": null, "odd": {"a": 1}}),
    )
    .await;
    let without = door
        .answer(MODERN, "tools/call", json!({"name": "conversations_list"}))
        .await;
    assert_eq!(without["result"]["isError"], false, "{without}");
    let without = door
        .answer(MODERN, "tools/call", json!({"name": "conversation_get"}))
        .await;
    assert_eq!(
        without["result"]["structuredContent"]["message"],
        "field session_key is missing"
    );
    let unknown = door.call(MODERN, "conversations_delete", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
}

#[tokio::test]
async fn a_gateway_that_keeps_out_is_told_at_once_and_tried_again() {
    let trouble = |details: Value| json!({ "code": "INVALID_REQUEST", "message": "unauthorized", "details": details });
    for (details, code, words) in [
        (
            json!({ "code": "AUTH_TOKEN_MISMATCH" }),
            "gateway_refused",
            "the gateway does not take the credential",
        ),
        (
            json!({ "code": "PROTOCOL_MISMATCH", "expectedProtocol": 5 }),
            "gateway_failed",
            "speaks version 5",
        ),
        (
            json!({ "code": "PAIRING_REQUIRED", "requestId": "r1" }),
            "gateway_refused",
            "openclaw devices approve r1",
        ),
    ] {
        let lab = Lab::new().await;
        lab.lab.on_it().keeps_out = Some(trouble(details));
        let door = lab.open().await;
        for (tool, arguments) in [
            ("conversations_list", json!({})),
            ("messages_read", json!({"session_key": HERE})),
            ("events_poll", json!({})),
            ("events_wait", json!({"timeout_ms": 300_000})),
            ("permissions_list_open", json!({})),
        ] {
            let (told, said) = refused(&door, tool, arguments).await;
            assert_eq!(told, code, "{tool}: {said}");
            assert!(said.contains(words), "{tool}: {said}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_found() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    lab.lab.on_it().sessions = vec![row(HERE, "telegram:1")];
    done(&door, "conversations_list", json!({})).await;
    lab.lab.close();
    // Reads are asked again on the next connection, so the caller sees nothing of it.
    let (content, _) = done(&door, "conversations_list", json!({})).await;
    assert_eq!(content["conversations"][0]["sessionKey"], HERE);
}

#[tokio::test]
async fn answers_carry_neither_the_token_nor_the_address() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let place = lab.lab.url();
    let host = place.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let mut telling = row(HERE, "telegram:1");
    telling["label"] = json!(format!("{TOKEN} at {place}"));
    lab.lab.on_it().sessions = vec![telling];
    let details = json!({ "code": "INVALID_REQUEST", "message": format!("no: {TOKEN} at {place} is http://{host}") });
    lab.lab.on_it().refuses.insert("sessions.get", details);
    for (tool, arguments) in [
        ("conversations_list", json!({})),
        ("messages_read", json!({"session_key": HERE})),
        ("openclaw_instances", json!({})),
    ] {
        let answer = door.call(MODERN, tool, arguments).await.to_string();
        assert!(!answer.contains(TOKEN) && !answer.contains(&host), "{answer}");
    }
}
