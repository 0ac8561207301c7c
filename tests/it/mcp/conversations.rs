//! The tools for conversations, as a client sees them: names and words are those of `openclaw mcp serve` 2026.9.6, and what
//! that one hides or loses is told.

mod bad;
mod events;
mod messages;
mod permissions;

use clawhand::lifecycle::Lifecycle;

use super::*;
use crate::gateway::scripted::board::{Board, approval, message, row, told};

/// An installation with the instance `lab`, which is the default, and `other`.
struct Lab {
    lab: Board,
    other: Board,
    control: Control,
    lifecycle: Lifecycle,
    _folder: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

impl Lab {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more keys in the table of `lab`.
    async fn with(more: &str) -> Self {
        let (lab, other) = (Board::start().await, Board::start().await);
        let tables = format!(
            "[[gateway]]\nname = \"lab\"\nurl = \"{}\"\ntoken = {{ env = \"LAB_TOKEN\" }}\n{more}\n\
             [[gateway]]\nname = \"other\"\nurl = \"{}\"\ntoken = {{ env = \"LAB_TOKEN\" }}\n",
            lab.url(),
            other.url()
        );
        let lifecycle = Lifecycle::new();
        let (home, folder) = home_with(&tables, lifecycle.clone()).await;
        Self {
            lab,
            other,
            control: home.control(None),
            lifecycle,
            _folder: folder,
        }
    }

    async fn door(&self, scopes: &[Scope]) -> Door {
        Door::before(self.control.clone(), HttpSettings::default(), Some(caller(scopes))).await
    }

    /// The door of those who may talk.
    async fn open(&self) -> Door {
        self.door(&[Scope::Openclaw]).await
    }
}

/// The structured content and the text of an answer that is no refusal.
async fn done(door: &Door, tool: &str, arguments: Value) -> (Value, String) {
    let answer = door.call(MODERN, tool, arguments).await;
    assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
    let text = answer["result"]["content"][0]["text"].as_str().expect("a text");
    (answer["result"]["structuredContent"].clone(), text.to_owned())
}

/// The refusal: its code, and its message, which the text is, too.
async fn refused(door: &Door, tool: &str, arguments: Value) -> (String, String) {
    let answer = door.call(MODERN, tool, arguments).await;
    assert_eq!(answer["result"]["isError"], true, "{tool}: {answer}");
    let content = &answer["result"]["structuredContent"];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert_eq!(content["message"], answer["result"]["content"][0]["text"], "{answer}");
    assert!(!text(&content["hint"]).is_empty(), "{answer}");
    (text(&content["code"]), text(&content["message"]))
}

/// A tool a line: what it takes, `*` where it must be there, and whether it changes nothing.
const TAKES: &str = "
conversations_list: channel includeDerivedTitles includeLastMessage instance limit search reads
conversation_get: instance session_key* reads
messages_read: instance limit session_key* reads
attachments_fetch: instance limit message_id* session_key* reads
events_poll: after_cursor instance limit raw session_key reads
events_wait: after_cursor instance raw session_key timeout_ms reads
messages_send: idempotency_key instance session_key* text*
permissions_list_open: instance session_key reads
permissions_respond: decision* id* instance kind*";

#[tokio::test]
async fn the_tools_take_what_they_took() {
    let lab = Lab::new().await;
    let door = lab.open().await;
    let listed = door.answer(MODERN, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let find = |name: &str| tools.iter().find(|tool| tool["name"] == name).expect("is there");
    for line in TAKES.trim().lines() {
        let (name, takes) = line.split_once(": ").expect("a name");
        let tool = find(name);
        let schema = &tool["inputSchema"];
        let required = |field: &str| {
            let names = schema["required"].as_array();
            names.is_some_and(|names| names.contains(&json!(field)))
        };
        let mark = |field: &String| format!("{field}{}", if required(field) { "*" } else { "" });
        let mut has: Vec<String> = schema["properties"]
            .as_object()
            .expect("fields")
            .keys()
            .map(mark)
            .collect();
        has.sort_unstable();
        has.extend((tool["annotations"]["readOnlyHint"] == true).then(|| "reads".to_owned()));
        assert_eq!(has.join(" "), takes, "{name}");
        let more = &schema["additionalProperties"];
        assert!(more.is_null(), "{name}: what is unknown is ignored");
        assert!(tool["outputSchema"].is_object() && tool["title"].is_string(), "{name}");
        assert_eq!(tool["annotations"]["openWorldHint"], true, "{name}");
    }
    for (name, field, most) in [
        ("conversations_list", "limit", 500),
        ("messages_read", "limit", 200),
        ("attachments_fetch", "limit", 200),
        ("events_poll", "limit", 200),
        ("events_wait", "timeout_ms", 300_000),
    ] {
        let schema = &find(name)["inputSchema"]["properties"][field];
        assert_eq!(
            (&schema["minimum"], &schema["maximum"]),
            (&json!(1), &json!(most)),
            "{name}"
        );
    }
    let words = |field: &str| find("permissions_respond")["inputSchema"]["properties"][field]["enum"].clone();
    assert_eq!(words("kind"), json!(["exec", "plugin"]));
    assert_eq!(words("decision"), json!(["allow-once", "allow-always", "deny"]));
}

#[tokio::test]
async fn they_are_for_those_who_may_talk_and_approvals_for_those_who_answer() {
    let lab = Lab::new().await;
    let list = async |scopes: &[Scope]| {
        let listed = lab.door(scopes).await.answer(MODERN, "tools/list", json!({})).await;
        let names: Vec<String> = names(&listed).into_iter().map(str::to_owned).collect();
        names
    };
    assert_eq!(list(&[Scope::Openclaw]).await.len(), 17);
    assert_eq!(list(&[Scope::Tasks]).await.len(), 9);
    assert_eq!(
        list(&[Scope::Approve]).await,
        [
            "list_targets",
            "permissions_list_open",
            "permissions_respond",
            "respond_to_approval"
        ]
    );
    let door = lab.door(&[Scope::Tasks]).await;
    for tool in ["conversations_list", "events_poll", "permissions_list_open"] {
        assert_eq!(refused_code(&door, tool, json!({})).await, "not_allowed");
    }
    let door = lab.door(&[Scope::Approve]).await;
    assert_eq!(
        refused_code(&door, "conversations_list", json!({})).await,
        "not_allowed"
    );
    let without = Door::usual().await;
    let unknown = without.call(MODERN, "conversations_list", json!({})).await;
    assert!(unknown["error"].is_object(), "{unknown}");
    assert!(
        lab.lab.on_it().asked.is_empty(),
        "nobody was let through to the gateway"
    );
}

async fn refused_code(door: &Door, tool: &str, arguments: Value) -> String {
    let answer = door.call(MODERN, tool, arguments).await;
    let code = &answer["result"]["structuredContent"]["code"];
    code.as_str()
        .unwrap_or_else(|| panic!("not refused: {answer}"))
        .to_owned()
}

#[tokio::test]
async fn every_tool_goes_to_the_instance_that_is_named() {
    const THERE: &str = "agent:main:telegram:1";
    let lab = Lab::new().await;
    let door = lab.open().await;
    {
        let mut other = lab.other.on_it();
        other.sessions = vec![row(THERE, "telegram:1")];
        let messages = vec![message("m1", "user", "hello")];
        other.messages = [(THERE.to_owned(), messages)].into();
        other.exec = vec![approval("own", THERE, 5)];
    }
    let begin = done(&door, "events_poll", json!({"instance": "other"})).await.0["next_cursor"].clone();
    lab.other.event("session.message", told(THERE, "m2", "there"));
    for (tool, arguments, shows) in [
        ("conversations_list", json!({}), THERE),
        ("conversation_get", json!({"session_key": THERE}), THERE),
        ("messages_read", json!({"session_key": THERE}), "hello"),
        (
            "attachments_fetch",
            json!({"session_key": THERE, "message_id": "m1"}),
            "attachments",
        ),
        (
            "events_wait",
            json!({"after_cursor": begin, "session_key": THERE}),
            "there",
        ),
        ("messages_send", json!({"session_key": THERE, "text": "hi"}), "telegram"),
        ("permissions_list_open", json!({}), "own"),
    ] {
        let mut arguments = arguments;
        arguments["instance"] = json!("other");
        let (content, _) = done(&door, tool, arguments).await;
        assert!(content.to_string().contains(shows), "{tool}: {content}");
    }
    let person = lab.door(&[Scope::Approve]).await;
    let answer = json!({"kind": "exec", "id": "own", "decision": "deny", "instance": "other"});
    done(&person, "permissions_respond", answer).await;
    assert_eq!(lab.other.asked("exec.approval.resolve").len(), 1);
    assert_eq!(lab.other.asked("send").len(), 1);
    let asked = &lab.lab.on_it().asked;
    assert!(asked.is_empty(), "the other one heard of nothing");
}
