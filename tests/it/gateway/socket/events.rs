//! What subscribers are told.

use clawhand::gateway::socket::{Notice, Subscription};
use clawhand::gateway::wire::{ApprovalKind, ChatState, Event};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::scripted::socket::{Line, Place, soon};

/// The next notice in a word or two.
async fn next(subscription: &mut Subscription) -> String {
    match soon(subscription.next()).await {
        None => "end".to_owned(),
        Some(Notice::Connected(hello)) => format!("up {}", hello.server.version),
        Some(Notice::Disconnected(_)) => "down".to_owned(),
        Some(Notice::Gap { missed }) => format!("gap {missed}"),
        Some(Notice::Event(event)) => match &*event {
            Event::SessionMessage(message) => {
                let text = message.message.text().expect("a text");
                format!("{} in {}", text, message.session_key)
            }
            Event::Other { name, .. } => name.clone(),
            other => format!("{other:?}"),
        },
    }
}

fn message(number: u64) -> serde_json::Value {
    json!({
        "sessionKey": "agent:main:main",
        "message": { "role": "user", "content": number.to_string() },
        "messageSeq": number,
        "session": { "key": "agent:main:main", "channel": "telegram", "lots": "x".repeat(3000) },
    })
}

#[tokio::test]
async fn events_come_in_order_with_the_ups_and_downs() {
    let place = Place::new().await;
    let line = place.socket();
    let mut subscription = line.socket.subscribe(|name| name != "health");
    let mut peer = place.greet().await;
    assert_eq!(next(&mut subscription).await, "up 2026.9.6");
    peer.event("session.message", message(1)).await;
    peer.event("health", json!({})).await;
    peer.event("session.message", message(2)).await;
    peer.event("brand.new", json!({ "x": 1 })).await;
    for expected in ["1 in agent:main:main", "2 in agent:main:main", "brand.new"] {
        assert_eq!(next(&mut subscription).await, expected);
    }
    drop(peer);
    assert_eq!(next(&mut subscription).await, "down");
    let mut peer = place.greet().await;
    assert_eq!(next(&mut subscription).await, "up 2026.9.6");
    peer.event("session.message", message(3)).await;
    assert_eq!(next(&mut subscription).await, "3 in agent:main:main");
    line.stop().await;
    assert_eq!(next(&mut subscription).await, "end");
}

#[tokio::test]
async fn what_the_gateway_left_out_is_told() {
    let place = Place::new().await;
    let line = place.socket();
    let mut subscription = line.socket.subscribe(|_| true);
    let mut peer = place.greet().await;
    peer.event("a", json!({})).await;
    peer.skip(3);
    peer.event("b", json!({})).await;
    peer.say(Message::text("no frame")).await;
    peer.event("c", json!({})).await;
    for expected in ["up 2026.9.6", "a", "gap 3", "b", "gap 1", "c"] {
        assert_eq!(next(&mut subscription).await, expected);
    }
}

#[tokio::test]
async fn a_flood_costs_the_slow_the_oldest_and_nobody_else_anything() {
    const FLOOD: u64 = 10_000;
    let place = Place::new().await;
    let line = place.socket();
    let mut slow = line.socket.subscribe(|name| name == "session.message");
    let mut ticks = line.socket.subscribe(|name| name == "tick");
    let mut peer = place.greet().await;
    for number in 1..=FLOOD {
        peer.event("session.message", message(number)).await;
    }
    peer.event("tick", json!({ "ts": 1 })).await;
    // Whoever wants something else is told it at once.
    assert_eq!(next(&mut ticks).await, "up 2026.9.6");
    assert_eq!(next(&mut ticks).await, "Tick");
    let gap = next(&mut slow).await;
    let missed: u64 = gap.strip_prefix("gap ").expect(&gap).parse().expect("a number");
    assert_eq!(next(&mut slow).await, "up 2026.9.6");
    assert_eq!(missed, FLOOD - 100, "there is room for 100");
    for number in missed + 1..=FLOOD {
        assert_eq!(next(&mut slow).await, format!("{number} in agent:main:main"));
    }
}

#[tokio::test]
async fn a_subscriber_that_comes_later_is_told_of_the_connection_first() {
    let place = Place::new().await;
    let line = place.socket();
    let mut first = line.socket.subscribe(|_| true);
    let mut peer = place.greet().await;
    peer.event("a", json!({})).await;
    assert_eq!(next(&mut first).await, "up 2026.9.6");
    assert_eq!(next(&mut first).await, "a");
    let mut second = line.socket.subscribe(|_| true);
    peer.event("b", json!({})).await;
    for expected in ["up 2026.9.6", "b"] {
        assert_eq!(next(&mut second).await, expected);
    }
    assert_eq!(next(&mut first).await, "b");
}

#[tokio::test]
async fn events_are_read_as_what_they_are() {
    let place = Place::new().await;
    let line: Line = place.socket();
    let mut subscription = line.socket.subscribe(|_| true);
    let mut peer = place.greet().await;
    let delta = json!({ "runId": "r", "sessionKey": "s", "seq": 2, "state": "delta", "deltaText": "hel" });
    peer.event("chat", delta).await;
    peer.event(
        "chat",
        json!({ "runId": "r", "sessionKey": "s", "seq": 3, "state": "from-the-future" }),
    )
    .await;
    let request = json!({ "command": "uname -a", "allowedDecisions": ["allow-once", "deny", "later"] });
    let approval =
        json!({ "approvalKind": "exec", "id": "a-1", "request": request, "createdAtMs": 1, "expiresAtMs": 2 });
    peer.event("exec.approval.requested", approval).await;
    peer.event(
        "plugin.approval.resolved",
        json!({ "id": "plugin:1", "decision": "deny", "ts": 3 }),
    )
    .await;
    peer.event("chat", json!({ "state": "delta" })).await;
    assert_eq!(next(&mut subscription).await, "up 2026.9.6");
    let mut event = async || match soon(subscription.next()).await {
        Some(Notice::Event(event)) => event,
        other => panic!("{other:?}"),
    };
    assert!(matches!(&*event().await, Event::Chat(chat) if chat.delta_text.as_deref() == Some("hel")));
    assert!(matches!(&*event().await, Event::Chat(chat) if chat.state == ChatState::Unknown));
    let requested = event().await;
    let Event::ApprovalRequested(ApprovalKind::Exec, approval) = &*requested else {
        panic!("{requested:?}")
    };
    assert_eq!(
        (approval.asked("command"), approval.allowed().len()),
        (Some("uname -a"), 2)
    );
    assert!(
        matches!(&*event().await, Event::ApprovalResolved(ApprovalKind::Plugin, resolved) if resolved.id == "plugin:1")
    );
    assert!(
        matches!(&*event().await, Event::Other { name, .. } if name == "chat"),
        "it can't be read and is kept"
    );
}
