//! The WebSocket of a real gateway: who is let in, what is told, what runs once.

use std::time::Duration;

use clawhand::gateway::feed::{Feed, What};
use clawhand::gateway::socket::{Notice, Pace, ShowDevice};
use clawhand::gateway::wire::{
    self, AgentRun, AgentWait, ApprovalResolve, ChatAbort, ChatSend, Decision, IdempotencyKey, Nothing, Scope,
    SessionsGet, SessionsList,
};
use clawhand::gateway::{Credential, Fault, Instance, Secret};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::real::{Real, one, two};
use crate::gateway::scripted::socket::Line;

/// A busy machine lets a gateway take its time.
const PATIENT: Duration = Duration::from_secs(120);

fn line(instance: Instance) -> Line {
    Line::to(instance, |surroundings| surroundings.pace = Pace::default())
}

fn admin(real: &Real) -> Line {
    let mut instance = real.instance();
    instance.admin = true;
    line(instance)
}

fn run(key: &str, script: &Value) -> AgentRun {
    AgentRun {
        message: format!("script:{script}"),
        agent_id: None,
        session_key: Some(format!("agent:main:{key}")),
        extra_system_prompt: None,
        timeout: None,
        label: None,
        idempotency_key: IdempotencyKey::new(key).expect("a key"),
    }
}

/// Gateways remember keys, also from another run of the tests.
fn fresh(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

async fn restart(real: &Real, how: Value) {
    real.kill().await;
    real.start(how).await;
}

async fn ended(line: &Line, key: &str) -> wire::RunEnd {
    let wait = AgentWait {
        run_id: key.to_owned(),
        timeout_ms: 60_000,
    };
    line.socket
        .call(&wire::AGENT_WAIT, &wait, PATIENT)
        .await
        .expect("an end")
}

#[tokio::test]
async fn a_token_lets_in_and_a_wrong_one_does_not() {
    let Some(real) = one() else { return };
    let known = line(real.instance());
    let hello = known.socket.hello(PATIENT).await.expect("let in");
    assert_eq!(hello.protocol, 4);
    assert!(
        hello.may(Scope::Approvals) && !hello.may(Scope::Admin),
        "{:?}",
        hello.auth
    );
    let mut stranger = real.instance();
    stranger.credential = Some(Credential::Token(Secret::Given("another-token".to_owned())));
    let error = line(stranger.clone())
        .socket
        .hello(PATIENT)
        .await
        .expect_err("not let in");
    assert_eq!(error.fault, Fault::WrongToken, "{error:?}");
    stranger.credential = None;
    let error = line(stranger).socket.hello(PATIENT).await.expect_err("not let in");
    assert!(matches!(error.fault, Fault::Pairing(_)), "{error:?}");
}

#[tokio::test]
async fn a_device_is_paired_and_then_let_in_by_its_own_token() {
    let Some(real) = one() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let with_device = |instance: Instance| {
        Line::to(instance, |surroundings| {
            surroundings.pace = Pace::default();
            surroundings.identity = Some(folder.path().to_owned());
            surroundings.show_device = ShowDevice::Always;
        })
    };
    let mut instance = real.instance();
    with_device(instance.clone())
        .socket
        .hello(PATIENT)
        .await
        .expect("let in");
    assert!(
        folder.path().join("one.token").exists(),
        "the token of the device is kept"
    );
    instance.credential = None;
    let own = with_device(instance.clone());
    own.socket.hello(PATIENT).await.expect("let in by its own token");
    let list = SessionsList::default();
    own.socket
        .call(&wire::SESSIONS_LIST, &list, PATIENT)
        .await
        .expect("a list");
    // More than it was approved for is asked: on the same machine that is granted, or it waits for approval; never silently
    // less.
    instance.admin = true;
    match with_device(instance).socket.hello(PATIENT).await {
        Ok(hello) => assert!(hello.may(Scope::Admin), "{:?}", hello.auth),
        Err(error) => assert!(matches!(error.fault, Fault::Pairing(_)), "{error:?}"),
    }
}

#[tokio::test]
async fn a_message_from_telegram_is_told_and_kept() {
    let Some(real) = one() else { return };
    let line = line(real.instance());
    let feed = Feed::start(&line.socket, &TaskTracker::new(), 0);
    line.socket.hello(PATIENT).await.expect("let in");
    // What is said before the subscription is answered may be missed, so it is asked for here, too.
    line.socket
        .call(&wire::SESSIONS_SUBSCRIBE, &Nothing {}, PATIENT)
        .await
        .expect("subscribed");
    let said = json!({ "chat_id": 1001, "text": r#"script:{"say":"the feed heard it"}"# });
    super::real::post(&format!("{}/_say", real.text("telegram")), said).await;
    let mut cursor = 0;
    let (mut asked, mut answered) = (false, false);
    while !(asked && answered) {
        let page = feed.next(cursor, None, PATIENT).await;
        let entry = page.entries.first().expect("something comes");
        cursor = entry.cursor;
        let What::Message(message) = &entry.what else { continue };
        let text = message.message.text().unwrap_or_default().into_owned();
        if text.contains("the feed heard it") {
            asked |= message.message.role() == Some("user");
            answered |= message.message.role() == Some("assistant");
            let route = message.session.as_ref().and_then(|row| row.route()).expect("a route");
            assert_eq!(route.channel.as_deref(), Some("telegram"));
        }
    }
    let get = SessionsGet {
        key: "agent:main:main".to_owned(),
        limit: 50,
    };
    let got = line
        .socket
        .call(&wire::SESSIONS_GET, &get, PATIENT)
        .await
        .expect("messages");
    assert!(
        got.messages
            .iter()
            .any(|message| message.text().is_some_and(|text| text == "the feed heard it"))
    );
}

#[tokio::test]
async fn a_run_with_the_same_key_runs_once() {
    let Some(real) = one() else { return };
    let line = line(real.instance());
    let key = fresh("same-key");
    let run = run(&key, &json!({ "say": format!("{key} ran") }));
    let (first, second) = tokio::join!(
        line.socket.call(&wire::AGENT, &run, PATIENT),
        line.socket.call(&wire::AGENT, &run, PATIENT)
    );
    assert_eq!(first.expect("accepted").run_id, key);
    assert_eq!(second.expect("accepted").run_id, key);
    let end = ended(&line, &key).await;
    assert_eq!(end.status, "ok", "{end:?}");
    assert_eq!(end.terminal_reply.expect("a reply").text, format!("{key} ran"));
    line.socket.call(&wire::AGENT, &run, PATIENT).await.expect("known");
    let runs: Value = reqwest::get(format!("{}/_runs", real.text("model")))
        .await
        .expect("the model answers")
        .json()
        .await
        .expect("JSON");
    let ours = |run: &&Value| run["text"].as_str().is_some_and(|text| text.contains(&key));
    assert_eq!(runs.as_array().expect("a list").iter().filter(ours).count(), 1);
}

#[tokio::test]
async fn a_chat_that_is_aborted_ends() {
    let Some(real) = one() else { return };
    let line = line(real.instance());
    let mut chats = line.socket.subscribe(|name| name == "chat");
    let key = fresh("abort-me");
    let script = json!({ "say": "never said", "gate": key });
    let send = ChatSend {
        session_key: format!("agent:main:{key}"),
        message: format!("script:{script}"),
        agent_id: None,
        timeout_ms: None,
        queue_mode: None,
        attachments: Vec::new(),
        idempotency_key: IdempotencyKey::new(key.as_str()).expect("a key"),
    };
    line.socket
        .call(&wire::CHAT_SEND, &send, PATIENT)
        .await
        .expect("started");
    real.run(&key, "running").await;
    let abort = ChatAbort {
        session_key: format!("agent:main:{key}"),
        run_id: key.clone(),
    };
    let aborted = line
        .socket
        .call(&wire::CHAT_ABORT, &abort, PATIENT)
        .await
        .expect("an answer");
    assert_eq!(aborted.aborted, Some(true));
    assert_eq!(aborted.run_ids, [key.as_str()]);
    real.run(&key, "left").await;
    loop {
        let notice = tokio::time::timeout(PATIENT, chats.next())
            .await
            .expect("told")
            .expect("goes on");
        let Notice::Event(event) = notice else { continue };
        if let wire::Event::Chat(chat) = &*event
            && chat.run_id == key
            && chat.state == wire::ChatState::Aborted
        {
            break;
        }
    }
    let again = line
        .socket
        .call(&wire::CHAT_ABORT, &abort, PATIENT)
        .await
        .expect("an answer");
    assert_eq!(again.aborted, Some(false), "a repeated abort does nothing");
}

#[tokio::test]
async fn an_approval_is_listed_told_and_answered_with_the_scope_for_it() {
    let Some(real) = one() else { return };
    let admin = admin(&real);
    let feed = Feed::start(&admin.socket, &TaskTracker::new(), 0);
    let tool = json!({ "name": "exec", "arguments": { "command": "uname -s" } });
    let key = fresh("exec");
    let session = format!("agent:main:{key}");
    let run = run(&key, &json!({ "tool": tool }));
    let plain = line(real.instance());
    plain.socket.call(&wire::AGENT, &run, PATIENT).await.expect("accepted");
    let mut cursor = 0;
    let approval = loop {
        let page = feed.next(cursor, Some(&session), PATIENT).await;
        let entry = page.entries.first().expect("something comes");
        cursor = entry.cursor;
        if let What::Requested(_, approval) = &entry.what {
            break approval.clone();
        }
    };
    assert_eq!(approval.asked("command"), Some("uname -s"));
    assert_eq!(approval.allowed(), [Decision::AllowOnce, Decision::Deny]);
    let open = feed.open_approvals(PATIENT).await.expect("a list");
    assert!(open.lacks.is_none());
    assert!(open.approvals.iter().any(|(_, one)| one.id == approval.id));
    // Another connection without the scope doesn't see it, and is told what it lacks.
    let other = line(real.instance());
    let stranger = Feed::start(&other.socket, &TaskTracker::new(), 0);
    let open = stranger.open_approvals(PATIENT).await.expect("a list");
    assert_eq!(open.lacks, Some(Scope::Admin));
    assert!(open.approvals.iter().all(|(_, one)| one.id != approval.id), "{open:?}");

    let mut resolve = ApprovalResolve {
        id: approval.id.clone(),
        decision: Decision::AllowAlways,
    };
    let refused = admin.socket.call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, PATIENT).await;
    let code = refused.expect_err("not allowed").code;
    assert_eq!(code.as_deref(), Some("APPROVAL_ALLOW_ALWAYS_UNAVAILABLE"));
    resolve.decision = Decision::AllowOnce;
    admin
        .socket
        .call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, PATIENT)
        .await
        .expect("answered");
    let end = ended(&plain, &key).await;
    assert_eq!(end.status, "ok", "{end:?}");
    assert!(end.terminal_reply.expect("a reply").text.contains("Linux"));
    // The same answer again is taken; another one comes too late.
    resolve.decision = Decision::Deny;
    let twice = admin.socket.call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, PATIENT).await;
    assert_eq!(
        twice.expect_err("answered before").code.as_deref(),
        Some("APPROVAL_ALREADY_RESOLVED")
    );
}

#[tokio::test]
async fn a_gateway_that_restarts_is_found_again_and_known_to_be_another_run() {
    let Some(real) = two().await else { return };
    let line = line(real.instance());
    let mut ups = line.socket.subscribe(|name| name == "shutdown");
    let mut next = async || {
        tokio::time::timeout(PATIENT, ups.next())
            .await
            .expect("told")
            .expect("goes on")
    };
    let Notice::Connected(first) = next().await else {
        panic!("not connected")
    };
    // A request that waits is asked again of the new run, which knows nothing of it.
    let wait = AgentWait {
        run_id: "nobody knows it".to_owned(),
        timeout_ms: 5_000,
    };
    let (end, ()) = tokio::join!(line.socket.call(&wire::AGENT_WAIT, &wait, PATIENT), async {
        restart(&real, json!({})).await;
    });
    assert_eq!(end.expect("an answer").status, "timeout");
    let second = loop {
        if let Notice::Connected(hello) = next().await {
            break hello;
        }
    };
    assert_ne!(first.server.boot_id, second.server.boot_id);

    restart(&real, json!({ "auth": "password" })).await;
    let mut instance = real.instance();
    instance.credential = Some(Credential::Password(Secret::Given(real.text("token").to_owned())));
    self::line(instance)
        .socket
        .hello(PATIENT)
        .await
        .expect("let in by the password");
    restart(&real, json!({})).await;
}
