//! Finding conversations, reading them, answering in them.

use super::*;
use crate::gateway::scripted::board::{message, row, unrouted};

const HERE: &str = "agent:main:telegram:1";

fn keys(content: &Value) -> Vec<&str> {
    let rows = content["conversations"].as_array().expect("conversations");
    rows.iter().filter_map(|row| row["sessionKey"].as_str()).collect()
}

/// The idempotency keys of what was sent.
fn sent_keys(lab: &Lab) -> Vec<Value> {
    let sent = lab.lab.asked("send");
    sent.iter().map(|sent| sent["idempotencyKey"].clone()).collect()
}

#[tokio::test]
async fn a_small_limit_finds_what_is_far_down() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    {
        let mut board = lab.lab.on_it();
        board.sessions = (0..450)
            .map(|number| unrouted(&format!("agent:main:{number}")))
            .collect();
        let mut slack = row("agent:main:slack:7", "channel:7");
        slack["deliveryContext"] = json!({ "channel": "Slack", "to": "channel:9", "threadId": 5 });
        board.sessions.extend([
            row(HERE, "telegram:1"),
            slack,
            row("agent:main:telegram:2", "telegram:2"),
        ]);
    }
    let (content, text) = done(&door, "conversations_list", json!({"limit": 1})).await;
    let expected = json!({
        "sessionKey": HERE, "channel": "telegram", "to": "telegram:1", "accountId": "default",
        "displayName": "chat with telegram:1", "updatedAt": 1_795_000_000_000_u64,
    });
    assert_eq!(content, json!({ "conversations": [expected] }));
    let (head, json) = text.split_once("\n\n").expect("a line and JSON");
    assert_eq!(head, "conversations: 1");
    assert_eq!(serde_json::from_str::<Value>(json).expect("JSON"), content);

    let (content, _) = done(&door, "conversations_list", json!({"channel": " SLACK ", "limit": 500})).await;
    assert_eq!(keys(&content), ["agent:main:slack:7"]);
    let slack = &content["conversations"][0];
    assert_eq!((&slack["to"], &slack["threadId"]), (&json!("channel:9"), &json!("5")));
    let (content, _) = done(&door, "conversations_list", json!({})).await;
    assert_eq!(keys(&content).len(), 3);
    let (content, _) = done(
        &door,
        "conversations_list",
        json!({"search": "telegram:2", "includeLastMessage": false}),
    )
    .await;
    assert_eq!(keys(&content), ["agent:main:telegram:2"]);
    let asked = lab.lab.asked("sessions.list").pop().expect("asked");
    let expected = json!({
        "limit": 200, "offset": 0, "search": "telegram:2", "includeDerivedTitles": true, "includeLastMessage": false,
    });
    assert_eq!(asked, expected);
    assert!(lab.other.on_it().asked.is_empty());
    let (content, text) = done(&door, "conversations_list", json!({"instance": "other"})).await;
    assert_eq!(
        (keys(&content).len(), text.lines().next()),
        (0, Some("conversations: 0"))
    );
}

#[tokio::test]
async fn so_many_sessions_that_not_all_were_looked_at_is_told() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    lab.lab.on_it().sessions = (0..10_001)
        .map(|number| unrouted(&format!("agent:main:{number}")))
        .collect();
    let (content, _) = done(&door, "conversations_list", json!({})).await;
    assert_eq!(content, json!({ "conversations": [], "truncated": true }));
    assert_eq!(lab.lab.asked("sessions.list").len(), 50);
}

#[tokio::test]
async fn one_is_got_and_read() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    {
        let mut board = lab.lab.on_it();
        board.sessions = vec![row(HERE, "telegram:1"), unrouted("agent:main:silent")];
        let mut picture = message("m2", "user", "look");
        picture["content"] = json!([{ "type": "text", "text": "look" }, { "type": "image", "data": "aGk=" }]);
        picture["__openclaw"]["media"] = json!([{ "kind": "document", "fileName": "a.pdf" }]);
        let all = vec![message("m1", "user", "hi"), picture, message("m3", "assistant", "seen")];
        board.messages.insert(HERE.to_owned(), all);
    }
    let (content, text) = done(&door, "conversation_get", json!({"session_key": HERE})).await;
    assert_eq!(
        (&content["conversation"]["to"], text.as_str()),
        (&json!("telegram:1"), "conversation agent:main:telegram:1")
    );
    for key in ["agent:main:silent", "agent:main:gone"] {
        let not_found = ("not_found".to_owned(), format!("conversation not found: {key}"));
        assert_eq!(
            refused(&door, "conversation_get", json!({"session_key": key})).await,
            not_found
        );
        assert_eq!(
            refused(&door, "messages_send", json!({"session_key": key, "text": "x"})).await,
            not_found
        );
    }

    let (content, text) = done(&door, "messages_read", json!({"session_key": HERE, "limit": 2})).await;
    let ids: Vec<_> = content["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter_map(|one| one["__openclaw"]["id"].as_str())
        .collect();
    assert_eq!((ids, text.lines().next()), (vec!["m2", "m3"], Some("messages: 2")));
    let (content, _) = done(&door, "messages_read", json!({"session_key": "agent:main:gone"})).await;
    assert_eq!(
        content,
        json!({ "messages": [] }),
        "as the gateway says of a session that it doesn't know"
    );
    let asked = lab.lab.asked("sessions.get");
    assert_eq!(asked[1], json!({ "key": "agent:main:gone", "limit": 20 }));

    let fetch = json!({"session_key": HERE, "message_id": "m2"});
    let (content, text) = done(&door, "attachments_fetch", fetch.clone()).await;
    let media = json!({ "type": "openclaw_media", "media": { "kind": "document", "fileName": "a.pdf" } });
    assert_eq!(
        content["attachments"],
        json!([{ "type": "image", "data": "aGk=" }, media])
    );
    assert_eq!(
        (&content["message"]["__openclaw"]["id"], text.as_str()),
        (&json!("m2"), "attachments: 2")
    );
    let stale = json!({"session_key": HERE, "message_id": "m9"});
    let not_found = ("not_found".to_owned(), "message not found: m9".to_owned());
    assert_eq!(refused(&door, "attachments_fetch", stale.clone()).await, not_found);
    // A gateway that can't find a message by its id says that the scope is missing.
    let details = json!({ "code": "MISSING_SCOPE", "missingScope": "operator.admin" });
    let error = json!({ "code": "FORBIDDEN", "message": "missing scope", "details": details });
    lab.lab.on_it().refuses.insert("chat.message.get", error);
    assert_eq!(done(&door, "attachments_fetch", fetch).await.1, "attachments: 2");
    assert_eq!(refused(&door, "attachments_fetch", stale).await, not_found);
}

#[tokio::test]
async fn an_answer_goes_back_where_the_conversation_comes_from() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    lab.lab.on_it().sessions = vec![row(HERE, "telegram:1")];
    let text = "  two\nlines, 東京 🦀\n";
    let (content, said) = done(&door, "messages_send", json!({"session_key": HERE, "text": text})).await;
    assert_eq!((&content["result"]["messageId"], said.as_str()), (&json!("77"), "sent"));
    let mut sent = lab.lab.asked("send").pop().expect("sent");
    let key = sent
        .as_object_mut()
        .expect("an object")
        .remove("idempotencyKey")
        .expect("a key");
    let expected = json!({
        "to": "telegram:1", "channel": "telegram", "accountId": "default", "sessionKey": HERE, "message": text,
    });
    assert_eq!(sent, expected);

    let own = json!({"session_key": HERE, "text": text, "idempotency_key": "mine"});
    for _ in 0..2 {
        done(&door, "messages_send", own.clone()).await;
    }
    let keys = sent_keys(&lab);
    assert_eq!(keys[1], keys[2]);
    assert!(keys[0] == key && key != keys[1] && keys[1] != "mine", "{keys:?}");
}

#[tokio::test]
async fn a_message_that_may_have_been_sent_is_not_sent_on_a_guess() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    {
        let mut board = lab.lab.on_it();
        board.sessions = vec![row(HERE, "telegram:1")];
        board.breaks_at = Some("send");
    }
    // The same run of the gateway knows the key: it is asked again.
    let (_, said) = done(&door, "messages_send", json!({"session_key": HERE, "text": "x"})).await;
    let keys = sent_keys(&lab);
    assert_eq!((said.as_str(), keys.len()), ("sent", 2));
    assert_eq!(keys[0], keys[1]);
}
