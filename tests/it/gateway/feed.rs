//! The feed of a gateway: what is kept of what it tells, and what it doesn't miss.

use std::time::Duration;

use clawhand::gateway::feed::{Feed, What};
use clawhand::gateway::wire::Scope;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::scripted::LONG;
use super::scripted::socket::{Line, Peer, Place, soon};

fn approval(id: &str) -> Value {
    let request = json!({ "command": "uname -a", "sessionKey": "agent:main:a" });
    json!({ "id": id, "request": request, "createdAtMs": 1, "expiresAtMs": 2, "approvalKind": "exec" })
}

fn message(text: &str) -> Value {
    json!({
        "sessionKey": "agent:main:a",
        "message": { "role": "user", "content": text, "__openclaw": { "id": "m", "seq": 1 } },
        "session": { "key": "agent:main:a", "lastChannel": "telegram", "lastTo": "telegram:1", "much": "x".repeat(5000) },
    })
}

/// Answers what the feed asks on a new connection.
async fn answer(peer: &mut Peer, exec: Value) {
    let asked = peer.asked("sessions.subscribe").await;
    assert_eq!(asked.params, json!({}));
    peer.reply(&asked, json!({ "subscribed": true })).await;
    list(peer, exec).await;
}

async fn list(peer: &mut Peer, exec: Value) {
    let asked = peer.asked("exec.approval.list").await;
    peer.reply(&asked, exec).await;
    let asked = peer.asked("plugin.approval.list").await;
    peer.reply(&asked, json!([])).await;
}

fn feed(line: &Line) -> Feed {
    Feed::start(&line.socket, &TaskTracker::new(), 0)
}

#[tokio::test]
async fn what_happens_is_kept_and_found_again() {
    let place = Place::new().await;
    let line = place.socket();
    let feed = feed(&line);
    let mut peer = place.greet().await;
    answer(&mut peer, json!([approval("old")])).await;
    peer.event("exec.approval.requested", approval("new")).await;
    peer.event("session.message", message("hello")).await;
    peer.event(
        "exec.approval.resolved",
        json!({ "id": "new", "decision": "deny", "request": approval("new")["request"] }),
    )
    .await;
    peer.event("sessions.changed", json!({})).await;

    let mut kinds = Vec::new();
    let mut cursor = 0;
    while kinds.len() < 4 {
        let page = soon(feed.next(cursor, Some("agent:main:a"), LONG)).await;
        kinds.push(page.entries[0].kind());
        cursor = page.entries[0].cursor;
    }
    let expected = [
        "exec_approval_requested",
        "exec_approval_requested",
        "message",
        "exec_approval_resolved",
    ];
    assert_eq!(kinds, expected);
    let page = feed.page(2, None, 1);
    let What::Message(message) = &page.entries[0].what else {
        panic!("{page:?}")
    };
    assert_eq!(message.message.text().as_deref(), Some("hello"));
    let route = message.session.as_ref().and_then(|row| row.route()).expect("a route");
    assert_eq!(route.to.as_deref(), Some("telegram:1"));
    let nothing = feed.next(cursor, Some("another"), Duration::from_millis(20)).await;
    assert!(nothing.entries.is_empty());
    assert_eq!(nothing.next_cursor, 4);
}

#[tokio::test]
async fn nothing_is_missed_without_a_word_when_the_connection_goes() {
    let place = Place::new().await;
    let line = place.socket();
    let feed = feed(&line);
    let mut peer = place.greet().await;
    answer(&mut peer, json!([approval("one")])).await;
    assert_eq!(
        soon(feed.next(0, None, LONG)).await.entries[0].kind(),
        "exec_approval_requested"
    );
    drop(peer);
    let mut peer = place.greet().await;
    // One was answered meanwhile, another was raised.
    answer(&mut peer, json!([approval("two")])).await;
    let page = soon(feed.next(1, None, LONG)).await;
    assert!(matches!(page.entries[0].what, What::Missing(None)));
    let page = soon(feed.next(2, None, LONG)).await;
    assert!(
        matches!(&page.entries[0].what, What::Requested(_, approval) if approval.id == "two"),
        "{page:?}"
    );
    // The gateway left events out: approvals may be among them.
    peer.event("tick", json!({})).await;
    peer.skip(5);
    peer.event("tick", json!({})).await;
    list(&mut peer, json!([approval("two"), approval("three")])).await;
    let page = soon(feed.next(3, None, LONG)).await;
    assert!(matches!(page.entries[0].what, What::Missing(Some(5))));
    let page = soon(feed.next(4, None, LONG)).await;
    assert!(
        matches!(&page.entries[0].what, What::Requested(_, approval) if approval.id == "three"),
        "{page:?}"
    );
}

#[tokio::test]
async fn open_approvals_are_asked_for_and_what_is_lacking_is_named() {
    let place = Place::new().await;
    let line = place.socket();
    let feed = feed(&line);
    let mut peer = place.greet().await;
    answer(&mut peer, json!([])).await;
    let mut late = approval("late");
    late["createdAtMs"] = json!(9);
    let (open, ()) = tokio::join!(
        feed.open_approvals(LONG),
        list(&mut peer, json!([late, approval("early")]))
    );
    let open = open.expect("a list");
    let ids: Vec<&str> = open
        .approvals
        .iter()
        .map(|(_, approval)| approval.id.as_str())
        .collect();
    assert_eq!(ids, ["early", "late"]);
    assert_eq!(open.lacks, Some(Scope::Admin));
}
