//! Parts of the cluster that end in the middle of a run and come back: no line is lost, nothing runs twice.

use std::time::Duration;

use clawhand::domain::target::KubernetesBlock;
use clawhand::executors::{AttemptState, Executor, ExecutorError, Handle};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::task::JoinSet;

use super::super::rig::patiently;
use super::super::suite::{Run, sh};
use super::cluster::{Breakable, NODE};

/// Longer than a part is away.
const SCRIPT: &str = "echo run >> count; n=0; while [ $n -lt 60 ]; do n=$((n + 1)); echo line $n; sleep 0.2; done; wc -l < count; exit 3";

fn expected() -> String {
    let lines: String = (1..=60).map(|n| format!("line {n}\n")).collect();
    format!("{lines}1\n")
}

async fn goes_on_without(part: &str, how: &str) {
    let Some(cluster) = Breakable::new().await else { return };
    let system = &cluster.namespace;
    let run = Run::new(system).await;
    let handle = run.start(&sh(SCRIPT)).await;
    let mut output = run.until_printed(&handle, "line 3\n").await.into_bytes();
    cluster.end(how, part).await;
    let follow = patiently(&*run.executor, &handle, &mut output);
    let outage = async {
        // Away for a while that everybody notices.
        let mut while_away = tokio::time::interval(Duration::from_secs(4));
        while_away.tick().await;
        while_away.tick().await;
        cluster.start(part).await;
    };
    let ((report, unreached), ()) = tokio::join!(follow, outage);
    assert_eq!(String::from_utf8_lossy(&output), expected());
    assert_eq!(report.exit_code, Some(3), "{report:?}");
    println!("{part} was away; {unreached} looks found it so");
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    while let Err(ExecutorError::Unreachable(_)) = run.executor.clean_up(run.execution).await {
        pause.tick().await;
    }
    run.over(system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_may_end_and_start_again() {
    goes_on_without("apiserver", "stop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_may_be_killed() {
    goes_on_without("apiserver", "kill").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubelet_may_end_and_start_again() {
    goes_on_without("kubelet", "stop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubelet_may_be_killed() {
    goes_on_without("kubelet", "kill").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_may_end_and_start_again() {
    goes_on_without("containerd", "stop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerd_may_be_killed() {
    goes_on_without("containerd", "kill").await;
}

/// Observes a step whose node is away: it can't be reached, until the cluster gives it up. Returns how often it couldn't.
async fn until_lost(executor: &dyn Executor, handle: &Handle) -> (String, u32) {
    let mut unreached = 0;
    let mut pause = tokio::time::interval(Duration::from_millis(500));
    loop {
        match executor.observe(handle, 0, 1 << 20, Duration::from_secs(3)).await {
            Err(ExecutorError::Unreachable(_)) => unreached += 1,
            Ok(seen) => match seen.state {
                AttemptState::Running => {}
                AttemptState::Lost(why) => return (why, unreached),
                other => panic!("ended as {other:?}"),
            },
            Err(error) => panic!("{error}"),
        }
        pause.tick().await;
    }
}

/// A run on a node of which nothing is heard any more; `meanwhile` is what happens besides.
async fn is_lost_with_its_node(meanwhile: impl AsyncFnOnce(&Breakable), wanted: &[&str]) {
    let Some(cluster) = Breakable::new().await else { return };
    let system = &cluster.namespace;
    cluster.node_ready().await;
    // As every pod has it, only shorter.
    let tolerated =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let tolerations = [
        tolerated("node.kubernetes.io/not-ready"),
        tolerated("node.kubernetes.io/unreachable"),
    ];
    let block = KubernetesBlock {
        pod: json!({"spec": {"tolerations": tolerations}}),
        ..system.block.clone()
    };
    let mut run = Run::new(system).await;
    run.executor = system.executor_of(block.clone());
    let handle = run.start(&sh("echo begun; sleep 1000")).await;
    run.until_printed(&handle, "begun").await;
    cluster.end("kill", "kubelet").await;
    meanwhile(&cluster).await;
    let (why, unreached) = until_lost(&*run.executor, &handle).await;
    println!("{unreached} looks did not reach the node; then: {why}");
    assert!(wanted.contains(&why.as_str()), "{why}");
    let (again, _) = until_lost(&*system.executor_of(block), &handle).await;
    assert!(wanted.contains(&again.as_str()), "{again}");
    cluster.start("kubelet").await;
    cluster.node_ready().await;
    let nodes: Api<Node> = Api::all(system.client.clone());
    let _ = nodes.delete(&format!("{NODE}-two"), &DeleteParams::default()).await;
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    while let Err(ExecutorError::Unreachable(_)) = run.executor.clean_up(run.execution).await {
        pause.tick().await;
    }
    run.over(system).await;
}

/// A node that is none, and says all the time that it is well: of a cluster in which nobody is, nothing is taken away.
async fn another_node(nodes: Api<Node>) {
    let node = json!({"metadata": {"name": format!("{NODE}-two")}, "spec": {"unschedulable": true}});
    let node = serde_json::from_value(node).expect("is a node");
    nodes.create(&PostParams::default(), &node).await.expect("makes a node");
    let mut beats = tokio::time::interval(Duration::from_secs(2));
    for beat in 0.. {
        beats.tick().await;
        // What counts is that it changes.
        let at = format!("2026-01-01T{:02}:{:02}:00Z", beat / 60 % 24, beat % 60);
        let ready = json!({"type": "Ready", "status": "True", "reason": "Test", "message": "",
            "lastHeartbeatTime": at, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let patch = Patch::Merge(json!({"status": {"conditions": [ready]}}));
        // Once it was deleted nobody needs it.
        let _ = nodes
            .patch_status(&format!("{NODE}-two"), &PatchParams::default(), &patch)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_falls_silent_takes_the_step_along_and_that_is_no_failure_of_the_work() {
    let mut beating = JoinSet::new();
    let silent = async |cluster: &Breakable| {
        beating.spawn(another_node(Api::all(cluster.namespace.client.clone())));
    };
    is_lost_with_its_node(silent, &["the cluster took its pod away"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_taken_out_of_the_cluster_takes_the_step_along() {
    let taken_out = async |cluster: &Breakable| {
        let nodes: Api<Node> = Api::all(cluster.namespace.client.clone());
        nodes
            .delete(NODE, &DeleteParams::default())
            .await
            .expect("deletes the node");
    };
    let wanted = [
        "the cluster took its pod away",
        "its pod was deleted",
        "the job of the attempt is gone",
    ];
    is_lost_with_its_node(taken_out, &wanted).await;
}
