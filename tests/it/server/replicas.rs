//! Several servers on one database and one data folder: any of them answers any call, and each execution runs once,
//! also when one of them is killed in the midst of it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use super::caller::MODERN;
use super::gate::Gate;
use super::place::Place;

const EXECUTIONS: usize = 30;
/// What one replica does at once.
const PARALLEL: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_work_and_a_killed_one_is_replaced() {
    let Some(cluster) = crate::database::cluster() else {
        return;
    };
    let place = Place::on_postgres(&cluster).await;
    place.configure(&format!("[worker]\nlease = \"3s\"\nparallel = {PARALLEL}\n"));
    let gate = Gate::new().await;
    let (one, other) = (place.serve().await, place.serve().await);
    // Started here, asked there, by clients of both revisions.
    let callers = [one.caller().of(MODERN), other.caller()];
    let mut executions = Vec::new();
    for number in 0..EXECUTIONS {
        let (asks, starts) = (&callers[number % 2], &callers[(number + 1) % 2]);
        let task = asks.submit("run").await;
        let script = gate.script(&format!("gate {number}; echo done {number}"));
        starts.upload(&task, "one.sh", &script).await;
        executions.push(asks.start(&task).await);
    }
    let mut starts = BTreeMap::<String, u32>::new();
    // Both have their hands full when one of them dies.
    let mut standing = Vec::new();
    for _ in 0..2 * PARALLEL {
        standing.push(gate.visit().await);
    }
    assert_eq!(place.workers().await, 2, "both replicas work");
    one.kill().await;
    // What stood at the gate goes on, also under the dead one's supervisors; then the rest comes.
    for _ in 2 * PARALLEL..EXECUTIONS {
        for visit in standing.drain(..) {
            *starts.entry(visit.said.clone()).or_default() += 1;
            visit.open().await;
        }
        standing.push(gate.visit().await);
    }
    for visit in standing {
        *starts.entry(visit.said.clone()).or_default() += 1;
        visit.open().await;
    }
    let caller = other.caller();
    let ended = join_all(executions.iter().map(|execution| caller.followed(execution))).await;
    for (number, (log, result)) in ended.iter().enumerate() {
        assert_eq!(result["state"], "succeeded", "{number}: {result}");
        assert!(log.ends_with(&format!(")\ndone {number}\n")), "{number}: {log}");
    }
    assert_eq!(starts.len(), EXECUTIONS);
    assert!(
        starts.values().all(|count| *count == 1),
        "started more than once: {starts:?}"
    );
    assert!(gate.is_quiet(), "started more than once");
    let tasks = caller
        .ok("list_tasks", json!({"state": "succeeded", "limit": 100}))
        .await;
    assert_eq!(tasks["tasks"].as_array().expect("a list").len(), EXECUTIONS);
    other.stop().await;
    place.end().await;
}
