//! The bridge before a real gateway: people write over Telegram, a client reads, answers, and has its own questions and the
//! agent's answered.

use serde_json::{Value, json};

use super::real::{Real, one, post, two};
use crate::mcp::bridge::Client;

async fn client(real: &Real, more: &[&str]) -> Client {
    let mut client = Client::to(real.text("url"), real.text("token"), more).await;
    client.until_done("events_poll").await;
    client
}

/// An owner writes to the bot.
async fn say(real: &Real, text: &str) {
    post(
        &format!("{}/_say", real.text("telegram")),
        json!({ "chat_id": 1001, "text": text }),
    )
    .await;
}

/// The first message of the bot with this text in it.
async fn arrived(real: &Real, text: &str) -> Value {
    let url =
        reqwest::Url::parse_with_params(&format!("{}/_wait", real.text("telegram")), [("text", text)]).expect("a url");
    let response = reqwest::get(url).await.expect("telegram answers");
    assert_eq!(response.status(), 200, "the bot never said {text}");
    response.json().await.expect("JSON")
}

/// What this test says can be told from what others say.
fn fresh(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

/// The parameters of the next notification of this kind that is about `word`.
async fn told(client: &mut Client, method: &str, word: &str) -> Value {
    loop {
        let told = client.told().await;
        if told["method"] == method && told["params"].to_string().contains(word) {
            return told["params"].clone();
        }
    }
}

/// The next event behind `cursor` that is as `wanted`.
async fn event(client: &mut Client, mut cursor: u64, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let asked = json!({"after_cursor": cursor, "timeout_ms": 120_000});
        let came = client.done("events_wait", asked).await;
        assert!(came["event"].is_object(), "it never happened: {came}");
        if wanted(&came["event"]) {
            return came["event"].clone();
        }
        cursor = came["next_cursor"].as_u64().expect("a cursor");
    }
}

#[tokio::test]
async fn people_and_a_client_talk_over_telegram() {
    let Some(real) = one() else { return };
    let mut client = client(&real, &[]).await;
    let word = fresh("bridged");
    say(&real, &format!("script:{}", json!({ "say": format!("{word} it is") }))).await;
    let said = told(&mut client, "notifications/claude/channel", &word).await;
    assert_eq!(said["meta"]["channel"], "telegram", "{said}");
    let key = said["meta"]["session_key"].as_str().expect("a key").to_owned();

    // Other tests have made newer sessions that came over no channel.
    let list = client
        .done("conversations_list", json!({"limit": 1, "channel": "telegram"}))
        .await;
    assert_eq!(list["conversations"][0]["sessionKey"], json!(key), "{list}");
    let one = client.done("conversation_get", json!({"session_key": key})).await;
    assert_eq!(one["conversation"]["to"], said["meta"]["to"], "{one}");

    let reply = event(&mut client, 0, |event| {
        event["role"] == "assistant" && event["text"].as_str().is_some_and(|text| text.contains(&word))
    })
    .await;
    assert_eq!(reply["sessionKey"], json!(key), "{reply}");
    assert!(reply["raw"].is_null() && reply.to_string().len() < 1500, "{reply}");
    let read = client
        .done("messages_read", json!({"session_key": key, "limit": 200}))
        .await;
    let messages = read["messages"].as_array().expect("messages");
    let ours = messages.iter().filter(|message| message.to_string().contains(&word));
    let roles: Vec<&str> = ours.filter_map(|message| message["role"].as_str()).collect();
    assert!(roles.contains(&"user") && roles.contains(&"assistant"), "{roles:?}");

    let fetch = json!({"session_key": key, "message_id": reply["messageId"]});
    let fetched = client.done("attachments_fetch", fetch).await;
    assert_eq!(
        (&fetched["attachments"], &fetched["message"]["role"]),
        (&json!([]), &json!("assistant"))
    );
    let stale = json!({"session_key": key, "message_id": "no-such-message"});
    assert_eq!(
        client.refused("attachments_fetch", stale).await,
        "message not found: no-such-message"
    );
    let gone = json!({"session_key": "agent:main:no-such-session"});
    let said = client.refused("conversation_get", gone).await;
    assert_eq!(said, "conversation not found: agent:main:no-such-session");

    let answer = fresh("answer");
    let send = json!({"session_key": key, "text": format!("{answer} from the client"), "idempotency_key": answer});
    let sent = client.done("messages_send", send.clone()).await;
    let there = arrived(&real, &answer).await;
    assert_eq!(
        there["chat_id"]
            .as_str()
            .map_or(there["chat_id"].to_string(), str::to_owned),
        "1001",
        "{there}"
    );
    assert_eq!(
        sent["result"]["messageId"],
        json!(there["message_id"].to_string()),
        "{sent}"
    );
    let again = client.done("messages_send", send).await;
    assert_eq!(
        again["result"]["messageId"], sent["result"]["messageId"],
        "the same key arrives once"
    );
    client.leave().await;
}

#[tokio::test]
async fn an_owner_answers_the_clients_question_over_telegram() {
    let Some(real) = one() else { return };
    let mut client = client(&real, &["--claude-channel-mode", "on"]).await;
    let asks = |id: &str| json!({ "request_id": id, "tool_name": "Bash", "description": "d", "input_preview": "{}" });
    for id in ["kmnop", "qrstu"] {
        client
            .notify("notifications/claude/channel/permission_request", asks(id))
            .await;
    }
    event(&mut client, 0, |event| event["requestId"] == "qrstu").await;
    for (text, id, behavior) in [("yes kmnop", "kmnop", "allow"), ("No QRSTU", "qrstu", "deny")] {
        say(&real, text).await;
        let answered = told(&mut client, "notifications/claude/channel/permission", id).await;
        assert_eq!(answered, json!({ "request_id": id, "behavior": behavior }));
    }
    client.leave().await;
}

#[tokio::test]
async fn what_an_agent_wants_to_do_is_listed_answered_and_done() {
    let Some(real) = one() else { return };
    let mut client = client(&real, &["--admin", "--self-approval"]).await;
    let mut plain = self::client(&real, &[]).await;
    let word = fresh("approve");
    let tool = json!({ "name": "exec", "arguments": { "command": format!("echo {word}") } });
    say(&real, &format!("script:{}", json!({ "tool": tool }))).await;
    let asked = event(&mut client, 0, |event| {
        event["type"] == "exec_approval_requested" && event["approval"].to_string().contains(&word)
    })
    .await;
    let (id, session) = (asked["approval"]["id"].clone(), asked["sessionKey"].clone());
    assert_eq!(asked["approval"]["decisions"], json!(["allow-once", "deny"]), "{asked}");
    let open = client
        .done("permissions_list_open", json!({"session_key": session}))
        .await;
    let ours = |approval: &&Value| approval["id"] == id;
    let listed = open["approvals"].as_array().expect("approvals").iter().find(ours);
    assert_eq!(listed.expect("is listed")["kind"], "exec");

    // A client that didn't ask for more is told what it lacks, and neither sees nor answers.
    let said = plain
        .refused("permissions_list_open", json!({"session_key": session}))
        .await;
    assert!(said.contains("operator.admin"), "{said}");
    let answer = |decision: &str| json!({"kind": "exec", "id": id, "decision": decision});
    let said = plain.refused("permissions_respond", answer("allow-once")).await;
    assert!(said.contains("can't answer"), "{said}");

    let said = client.refused("permissions_respond", answer("allow-always")).await;
    assert!(said.contains("APPROVAL_ALLOW_ALWAYS_UNAVAILABLE"), "{said}");
    client.done("permissions_respond", answer("allow-once")).await;
    let since = asked["cursor"].as_u64().expect("a cursor");
    let done = event(&mut client, since, |event| {
        let text = event["text"].as_str().unwrap_or_default();
        event["role"] == "assistant" && text.contains("the tool said") && text.contains(&word)
    })
    .await;
    assert!(!done["text"].as_str().expect("a text").contains("denied"), "{done}");
    let resolved = event(&mut client, since, |event| {
        event["type"] == "exec_approval_resolved" && event["approval"]["id"] == id
    })
    .await;
    assert_eq!(
        (&resolved["sessionKey"], &resolved["approval"]["decision"]),
        (&session, &json!("allow-once"))
    );
    let said = client.refused("permissions_respond", answer("deny")).await;
    assert!(said.contains("APPROVAL_ALREADY_RESOLVED"), "{said}");
    client.leave().await;
    plain.leave().await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_is_told_and_found_again() {
    let Some(real) = two().await else { return };
    let mut client = client(&real, &[]).await;
    real.kill().await;
    let said = client.refused("conversations_list", json!({})).await;
    assert!(!said.contains("127.0.0.1"), "{said}");
    real.start(json!({})).await;
    client.until_done("conversations_list").await;
    let gap = event(&mut client, 0, |event| event["type"] == "gap").await;
    assert_eq!(gap["cursor"], 1, "{gap}");
    client.leave().await;
}
