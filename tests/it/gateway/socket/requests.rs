//! Requests and their replies while the connection lasts.

use std::sync::Arc;
use std::time::Duration;

use clawhand::gateway::socket::{State, Surroundings};
use clawhand::gateway::wire::{
    self, AgentRun, AgentWait, ApprovalResolve, ChatMessageGet, Decision, IdempotencyKey, Nothing, SessionsDescribe,
    SessionsGet, SessionsList,
};
use clawhand::gateway::{Fault, GatewayError};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::scripted::socket::{Line, Peer, Place, hello, soon};
use crate::gateway::scripted::{LONG, client_in};

/// A connection that stands.
async fn connected() -> (Place, Line, Peer) {
    let place = Place::new().await;
    let line = place.socket();
    let (got, peer) = tokio::join!(line.socket.hello(LONG), place.greet());
    got.expect("a hello");
    (place, line, peer)
}

fn get(key: &str) -> SessionsGet {
    SessionsGet {
        key: key.to_owned(),
        limit: 1,
    }
}

/// What a request for messages of `key` gave: the text of the first.
async fn first_text(line: &Line, key: &str) -> Result<String, GatewayError> {
    let got = line.socket.call(&wire::SESSIONS_GET, &get(key), LONG).await?;
    Ok(got.messages[0].text().expect("a text").into_owned())
}

fn messages(text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": text }] })
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (_place, line, mut peer) = connected().await;
    let keys: Vec<String> = (0..50).map(|number| format!("key-{number}")).collect();
    let all = futures_util::future::join_all(keys.iter().map(|key| first_text(&line, key)));
    let (texts, ()) = tokio::join!(all, async {
        let mut asked = Vec::new();
        for _ in &keys {
            asked.push(peer.asked("sessions.get").await);
        }
        for one in asked.iter().rev() {
            let key = one.params["key"].as_str().expect("a key");
            peer.reply(one, messages(&format!("for {key}"))).await;
        }
    });
    for (key, text) in keys.iter().zip(texts) {
        assert_eq!(text.expect("a text"), format!("for {key}"));
    }
}

#[tokio::test]
async fn a_reply_that_comes_twice_or_for_nobody_does_no_harm() {
    let (_place, line, mut peer) = connected().await;
    let (text, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        peer.text(json!({ "type": "res", "id": "99", "ok": true, "payload": messages("nobody's") }))
            .await;
        peer.text(json!({ "type": "res", "id": "x", "ok": true })).await;
        peer.reply(&asked, messages("first")).await;
        peer.reply(&asked, messages("again")).await;
    });
    assert_eq!(text.expect("a text"), "first");
    let (text, ()) = tokio::join!(first_text(&line, "b"), async {
        let asked = peer.asked("sessions.get").await;
        peer.reply(&asked, messages("second")).await;
    });
    assert_eq!(text.expect("a text"), "second");
}

#[tokio::test]
async fn what_this_version_does_not_know_is_passed_over() {
    let (_place, line, mut peer) = connected().await;
    let (text, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        peer.text(json!({ "type": "telepathy", "thought": 1 })).await;
        peer.text(json!({ "type": "event", "event": "brand.new", "payload": [1], "seq": 1 }))
            .await;
        peer.text(json!({ "type": "event", "event": "tick", "more": true }))
            .await;
        let mut reply = messages("here");
        reply["more"] = json!({ "x": 1 });
        peer.text(json!({ "type": "res", "id": asked.id, "ok": true, "payload": reply, "traceparent": "00" }))
            .await;
    });
    assert_eq!(text.expect("a text"), "here");
}

#[tokio::test]
async fn what_is_no_frame_is_passed_over() {
    let (_place, line, mut peer) = connected().await;
    let (text, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        for odd in ["<html>", "", "null", "[]", "{\"type\":7}", "\u{feff}{}"] {
            peer.say(Message::text(odd)).await;
        }
        peer.say(Message::binary(vec![1, 2, 3])).await;
        peer.reply(&asked, messages("here")).await;
    });
    assert_eq!(text.expect("a text"), "here");
}

#[tokio::test]
async fn params_are_what_the_protocol_takes_and_no_more() {
    let (_place, line, mut peer) = connected().await;
    let list = SessionsList {
        limit: Some(20),
        include_derived_titles: true,
        include_last_message: true,
        ..SessionsList::default()
    };
    let (page, ()) = tokio::join!(line.socket.call(&wire::SESSIONS_LIST, &list, LONG), async {
        let asked = peer.asked("sessions.list").await;
        let expected = json!({ "limit": 20, "includeDerivedTitles": true, "includeLastMessage": true });
        assert_eq!(asked.params, expected);
        let rows = json!([
            { "key": "a", "channel": "Telegram", "lastTo": "telegram:1", "lastThreadId": 42, "updatedAt": null },
            { "key": "b", "updatedAt": 1.5, "deliveryContext": "odd" },
        ]);
        peer.reply(&asked, json!({ "sessions": rows, "nextOffset": 2, "totalCount": 9 }))
            .await;
    });
    let page = page.expect("a page");
    assert_eq!((page.next_offset, page.total_count), (Some(2), Some(9)));
    let route = page.sessions[0].route().expect("a route");
    assert_eq!(
        (route.channel.as_deref(), route.thread_id.as_deref()),
        (Some("telegram"), Some("42"))
    );
    assert_eq!(page.sessions[1].route(), None);

    let describe = SessionsDescribe {
        key: "nope".to_owned(),
        include_derived_titles: true,
        include_last_message: false,
    };
    let (found, ()) = tokio::join!(line.socket.call(&wire::SESSIONS_DESCRIBE, &describe, LONG), async {
        let asked = peer.asked("sessions.describe").await;
        peer.reply(&asked, json!({ "session": null })).await;
    });
    assert_eq!(found.expect("an answer").session, None);

    let message = ChatMessageGet {
        session_key: "a".to_owned(),
        message_id: "m".to_owned(),
    };
    let (found, ()) = tokio::join!(line.socket.call(&wire::CHAT_MESSAGE_GET, &message, LONG), async {
        let asked = peer.asked("chat.message.get").await;
        assert_eq!(asked.params, json!({ "sessionKey": "a", "messageId": "m" }));
        peer.reply(&asked, json!({ "ok": false, "unavailableReason": "not_found" }))
            .await;
    });
    assert_eq!(
        found.expect("an answer").unavailable_reason.as_deref(),
        Some("not_found")
    );
}

#[tokio::test]
async fn a_refusal_keeps_the_gateways_words_and_code() {
    let (_place, line, mut peer) = connected().await;
    let resolve = ApprovalResolve {
        id: "x".to_owned(),
        decision: Decision::AllowAlways,
    };
    let (got, ()) = tokio::join!(line.socket.call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, LONG), async {
        let asked = peer.asked("exec.approval.resolve").await;
        assert_eq!(asked.params, json!({ "id": "x", "decision": "allow-always" }));
        let details = json!({ "reason": "APPROVAL_NOT_FOUND" });
        let error =
            json!({ "code": "INVALID_REQUEST", "message": "unknown or expired approval id", "details": details });
        peer.refuse(&asked, error).await;
    });
    let error = got.expect_err("refused");
    assert_eq!(error.fault, Fault::Refused);
    assert_eq!(error.message, "unknown or expired approval id");
    assert_eq!(error.code.as_deref(), Some("APPROVAL_NOT_FOUND"));
}

#[tokio::test]
async fn a_missing_scope_is_named_before_and_after_asking() {
    let place = Place::new().await;
    let line = place.socket();
    let approvals = line.socket.call(&wire::EXEC_APPROVAL_LIST, &Nothing {}, LONG);
    let (got, mut peer) = tokio::join!(approvals, async {
        let mut peer = place.accept().await;
        peer.challenge().await;
        let connect = peer.asked("connect").await;
        let mut hello = hello("boot-1");
        hello["auth"]["scopes"] = json!(["operator.read"]);
        peer.reply(&connect, hello).await;
        peer
    });
    assert_eq!(
        got.expect_err("not granted").fault,
        Fault::MissingScope("operator.approvals".to_owned())
    );
    let (got, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        assert_eq!(asked.id, "2", "the first one was not sent");
        let details = json!({ "code": "MISSING_SCOPE", "missingScope": "operator.admin" });
        peer.refuse(
            &asked,
            json!({ "code": "FORBIDDEN", "message": "no", "details": details }),
        )
        .await;
    });
    assert_eq!(
        got.expect_err("refused").fault,
        Fault::MissingScope("operator.admin".to_owned())
    );
}

#[tokio::test]
async fn a_gateway_that_restarts_says_that_nothing_was_done() {
    let (_place, line, mut peer) = connected().await;
    let (got, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        let details = json!({ "reason": "gateway-restarting" });
        let error = json!({ "code": "UNAVAILABLE", "message": "restarting", "retryable": true, "details": details });
        peer.refuse(&asked, error).await;
    });
    let error = got.expect_err("refused");
    assert!(error.fault == Fault::NotReady && error.retryable, "{error:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_longer_than_asked() {
    let (_place, line, mut peer) = connected().await;
    let short = Duration::from_secs(1);
    let get = get("a");
    let (read, _) = tokio::join!(
        line.socket.call(&wire::SESSIONS_GET, &get, short),
        peer.asked("sessions.get")
    );
    assert_eq!(read.expect_err("late").fault, Fault::IdleTimeout);
    let run = AgentRun {
        message: "do it".to_owned(),
        agent_id: None,
        session_key: None,
        extra_system_prompt: None,
        timeout: None,
        label: None,
        idempotency_key: IdempotencyKey::new("att-1").expect("a key"),
    };
    let (ran, asked) = tokio::join!(line.socket.call(&wire::AGENT, &run, short), peer.asked("agent"));
    assert_eq!(asked.params, json!({ "message": "do it", "idempotencyKey": "att-1" }));
    assert_eq!(ran.expect_err("late").fault, Fault::Lost);
    // Its late answer is nobody's, and the connection is as good as before.
    peer.reply(&asked, json!({ "runId": "att-1", "status": "accepted" }))
        .await;
    let wait = AgentWait {
        run_id: "att-1".to_owned(),
        timeout_ms: 10,
    };
    let (end, ()) = tokio::join!(line.socket.call(&wire::AGENT_WAIT, &wait, LONG), async {
        let asked = peer.asked("agent.wait").await;
        let reply = json!({ "disposition": "visible", "text": "done" });
        peer.reply(
            &asked,
            json!({ "runId": "att-1", "status": "ok", "terminalReply": reply }),
        )
        .await;
    });
    assert_eq!(end.expect("an end").terminal_reply.expect("a reply").text, "done");
}

#[tokio::test]
async fn what_the_gateway_does_not_take_is_not_sent() {
    let place = Place::new().await;
    let line = place.socket();
    let long = "é".repeat(2000);
    let (got, mut peer) = tokio::join!(first_text(&line, &long), async {
        let mut peer = place.accept().await;
        peer.challenge().await;
        let connect = peer.asked("connect").await;
        let mut hello = hello("boot-1");
        hello["policy"]["maxPayload"] = json!(1000);
        peer.reply(&connect, hello).await;
        peer
    });
    assert_eq!(got.expect_err("too large").fault, Fault::TooLarge);
    let (text, ()) = tokio::join!(first_text(&line, "short"), async {
        let asked = peer.asked("sessions.get").await;
        peer.reply(&asked, messages("fits")).await;
    });
    assert_eq!(text.expect("a text"), "fits");
}

#[tokio::test]
async fn a_reply_that_is_too_large_ends_its_request_and_no_other_connection() {
    let place = Place::new().await;
    let line = Line::to(place.instance(), |surroundings| surroundings.pace.max_message = 10_000);
    let (got, ()) = tokio::join!(first_text(&line, "large"), async {
        let mut peer = place.greet().await;
        let asked = peer.asked("sessions.get").await;
        peer.reply(&asked, messages(&"x".repeat(20_000))).await;
        assert!(peer.next().await.is_none(), "it is not asked again");
    });
    assert_eq!(got.expect_err("too large").fault, Fault::TooLarge);
    let (text, ()) = tokio::join!(first_text(&line, "small"), async {
        let mut peer = place.greet().await;
        let asked = peer.asked("sessions.get").await;
        assert_eq!(asked.params["key"], "small");
        peer.reply(&asked, messages("fits")).await;
    });
    assert_eq!(text.expect("a text"), "fits");
}

#[tokio::test]
async fn a_reply_of_another_shape_is_told() {
    let (_place, line, mut peer) = connected().await;
    let (got, ()) = tokio::join!(first_text(&line, "a"), async {
        let asked = peer.asked("sessions.get").await;
        peer.reply(&asked, json!("messages")).await;
    });
    assert_eq!(got.expect_err("another shape").fault, Fault::Protocol);
}

#[tokio::test]
async fn whoever_gives_up_takes_the_request_back() {
    let place = Place::new().await;
    let line = Line::to(place.instance(), |surroundings| {
        surroundings.pace.floor = Duration::ZERO;
    });
    // Given up before there is a connection: it is never sent.
    {
        let get = get("given up");
        let call = line.socket.call(&wire::SESSIONS_GET, &get, LONG);
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("nobody answered"),
            peer = place.accept() => drop(peer),
        }
    }
    let mut state = line.socket.watch();
    let failed = state.wait_for(|state| matches!(state, State::Failed(_)));
    soon(failed).await.expect("told");
    let (text, ()) = tokio::join!(first_text(&line, "wanted"), async {
        let mut peer = place.greet().await;
        let asked = peer.asked("sessions.get").await;
        assert_eq!(asked.params["key"], "wanted");
        peer.reply(&asked, messages("here")).await;
    });
    assert_eq!(text.expect("a text"), "here");
}

#[tokio::test]
async fn a_program_that_stops_says_goodbye_and_answers_everybody() {
    let (_place, line, mut peer) = connected().await;
    let resolve = ApprovalResolve {
        id: "x".to_owned(),
        decision: Decision::Deny,
    };
    let get = get("a");
    let (read, resolved, ()) = tokio::join!(
        line.socket.call(&wire::SESSIONS_GET, &get, LONG),
        line.socket.call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, LONG),
        async {
            peer.asked("sessions.get").await;
            peer.asked("exec.approval.resolve").await;
            tokio::join!(line.stop(), async { assert!(peer.next().await.is_none()) });
        }
    );
    assert_eq!(read.expect_err("stopped").fault, Fault::Cancelled);
    assert_eq!(resolved.expect_err("stopped").fault, Fault::Lost);
    let after = soon(first_text(&line, "b")).await;
    assert_eq!(after.expect_err("stopped").fault, Fault::Cancelled);
}

#[tokio::test]
async fn clones_share_one_connection_and_it_ends_with_the_last_of_them() {
    let place = Place::new().await;
    let tracker = TaskTracker::new();
    let gateway = client_in(
        place.instance(),
        &Surroundings::new(tracker.clone(), CancellationToken::new()),
    );
    assert!(tracker.is_empty(), "nobody has asked for anything");
    let other = gateway.clone();
    let (first, _peer) = tokio::join!(gateway.socket().hello(LONG), place.greet());
    let second = other.socket().hello(LONG).await.expect("a hello");
    assert!(Arc::ptr_eq(&first.expect("a hello"), &second));
    tracker.close();
    drop((gateway, other));
    soon(tracker.wait()).await;
}
