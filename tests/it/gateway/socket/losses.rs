//! What becomes of requests when the connection goes.

use std::time::Duration;

use clawhand::gateway::socket::{Notice, State};
use clawhand::gateway::wire::{
    self, Accepted, AgentRun, ApprovalResolve, Decision, IdempotencyKey, Messages, SessionsAbort, SessionsGet,
};
use clawhand::gateway::{Fault, GatewayError};
use serde_json::{Value, json};

use crate::gateway::scripted::LONG;
use crate::gateway::scripted::socket::{Line, Peer, Place, hello, soon};

async fn read(line: &Line) -> Result<Messages, GatewayError> {
    let get = SessionsGet {
        key: "a".to_owned(),
        limit: 1,
    };
    line.socket.call(&wire::SESSIONS_GET, &get, LONG).await
}

async fn run(line: &Line) -> Result<Accepted, GatewayError> {
    let run = AgentRun {
        message: "do it".to_owned(),
        agent_id: None,
        session_key: Some("agent:main:x".to_owned()),
        extra_system_prompt: None,
        timeout: None,
        label: None,
        idempotency_key: IdempotencyKey::new("att-1").expect("a key"),
    };
    line.socket.call(&wire::AGENT, &run, LONG).await
}

async fn resolve(line: &Line) -> Result<Value, GatewayError> {
    let resolve = ApprovalResolve {
        id: "x".to_owned(),
        decision: Decision::AllowOnce,
    };
    line.socket.call(&wire::EXEC_APPROVAL_RESOLVE, &resolve, LONG).await
}

async fn greet_as(place: &Place, boot: Option<&str>) -> Peer {
    let mut peer = place.accept().await;
    peer.challenge().await;
    let connect = peer.asked("connect").await;
    let mut hello = hello(boot.unwrap_or_default());
    if boot.is_none() {
        hello["server"].as_object_mut().expect("an object").remove("bootId");
    }
    peer.reply(&connect, hello).await;
    peer
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, ()) = tokio::join!(read(&line), async {
        let mut peer = place.greet().await;
        let first = peer.asked("sessions.get").await;
        drop(peer);
        let mut peer = place.greet().await;
        let again = peer.asked("sessions.get").await;
        assert_eq!(again.params, first.params);
        peer.reply(&again, json!({ "messages": [] })).await;
    });
    assert!(got.expect("an answer").messages.is_empty());
}

#[tokio::test]
async fn what_carries_a_key_is_asked_again_of_the_same_run_of_the_gateway() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, ()) = tokio::join!(run(&line), async {
        let mut peer = greet_as(&place, Some("boot-1")).await;
        let first = peer.asked("agent").await;
        peer.close(1001, "going away").await;
        let mut peer = greet_as(&place, Some("boot-1")).await;
        let again = peer.asked("agent").await;
        assert_eq!(again.params["idempotencyKey"], "att-1");
        assert_eq!(again.params, first.params);
        peer.reply(&again, json!({ "runId": "att-1", "status": "accepted" }))
            .await;
    });
    assert_eq!(got.expect("accepted").run_id, "att-1");
}

#[tokio::test]
async fn a_gateway_that_was_restarted_may_have_forgotten_the_key() {
    for boots in [(Some("boot-1"), Some("boot-2")), (None, None), (Some("boot-1"), None)] {
        let place = Place::new().await;
        let line = place.socket();
        let (got, ()) = tokio::join!(run(&line), async {
            let mut peer = greet_as(&place, boots.0).await;
            peer.asked("agent").await;
            drop(peer);
            // Another request makes the connection last until it can be seen that the first is not repeated.
            let mut peer = greet_as(&place, boots.1).await;
            let (read, ()) = tokio::join!(read(&line), async {
                let asked = peer.next().await.expect("a request");
                assert_eq!(asked.method, "sessions.get", "{boots:?}");
                peer.reply(&asked, json!({ "messages": [] })).await;
            });
            read.expect("an answer");
        });
        let error = got.expect_err("lost");
        assert_eq!(error.fault, Fault::Lost, "{boots:?}");
        assert!(!error.retryable && error.message.contains("agent"), "{}", error.message);
    }
}

#[tokio::test]
async fn what_has_effects_and_no_key_is_lost_and_never_repeated() {
    let place = Place::new().await;
    let line = place.socket();
    let abort = SessionsAbort { key: "a".to_owned() };
    let (resolved, aborted, ()) = tokio::join!(
        resolve(&line),
        line.socket.call(&wire::SESSIONS_ABORT, &abort, LONG),
        async {
            let mut peer = place.greet().await;
            peer.asked("exec.approval.resolve").await;
            peer.asked("sessions.abort").await;
            drop(peer);
        }
    );
    assert_eq!(resolved.expect_err("lost").fault, Fault::Lost);
    assert_eq!(aborted.expect_err("lost").fault, Fault::Lost);
    let (got, ()) = tokio::join!(read(&line), async {
        let mut peer = place.greet().await;
        let asked = peer.next().await.expect("a request");
        assert_eq!(asked.method, "sessions.get");
        peer.reply(&asked, json!({ "messages": [] })).await;
    });
    got.expect("an answer");
}

#[tokio::test]
async fn what_was_not_sent_yet_is_sent_on_the_next_connection() {
    let place = Place::new().await;
    let line = place.socket();
    let mut shutdowns = line.socket.subscribe(|name| name == "shutdown");
    let (got, ()) = tokio::join!(line.socket.hello(LONG), async {
        let mut peer = place.greet().await;
        let about = json!({ "reason": "restart", "restartExpectedMs": 10 });
        peer.event("shutdown", about).await;
        while !matches!(soon(shutdowns.next()).await, Some(Notice::Event(_))) {}
        // From here on nothing more is begun on this connection.
        let (resolved, ()) = tokio::join!(resolve(&line), async {
            let mut state = line.socket.watch();
            peer.close(1012, "service restart").await;
            soon(state.wait_for(|state| !matches!(state, State::Ready(_))))
                .await
                .expect("told");
            let mut peer = greet_as(&place, Some("boot-2")).await;
            let asked = peer.asked("exec.approval.resolve").await;
            peer.reply(&asked, json!({ "ok": true })).await;
        });
        resolved.expect("it was sent once");
    });
    got.expect("a hello");
}

#[tokio::test]
async fn a_restart_is_survived_by_those_who_may_wait() {
    let place = Place::new().await;
    let (line, address) = (place.socket(), place.address());
    let (got, ()) = tokio::join!(read(&line), async {
        let mut peer = place.greet().await;
        peer.asked("sessions.get").await;
        drop(place);
        peer.close(1012, "service restart").await;
        // Nobody is there for a while, and who asks now is told so.
        let mut state = line.socket.watch();
        soon(state.wait_for(|state| matches!(state, State::Failed(_))))
            .await
            .expect("told");
        let error = soon(resolve(&line)).await.expect_err("nobody there");
        assert_eq!(error.fault, Fault::Unreachable);
        let place = Place::at(address).await;
        let mut peer = greet_as(&place, Some("boot-2")).await;
        let asked = peer.next().await.expect("a request");
        assert_eq!(asked.method, "sessions.get", "what was refused is not sent later");
        peer.reply(&asked, json!({ "messages": [] })).await;
    });
    got.expect("an answer");
}

#[tokio::test]
async fn a_request_that_takes_every_connection_down_ends() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, times) = tokio::join!(read(&line), async {
        let mut times = 0;
        while times < 3 {
            let mut peer = place.greet().await;
            peer.asked("sessions.get").await;
            times += 1;
        }
        times
    });
    assert_eq!(got.expect_err("given up").fault, Fault::Unreachable);
    assert_eq!(times, 3);
}

#[tokio::test]
async fn a_deadline_holds_across_connections() {
    let place = Place::new().await;
    let line = place.socket();
    // There is a next connection also when the request is already over.
    let _subscription = line.socket.subscribe(|_| true);
    let get = SessionsGet {
        key: "a".to_owned(),
        limit: 1,
    };
    let (got, _peer) = tokio::join!(
        line.socket.call(&wire::SESSIONS_GET, &get, Duration::from_secs(1)),
        async {
            let mut peer = place.greet().await;
            peer.asked("sessions.get").await;
            drop(peer);
            place.greet().await
        }
    );
    assert_eq!(got.expect_err("late").fault, Fault::IdleTimeout);
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, ()) = tokio::join!(read(&line), async {
        let mut peer = place.accept().await;
        peer.challenge().await;
        let connect = peer.asked("connect").await;
        let mut hello = hello("boot-1");
        hello["policy"]["tickIntervalMs"] = json!(100);
        peer.reply(&connect, hello).await;
        // Reading answers pings, and that is a sign of life; so nothing is read any more. The client gives up.
        let mut peer_again = place.greet().await;
        let asked = peer_again.asked("sessions.get").await;
        peer_again.reply(&asked, json!({ "messages": [] })).await;
        drop(peer);
    });
    got.expect("an answer");
}

#[tokio::test]
async fn a_gateway_that_answers_pings_is_there() {
    let place = Place::new().await;
    let line = place.socket();
    let (got, ()) = tokio::join!(read(&line), async {
        let mut peer = place.accept().await;
        peer.challenge().await;
        let connect = peer.asked("connect").await;
        let mut hello = hello("boot-1");
        hello["policy"]["tickIntervalMs"] = json!(1000);
        peer.reply(&connect, hello).await;
        let asked = peer.asked("sessions.get").await;
        // Reads on, says nothing of its own, and is called on again and again.
        for _ in 0..2 {
            peer.pinged().await;
        }
        peer.reply(&asked, json!({ "messages": [] })).await;
    });
    got.expect("an answer");
}
