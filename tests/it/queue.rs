//! What callers are told of the queue: where they stand, what they wait for, and of others nothing but a number.

use clawhand::control::Control;
use clawhand::control::contract::GetStatus;
use clawhand::domain::Scope;
use clawhand::executors::scripted::Move;
use serde_json::{Value, json};

use crate::site::{LAB, Site, Worker, alice, caller, ok, on_both_sites, text};

on_both_sites!(
    a_place_is_told_while_it_waits,
    a_full_target_is_told,
    another_callers_work_goes_between
);

async fn queue_of(control: &Control, id: &str) -> Value {
    let ask = GetStatus {
        execution_id: id.into(),
        ..GetStatus::default()
    };
    ok(control.get_status(&alice(), ask).await)["queue"].clone()
}

async fn a_place_is_told_while_it_waits(site: &Site) {
    let bob = caller("bob", &[Scope::Tasks]);
    let first = site.started(&alice(), "run").await;
    let next = json!({"before": 0, "waits_for": "turn", "message": "it is next"});
    assert_eq!(first["queue"], next);
    site.started(&bob, "run").await;
    let third = site.started(&alice(), "run").await;
    assert_eq!(
        third["queue"],
        json!({"before": 2, "waits_for": "turn", "message": "2 before it"})
    );
    let asks = site.started(&alice(), "deploy").await;
    assert_eq!(asks["queue"], Value::Null, "it waits for a person");
    let (first, third) = (text(&first, "/execution_id"), text(&third, "/execution_id"));
    assert_eq!(queue_of(&site.control, &first).await, next);
    assert!(!queue_of(&site.control, &third).await.to_string().contains("bob"));
    let worker = site.work();
    let (_, status) = site.followed(&alice(), &third).await;
    assert_eq!(status["queue"], Value::Null);
    worker.stop().await;
}

async fn a_full_target_is_told(site: &Site) {
    site.write_target("lab.toml", &format!("{LAB}\n[limits]\nmax_concurrent = 1\n"));
    let home = site.another().await;
    let (control, worker) = (home.control(None), Worker::start(&home));
    site.scripted.script([Move::Wait("gate"), Move::Exit(0)]);
    site.started(&alice(), "run").await;
    site.scripted.until(|scripted| scripted.started().len() == 1).await;
    let second = text(&site.started(&alice(), "run").await, "/execution_id");
    let queue = queue_of(&control, &second).await;
    assert_eq!((&queue["before"], &queue["waits_for"]), (&json!(0), &json!("target")));
    let words = "its target runs as many executions as it may at once; it is next";
    assert_eq!(queue["message"], words);
    site.scripted.open("gate");
    let (_, status) = site.followed(&alice(), &second).await;
    assert_eq!(status["state"], "succeeded");
    worker.stop().await;
    home.store.clone().close().await;
}

/// One at a time on the target: who came last with his first one is served before the many that came before.
async fn another_callers_work_goes_between(site: &Site) {
    site.write_target("lab.toml", &format!("{LAB}\n[limits]\nmax_concurrent = 2\n"));
    let home = site.another().await;
    let bob = caller("bob", &[Scope::Tasks]);
    let mut many = Vec::new();
    for _ in 0..6 {
        site.scripted.script([Move::Wait("gate"), Move::Exit(0)]);
        many.push(text(&site.started(&alice(), "run").await, "/execution_id"));
    }
    let one = text(&site.started(&bob, "run").await, "/execution_id");
    let worker = Worker::start(&home);
    site.scripted.until(|scripted| scripted.started().len() == 2).await;
    let begun: Vec<String> = site.scripted.prepared().iter().map(|(id, _)| id.to_string()).collect();
    assert!(begun.contains(&many[0]) && begun.contains(&one), "{begun:?}");
    site.scripted.open("gate");
    for id in &many {
        site.followed(&alice(), id).await;
    }
    worker.stop().await;
    home.store.clone().close().await;
}
