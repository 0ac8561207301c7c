//! The tools for OpenClaw, as a client sees them: what they take, what they say, and how they end.

mod replay;

use std::collections::BTreeMap;

use clawhand::app::Home;
use clawhand::lifecycle::Lifecycle;

use super::*;
use crate::gateway::scripted::Scripted;
use crate::gateway::scripted::http::Play;

const OLD: &str = "2025-11-25";
const MEGABYTE: usize = 1 << 20;

/// An installation with two instances, of which the second is the default.
struct Lab {
    lab: Scripted,
    prod: Scripted,
    control: Control,
    home: Home,
    _folder: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let (lab, prod) = (Scripted::start().await, Scripted::start().await);
        let tables = format!(
            "[[gateway]]\nname = \"lab\"\nurl = \"http://{}\"\ntoken = {{ env = \"LAB_TOKEN\" }}\nshow_url = true\n\
             [[gateway]]\nname = \"prod\"\nurl = \"http://{}\"\ntoken = {{ env = \"LAB_TOKEN\" }}\ndefault = true\n",
            lab.address, prod.address
        );
        let (home, folder) = home_with(&tables, Lifecycle::new()).await;
        Self {
            lab,
            prod,
            control: home.control(None),
            home,
            _folder: folder,
        }
    }

    async fn door(&self, scopes: &[Scope]) -> Door {
        Door::before(self.control.clone(), HttpSettings::default(), Some(caller(scopes))).await
    }
}

fn said(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().expect("a text")
}

#[tokio::test]
async fn the_tools_are_there_for_those_who_may_and_where_there_is_a_gateway() {
    let lab = Lab::new().await;
    let list = |scopes: &'static [Scope]| async {
        let door = lab.door(scopes).await;
        door.answer(MODERN, "tools/list", json!({})).await
    };
    let listed = list(&[Scope::Openclaw]).await;
    let of_chats: Vec<_> = names(&listed)
        .into_iter()
        .filter(|name| name.contains("openclaw"))
        .collect();
    assert_eq!(
        of_chats,
        [
            "openclaw_chat",
            "openclaw_chat_async",
            "openclaw_instances",
            "openclaw_status",
            "openclaw_task_cancel",
            "openclaw_task_list",
            "openclaw_task_status"
        ]
    );
    assert_eq!(names(&list(&[Scope::Tasks]).await).len(), 9);
    let door = lab.door(&[Scope::Tasks]).await;
    let refused = door.call(MODERN, "openclaw_instances", json!({})).await;
    assert_eq!(
        refused["result"]["structuredContent"]["code"], "not_allowed",
        "{refused}"
    );
    let without = Door::usual().await;
    let unknown = without.call(MODERN, "openclaw_instances", json!({})).await;
    assert!(unknown["error"].is_object(), "{unknown}");
}

#[tokio::test]
async fn names_and_arguments_are_those_of_openclaw_mcp() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let listed = door.answer(MODERN, "tools/list", json!({})).await;
    let tools: BTreeMap<&str, &Value> = listed["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|tool| (tool["name"].as_str().expect("a name"), tool))
        .collect();
    for (name, takes, required) in [
        (
            "openclaw_chat",
            vec!["instance", "message", "session_id"],
            json!(["message"]),
        ),
        ("openclaw_status", vec!["instance"], Value::Null),
        ("openclaw_instances", vec![], Value::Null),
    ] {
        let schema = &tools[name]["inputSchema"];
        let mut properties: Vec<&str> = schema["properties"]
            .as_object()
            .expect("fields")
            .keys()
            .map(String::as_str)
            .collect();
        properties.sort_unstable();
        assert_eq!((properties, &schema["required"]), (takes, &required), "{name}");
        assert_eq!(
            schema["additionalProperties"],
            Value::Null,
            "{name}: what is unknown is ignored"
        );
        assert!(
            tools[name]["outputSchema"].is_object() && tools[name]["title"].is_string(),
            "{name}"
        );
    }
    let hints = &tools["openclaw_chat"]["annotations"];
    assert_eq!(
        (&hints["readOnlyHint"], &hints["openWorldHint"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn a_chat_answers_with_the_reply_itself() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let arguments = json!({"message": "  Grüße 東京\n ", "session_id": "s-1", "unknown": [1]});
    for revision in [OLD, MODERN] {
        let answer = door.call(revision, "openclaw_chat", arguments.clone()).await;
        assert_eq!(said(&answer), "Grüße 東京", "{answer}");
        let content = &answer["result"]["structuredContent"];
        assert_eq!(content["response"], "Grüße 東京");
        assert_eq!(
            (&content["instance"], &content["session_id"]),
            (&json!("prod"), &json!("s-1"))
        );
        assert_eq!(
            (&content["finish_reason"], &content["usage"]["total_tokens"]),
            (&json!("stop"), &json!(18))
        );
    }
    assert_eq!(lab.prod.desk.chats()[1].header("x-openclaw-session-key"), Some("s-1"));
    let answer = door
        .call(
            MODERN,
            "openclaw_chat",
            json!({"message": "hi", "instance": " lab ", "session_id": null}),
        )
        .await;
    assert_eq!((said(&answer), lab.lab.desk.chats().len()), ("hi", 1));
    // As long as it may be, in a script that takes three bytes a character.
    let longest = "東".repeat(100_000);
    let answer = door.call(MODERN, "openclaw_chat", json!({"message": longest})).await;
    assert_eq!(said(&answer), longest);
}

/// A refusal in these words and with this code.
fn expect_refused(answer: &Value, words: &str, code: &str) {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(said(answer), format!("Error: {words}"));
    assert_eq!(answer["result"]["structuredContent"]["code"], code, "{answer}");
}

#[tokio::test]
async fn bad_calls_are_told_in_the_words_that_clients_know() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let (long, long_id) = ("x".repeat(100_001), "x".repeat(257));
    let with = |session: Value| json!({"message": "a", "session_id": session});
    for (arguments, words) in [
        (json!({}), "message must be a string"),
        (json!({"message": null}), "message must be a string"),
        (json!({"message": 5}), "message must be a string"),
        (json!({"message": " \n"}), "message must not be empty"),
        (
            json!({"message": long}),
            "message exceeds maximum length of 100000 characters",
        ),
        (
            json!({"message": "a\u{1b}[0m"}),
            "message contains invalid control characters",
        ),
        (json!({"message": "a\0"}), "message contains invalid control characters"),
        (with(json!([])), "session_id must be a string"),
        (with(json!(" ")), "session_id must not be empty"),
        (
            with(json!(long_id)),
            "session_id exceeds maximum length of 256 characters",
        ),
        (with(json!("a\r\nb")), "session_id contains invalid control characters"),
        (json!({"message": "a", "instance": ""}), "instance must not be empty"),
    ] {
        let answer = door.call(MODERN, "openclaw_chat", arguments).await;
        expect_refused(&answer, words, "invalid_argument");
    }
    for tool in ["openclaw_chat", "openclaw_status"] {
        let answer = door
            .call(MODERN, tool, json!({"message": "a", "instance": "nope"}))
            .await;
        let words = "Unknown instance \"nope\". Available: lab, prod";
        expect_refused(&answer, words, "unknown_instance");
    }
    assert!(lab.prod.desk.asked().is_empty(), "nothing of it reached a gateway");
}

#[tokio::test]
async fn a_gateway_that_fails_is_told_in_its_own_words() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let hi = json!({"message": "hi"});
    let error = json!({"error": {"message": "agent is busy", "type": "overloaded"}}).to_string();
    lab.prod
        .desk
        .play([Play::Answer(429, "application/json", error.into())]);
    let answer = door.call(MODERN, "openclaw_chat", hi.clone()).await;
    let words = "API request failed: 429 Too Many Requests: agent is busy (overloaded)";
    expect_refused(&answer, words, "gateway_refused");
    assert_eq!(answer["result"]["structuredContent"]["retryable"], true);
    let flood = [Play::Begin]
        .into_iter()
        .chain(vec![Play::Text("x".repeat(MEGABYTE)); 11]);
    lab.prod.desk.play(flood);
    let answer = door.call(MODERN, "openclaw_chat", hi).await;
    expect_refused(&answer, "Response exceeds maximum allowed size (10MB)", "too_large");
}

#[tokio::test]
async fn instances_and_their_status_are_listed_without_what_is_private() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let answer = door.call(MODERN, "openclaw_instances", json!({})).await;
    let expected = json!({"instances": [
        {"name": "lab", "url": format!("http://{}", lab.lab.address), "isDefault": false},
        {"name": "prod", "url": "[private]", "isDefault": true},
    ], "total": 2});
    assert_eq!(answer["result"]["structuredContent"], expected);
    assert_eq!(said(&answer), serde_json::to_string_pretty(&expected).expect("JSON"));

    let status = async |instance: &str| {
        let answer = door
            .call(MODERN, "openclaw_status", json!({"instance": instance}))
            .await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        let content = answer["result"]["structuredContent"].clone();
        assert_eq!(serde_json::from_str::<Value>(said(&answer)).expect("JSON"), content);
        content
    };
    let well = status("lab").await;
    assert_eq!(
        (&well["status"], &well["state"], &well["instance"]),
        (&json!("ok"), &json!("ready"), &json!("lab"))
    );
    lab.lab.desk.be(|manner| manner.token = "another".into());
    let ill = status("lab").await;
    assert_eq!(
        (&ill["status"], &ill["state"]),
        (&json!("error"), &json!("wrong_token")),
        "{ill}"
    );
    let Lab { lab, prod, .. } = lab;
    drop((lab, prod));
    let gone = status("prod").await;
    assert_eq!(
        (&gone["status"], &gone["state"]),
        (&json!("error"), &json!("unreachable")),
        "{gone}"
    );
}

#[tokio::test]
async fn a_reply_never_carries_the_token_or_the_address() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let message = format!("my token is {TOKEN} and I am at http://{}", lab.prod.address);
    let answer = door.call(MODERN, "openclaw_chat", json!({"message": message})).await;
    let all = answer.to_string();
    assert!(
        !all.contains(TOKEN) && !all.contains(&lab.prod.address.to_string()),
        "{all}"
    );
    assert!(
        said(&answer).starts_with("my token is [") && said(&answer).contains("[private]"),
        "{all}"
    );
    assert!(!lab.home.config.show().expect("shows").contains(TOKEN));
}

#[tokio::test]
async fn progress_is_told_while_text_arrives_and_a_cancelled_call_ends_the_run() {
    let lab = Lab::new().await;
    let mut client = Piped::to(&lab.control, caller(&[Scope::Openclaw])).await;
    let call = |id: u64, meta: Value| {
        let params = json!({"name": "openclaw_chat", "arguments": {"message": "hi"}, "_meta": meta});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    lab.prod.desk.play([
        Play::Begin,
        Play::Text("東京".into()),
        Play::Gate,
        Play::Text("!".into()),
        Play::Gate,
        Play::Done,
    ]);
    client.send(call(1, json!({"progressToken": "t"}))).await;
    for characters in [2.0, 3.0] {
        let told = client.next().await;
        assert_eq!(told["method"], "notifications/progress", "{told}");
        assert_eq!(
            (&told["params"]["progressToken"], &told["params"]["progress"]),
            (&json!("t"), &json!(characters))
        );
        lab.prod.desk.open();
    }
    let answer = client.next().await;
    assert_eq!((&answer["id"], said(&answer)), (&json!(1), "東京!"));
    for (at, meta) in [(1, json!({})), (2, json!({"progressToken": "t"}))] {
        lab.prod.desk.play([Play::Begin, Play::Hang]);
        client.send(call(7, meta)).await;
        lab.prod.desk.until_chats(1 + at as usize).await;
        client.cancel(7).await;
        lab.prod.desk.until_left(at).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_run() {
    let lab = Lab::new().await;
    let door = lab.door(&[Scope::Openclaw]).await;
    let mut gone = 0;
    for meta in [json!({}), json!({"progressToken": 1})] {
        for revision in [OLD, MODERN] {
            lab.prod.desk.play([Play::Begin, Play::Text("a".into()), Play::Hang]);
            let params = json!({"name": "openclaw_chat", "arguments": {"message": "hi"}, "_meta": meta});
            let request = door.request(revision, "tools/call", params);
            let asking = async {
                let mut response = request.send().await.expect("a beginning");
                while response.chunk().await.expect("a chunk").is_some() {}
            };
            gone += 1;
            tokio::select! {
                () = asking => panic!("answered without a reply"),
                () = lab.prod.desk.until_chats(gone as usize) => {}
            }
            lab.prod.desk.until_left(gone).await;
        }
    }
}
