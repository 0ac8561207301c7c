//! Calls that make no sense, and gateways that don't let anybody in.

use super::*;
use crate::gateway::scripted::board::row;

const HERE: &str = "agent:main:telegram:1";

/// A bad call a line: the tool, its arguments, what is said.
const BAD: &str = r#"
conversations_list {"limit": 0} field limit: expected a whole number from 1 to 500, got a number
conversations_list {"limit": 501} field limit: expected a whole number from 1 to 500, got a number
conversations_list {"limit": 1.5} field limit: expected a whole number from 1 to 500, got a number
conversations_list {"limit": 1e300} field limit: expected a whole number from 1 to 500, got a number
conversations_list {"limit": "5"} field limit: expected a whole number from 1 to 500, got a text
conversations_list {"search": 5} field search: expected a text, got a number
conversations_list {"search": "a\u0007b"} search contains invalid control characters
conversations_list {"includeLastMessage": "yes"} field includeLastMessage: expected true or false, got a text
conversations_list {"instance": ""} instance must not be empty
conversation_get {} field session_key is missing
conversation_get {"session_key": ""} session_key must not be empty
conversation_get {"session_key": "  "} session_key must not be empty
conversation_get {"session_key": 7} field session_key: expected a text, got a number
conversation_get {"session_key": null} field session_key: expected a text, got null
conversation_get {"session_key": "a\nb"} session_key contains invalid control characters
messages_read {"session_key": "a", "limit": 201} field limit: expected a whole number from 1 to 200, got a number
attachments_fetch {"session_key": "a"} field message_id is missing
attachments_fetch {"session_key": "a", "message_id": ""} message_id must not be empty
events_poll {"after_cursor": -1} field after_cursor: expected a whole number that is not negative, got a number
events_poll {"after_cursor": "1"} field after_cursor: expected a whole number that is not negative, got a text
events_poll {"raw": 1} field raw: expected true or false, got a number
events_wait {"timeout_ms": 0} field timeout_ms: expected a whole number from 1 to 300000, got a number
events_wait {"timeout_ms": 300001} field timeout_ms: expected a whole number from 1 to 300000, got a number
messages_send {"session_key": "a"} field text is missing
messages_send {"session_key": "a", "text": ""} text must not be empty
messages_send {"session_key": "a", "text": "a\u0000b"} text contains invalid control characters
messages_send {"session_key": "a", "text": "b", "idempotency_key": " "} idempotency_key must not be empty
permissions_respond {"kind": "exec", "id": "a"} field decision is missing
permissions_respond {"kind": "other", "id": "a", "decision": "deny"} field kind: not one of its words
permissions_respond {"kind": "exec", "id": "a", "decision": "allow_once"} field decision: not one of its words
permissions_respond {"kind": "exec", "id": " ", "decision": "deny"} id must not be empty
"#;

#[tokio::test]
async fn bad_arguments_are_named_and_reach_no_gateway() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw, Scope::Approve]).await;
    for line in BAD.trim().lines() {
        let (tool, rest) = line.split_once(' ').expect("a tool");
        let (arguments, words) = rest.rsplit_once("} ").expect("arguments");
        let arguments = serde_json::from_str(&format!("{arguments}}}")).expect("JSON");
        let (code, said) = refused(&door, tool, arguments).await;
        assert_eq!((code.as_str(), said.as_str()), ("invalid_argument", words), "{line}");
    }
    for (tool, arguments, words) in [
        (
            "conversation_get",
            json!({"session_key": "x".repeat(1025)}),
            "session_key exceeds maximum length of 1024 characters",
        ),
        (
            "messages_send",
            json!({"session_key": HERE, "text": "é".repeat(100_001)}),
            "text exceeds maximum length of 100000 characters",
        ),
    ] {
        let (code, said) = refused(&door, tool, arguments).await;
        assert_eq!((code.as_str(), said.as_str()), ("invalid_argument", words), "{tool}");
    }
    let (code, said) = refused(&door, "conversations_list", json!({"instance": "nope"})).await;
    let words = "Unknown instance \"nope\". Available: lab, other";
    assert_eq!((code.as_str(), said.as_str()), ("unknown_instance", words));
    let asked = lab.lab.on_it().asked.len();
    assert_eq!(asked, 0, "nothing of it reached a gateway");
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
