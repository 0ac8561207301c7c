//! The wire types against what a real gateway and its client said to each other, and against what each method takes.

use std::collections::BTreeMap;

use clawhand::gateway::wire::{
    self, AgentRun, AgentWait, ApprovalGet, ApprovalResolve, Challenge, ChatAbort, ChatHistory, ChatMessageGet,
    ChatSend, Decision, Event, Frame, Hello, IdempotencyKey, Method, Nothing, SendMessage, SessionMessages,
    SessionsAbort, SessionsDescribe, SessionsGet, SessionsList, Trouble,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A line of the recording.
struct Line {
    connection: u64,
    is_from_gateway: bool,
    frame: Value,
}

fn recorded() -> Vec<Line> {
    let text = include_str!("../../fixtures/openclaw/frames.jsonl");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| line.get("frame").is_some())
        .map(|line| Line {
            connection: line["connection"].as_u64().expect("a number"),
            is_from_gateway: line["from"] == "gateway",
            frame: line["frame"].clone(),
        })
        .collect()
}

/// The requests of the recording by connection and id.
fn requests() -> BTreeMap<(u64, String), (String, Value)> {
    let asked = recorded().into_iter().filter(|line| !line.is_from_gateway);
    asked
        .map(|line| {
            let text = |key: &str| line.frame[key].as_str().expect("a text").to_owned();
            (
                (line.connection, text("id")),
                (text("method"), line.frame["params"].clone()),
            )
        })
        .collect()
}

#[test]
fn every_event_is_read_as_what_it_is() {
    let mut read = BTreeMap::new();
    for line in recorded().into_iter().filter(|line| line.is_from_gateway) {
        let Frame::Event { name, payload, .. } = Frame::parse(&line.frame.to_string()).expect("a frame") else {
            continue;
        };
        if name == "connect.challenge" {
            let challenge: Challenge = serde_json::from_str(payload.get()).expect("a challenge");
            assert!(challenge.ts.is_some());
            continue;
        }
        let event = Event::read(name.clone(), payload);
        if let Event::SessionMessage(message) = &event {
            assert!(
                message.message.id().is_some() && message.message.seq().is_some(),
                "{message:?}"
            );
            assert_eq!(message.message_id.as_deref(), message.message.id());
            assert!(message.session.is_some(), "{message:?}");
        }
        *read.entry((name, !matches!(event, Event::Other { .. }))).or_insert(0) += 1;
    }
    let kinds = |known: bool| -> Vec<&str> {
        let found = read.keys().filter(|(_, is_known)| *is_known == known);
        found.map(|(name, _)| name.as_str()).collect()
    };
    let expected = [
        "agent",
        "chat",
        "exec.approval.requested",
        "exec.approval.resolved",
        "plugin.approval.resolved",
        "session.message",
        "sessions.changed",
        "shutdown",
        "tick",
    ];
    assert_eq!(kinds(true), expected);
    assert_eq!(kinds(false), ["health", "session.tool", "task"]);
}

#[test]
fn every_reply_is_read_as_its_method_gives_it() {
    let requests = requests();
    let mut read = 0;
    for line in recorded().into_iter().filter(|line| line.is_from_gateway) {
        let Frame::Reply { id, result } = Frame::parse(&line.frame.to_string()).expect("a frame") else {
            continue;
        };
        let (method, _) = &requests[&(line.connection, id)];
        match result {
            Ok(payload) => reads(method, payload.get()),
            Err(trouble) => assert!(!trouble.code.is_empty() && !trouble.message.is_empty(), "{trouble:?}"),
        }
        read += 1;
    }
    assert!(read > 30, "{read} replies");
}

fn reads(method: &str, payload: &str) {
    fn all<P, R: DeserializeOwned>(method: &Method<P, R>, payload: &str) {
        let read = serde_json::from_str::<R>(payload);
        assert!(read.is_ok(), "{}: {:?}", method.name, read.err());
    }
    match method {
        "connect" => {
            let hello: Hello = serde_json::from_str(payload).expect("a hello");
            assert_eq!((hello.kind.as_str(), hello.protocol), ("hello-ok", 4));
            assert!(!hello.server.version.is_empty() && hello.server.boot_id.is_some());
            assert!(hello.auth.scopes.is_some_and(|scopes| !scopes.is_empty()));
            assert_eq!(hello.policy.max_payload, 26_214_400);
        }
        "sessions.subscribe" => all(&wire::SESSIONS_SUBSCRIBE, payload),
        "sessions.messages.subscribe" => all(&wire::SESSIONS_MESSAGES_SUBSCRIBE, payload),
        "sessions.list" => all(&wire::SESSIONS_LIST, payload),
        "sessions.describe" => all(&wire::SESSIONS_DESCRIBE, payload),
        "sessions.get" => all(&wire::SESSIONS_GET, payload),
        "chat.message.get" => all(&wire::CHAT_MESSAGE_GET, payload),
        "chat.history" => all(&wire::CHAT_HISTORY, payload),
        "send" => all(&wire::SEND, payload),
        "agent" => all(&wire::AGENT, payload),
        "agent.wait" => all(&wire::AGENT_WAIT, payload),
        "chat.send" => all(&wire::CHAT_SEND, payload),
        "chat.abort" => all(&wire::CHAT_ABORT, payload),
        "sessions.abort" => all(&wire::SESSIONS_ABORT, payload),
        "exec.approval.list" => all(&wire::EXEC_APPROVAL_LIST, payload),
        "exec.approval.get" => all(&wire::EXEC_APPROVAL_GET, payload),
        "exec.approval.resolve" => all(&wire::EXEC_APPROVAL_RESOLVE, payload),
        "plugin.approval.request" => {}
        other => panic!("nobody reads {other}"),
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).expect("a key")
}

/// What is sent for each method, with everything that can be said.
fn sent() -> Vec<(&'static str, Scoped, Value)> {
    [sent_to_read(), sent_to_run(), sent_to_answer()].concat()
}

fn one<P: Serialize, R>(method: &Method<P, R>, params: P) -> (&'static str, Scoped, Value) {
    let params = serde_json::to_value(params).expect("serializes");
    (method.name, method.scope.as_str(), params)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn sent_to_read() -> Vec<(&'static str, Scoped, Value)> {
    let main = "agent:main:main".to_owned();
    vec![
        one(&wire::SESSIONS_SUBSCRIBE, Nothing {}),
        one(
            &wire::SESSIONS_MESSAGES_SUBSCRIBE,
            SessionMessages { key: main.clone() },
        ),
        one(
            &wire::SESSIONS_LIST,
            SessionsList {
                limit: Some(5),
                offset: Some(1),
                search: text("x"),
                agent_id: text("main"),
                include_derived_titles: true,
                include_last_message: true,
            },
        ),
        one(
            &wire::SESSIONS_DESCRIBE,
            SessionsDescribe {
                key: main.clone(),
                include_derived_titles: true,
                include_last_message: true,
            },
        ),
        one(
            &wire::SESSIONS_GET,
            SessionsGet {
                key: main.clone(),
                limit: 5,
            },
        ),
        one(
            &wire::CHAT_MESSAGE_GET,
            ChatMessageGet {
                session_key: main.clone(),
                message_id: "nope".to_owned(),
            },
        ),
        one(
            &wire::CHAT_HISTORY,
            ChatHistory {
                session_key: main,
                limit: 5,
            },
        ),
    ]
}

fn sent_to_run() -> Vec<(&'static str, Scoped, Value)> {
    let main = "agent:main:main".to_owned();
    vec![
        one(
            &wire::SEND,
            SendMessage {
                to: "telegram:1001".to_owned(),
                message: "sent by a test".to_owned(),
                channel: text("telegram"),
                account_id: text("default"),
                thread_id: text("7"),
                session_key: Some(main.clone()),
                idempotency_key: key("send-1"),
            },
        ),
        one(
            &wire::AGENT,
            AgentRun {
                message: "do".to_owned(),
                agent_id: text("main"),
                session_key: Some(main.clone()),
                extra_system_prompt: text("be brief"),
                timeout: Some(5),
                label: text("a task"),
                idempotency_key: key("run-1"),
            },
        ),
        one(
            &wire::AGENT_WAIT,
            AgentWait {
                run_id: "run-1".to_owned(),
                timeout_ms: 30_000,
            },
        ),
        one(
            &wire::CHAT_SEND,
            ChatSend {
                session_key: main.clone(),
                message: "say".to_owned(),
                agent_id: text("main"),
                timeout_ms: Some(1),
                queue_mode: None,
                attachments: Vec::new(),
                idempotency_key: key("chat-1"),
            },
        ),
        one(
            &wire::CHAT_ABORT,
            ChatAbort {
                session_key: main.clone(),
                run_id: "chat-2".to_owned(),
            },
        ),
        one(&wire::SESSIONS_ABORT, SessionsAbort { key: main }),
    ]
}

fn sent_to_answer() -> Vec<(&'static str, Scoped, Value)> {
    vec![
        one(&wire::EXEC_APPROVAL_LIST, Nothing {}),
        one(&wire::EXEC_APPROVAL_GET, ApprovalGet { id: "a".to_owned() }),
        one(
            &wire::EXEC_APPROVAL_RESOLVE,
            ApprovalResolve {
                id: "nope".to_owned(),
                decision: Decision::Deny,
            },
        ),
        one(&wire::PLUGIN_APPROVAL_LIST, Nothing {}),
        one(
            &wire::PLUGIN_APPROVAL_RESOLVE,
            ApprovalResolve {
                id: "nope".to_owned(),
                decision: Decision::Deny,
            },
        ),
    ]
}

type Scoped = &'static str;

#[test]
fn what_is_sent_is_what_each_method_takes() {
    let contract: Value = serde_json::from_str(include_str!("../../fixtures/openclaw/params.json")).expect("JSON");
    for (method, scope, params) in sent() {
        let needed = contract["scopes"][method].as_str().expect(method);
        assert!(needed == scope || needed == "dynamic", "{method} needs {needed}");
        if let Some(takes) = contract["params"].get(method) {
            fits(method, &params, takes);
        } else {
            assert!(method == "sessions.get" || params == json!({}), "{method}");
        }
    }
}

/// Whether an object has what is required and nothing that isn't known, all of the right types.
fn fits(what: &str, object: &Value, takes: &Value) {
    let object = object.as_object().expect("an object");
    for required in takes["required"].as_array().expect("a list") {
        let required = required.as_str().expect("a name");
        assert!(object.contains_key(required), "{what} lacks {required}");
    }
    for (name, value) in object {
        let kinds = &takes["properties"][name];
        let is = match value {
            Value::String(_) => "string",
            Value::Number(_) => "integer",
            Value::Bool(_) => "boolean",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Null => "null",
        };
        let allowed = match kinds {
            Value::String(kind) => kind == is,
            Value::Array(kinds) => kinds.iter().any(|kind| kind == is),
            _ => false,
        };
        assert!(allowed, "{what}.{name} is {is}; the protocol has {kinds}");
    }
}

#[test]
fn connect_fits_the_contract_part_by_part() {
    let contract: Value = serde_json::from_str(include_str!("../../fixtures/openclaw/params.json")).expect("JSON");
    let takes = &contract["params"];
    // The recording's connect has the shape of ours, which the tests of the handshake compare word for word.
    let (_, connect) = &requests()[&(0, "1".to_owned())];
    fits("connect", connect, &takes["connect"]);
    fits("client", &connect["client"], &takes["connect/client"]);
    fits("auth", &connect["auth"], &takes["connect/auth"]);
}

#[test]
fn the_recorded_requests_are_ours() {
    let sent: BTreeMap<&str, Value> = sent().into_iter().map(|(method, _, params)| (method, params)).collect();
    for ((_, id), (method, params)) in requests() {
        let Some(ours) = sent.get(method.as_str()) else {
            assert!(
                ["connect", "no.such.method", "plugin.approval.request"].contains(&method.as_str()),
                "{method}"
            );
            continue;
        };
        for name in params
            .as_object()
            .expect("an object")
            .keys()
            .filter(|name| *name != "odd")
        {
            assert!(ours.get(name).is_some(), "{id} {method}: {name} is never sent");
        }
    }
}

#[test]
fn an_error_without_anything_is_still_one() {
    let Ok(Frame::Reply {
        result: Err(trouble), ..
    }) = Frame::parse(r#"{"type":"res","id":"1","ok":false}"#)
    else {
        panic!("not a refusal")
    };
    assert_eq!(trouble, Trouble::default());
}
