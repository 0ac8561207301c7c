//! Waiting costs nearly nothing: one event answers everybody, who goes away stops waiting, and nobody asks the database
//! meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use clawhand::control::contract::GetStatus;
use clawhand::executors::scripted::Move;
use clawhand::store::Topic;
use futures_util::future::join_all;

use super::*;
use crate::site::{alice, ok, on_both_sites, text};

on_both_sites!(
    one_event_answers_two_hundred,
    who_waits_is_not_looked_after,
    a_client_that_hangs_up_ends_its_wait,
    a_wait_that_is_cancelled_over_stdio_ends,
);

/// Longer than any of these tests.
const LONG: u64 = 25_000;

/// A queued execution of alice's, and the cursor of who has seen all of it.
async fn queued(site: &Site) -> (String, String) {
    let id = text(&site.started(&alice(), "run").await, "/execution_id");
    let look = GetStatus {
        execution_id: id.clone(),
        ..GetStatus::default()
    };
    let seen = ok(site.control.get_status(&alice(), look).await);
    let cursor = text(&seen, "/log/next_cursor");
    (id, cursor)
}

/// Returns when so many wait for news of the execution.
async fn until_waiting(site: &Site, id: &str, count: usize) {
    let topic = Topic::Execution(id.parse().expect("an id"));
    while site.home.store.changes().watching(topic) != count {
        tokio::task::yield_now().await;
    }
}

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("readable").count()
}

async fn one_event_answers_two_hundred(site: &Site) {
    let door = Door::to(site, alice()).await;
    let (id, cursor) = queued(site).await;
    let arguments = json!({"execution_id": id, "cursor": cursor, "wait_ms": LONG});
    let before = threads();
    let calls = join_all((0..200).map(|_| door.call(MODERN, "get_status", arguments.clone())));
    let event = async {
        until_waiting(site, &id, 200).await;
        // Other tests run in this process, so a few more threads mean nothing.
        assert!(threads() < before + 100, "{before} threads became {}", threads());
        let arguments = json!({"execution_id": id});
        door.call(MODERN, "cancel_execution", arguments).await
    };
    let (answers, _) = tokio::join!(calls, event);
    for answer in answers {
        assert_eq!(answer["result"]["structuredContent"]["state"], "cancelled", "{answer}");
    }
    until_waiting(site, &id, 0).await;
}

/// Counts how often a future was polled.
struct Counted<F>(Pin<Box<F>>, Arc<AtomicUsize>);

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(context)
    }
}

async fn who_waits_is_not_looked_after(site: &Site) {
    let (id, cursor) = queued(site).await;
    // Whoever listens for other processes is there, too.
    let lifecycle = clawhand::lifecycle::Lifecycle::new();
    site.home.start_listening(&lifecycle);
    let polls = |wait_ms: u64| {
        let look = GetStatus {
            execution_id: id.clone(),
            cursor: Some(cursor.clone()),
            wait_ms: Some(wait_ms),
            max_bytes: None,
        };
        async move {
            let (count, actor) = (Arc::new(AtomicUsize::new(0)), alice());
            let call = || {
                let asked = Box::pin(site.control.get_status(&actor, look.clone()));
                TaskTracker::new().track_future(Counted(asked, count.clone()))
            };
            for answer in join_all((0..200).map(|_| call())).await {
                assert_eq!(ok(answer)["state"], "queued");
            }
            count.load(Ordering::Relaxed)
        }
    };
    let at_once = polls(0).await;
    let waiting = polls(1_500).await;
    lifecycle.stop();
    lifecycle.run().await.expect("ends");
    // Beside its one look, each is woken by its time alone.
    assert!(
        waiting <= at_once * 2 + 400,
        "{at_once} polls without waiting, {waiting} with it"
    );
}

async fn a_client_that_hangs_up_ends_its_wait(site: &Site) {
    let door = Door::to(site, alice()).await;
    let (id, cursor) = queued(site).await;
    let arguments = json!({"execution_id": id, "cursor": cursor, "wait_ms": LONG});
    for token in [json!({}), json!({"progressToken": 1})] {
        for revision in ["2025-11-25", MODERN] {
            let params = json!({"name": "get_status", "arguments": arguments, "_meta": token});
            let request = door.request(revision, "tools/call", params);
            let asking = async {
                let mut response = request.send().await.expect("a beginning");
                while response.chunk().await.expect("a chunk").is_some() {}
            };
            tokio::select! {
                () = asking => panic!("answered without news"),
                () = until_waiting(site, &id, 1) => {}
            }
            until_waiting(site, &id, 0).await;
        }
    }
}

async fn a_wait_that_is_cancelled_over_stdio_ends(site: &Site) {
    site.scripted.script([Move::Exit(0)]);
    let (id, cursor) = queued(site).await;
    let mut client = Piped::to(&site.control, alice()).await;
    for (request, meta) in [(7, json!({})), (8, json!({"progressToken": 1}))] {
        let arguments = json!({"execution_id": id, "cursor": cursor, "wait_ms": LONG});
        let params = json!({"name": "get_status", "arguments": arguments, "_meta": meta});
        client
            .send(json!({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params}))
            .await;
        until_waiting(site, &id, 1).await;
        client.cancel(request).await;
        until_waiting(site, &id, 0).await;
    }
    client.send(json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})).await;
    loop {
        let message = client.next().await;
        assert_ne!(
            message["result"]["isError"], false,
            "a cancelled call was answered: {message}"
        );
        if message["id"] == 9 {
            break;
        }
    }
}
