//! Parts of the cluster that end in the middle of a run and come back: no line is lost, nothing runs twice.

use std::time::Duration;

use clawhand::executors::ExecutorError;

use super::super::rig::patiently;
use super::super::suite::{Run, sh};
use super::cluster::Breakable;

/// Longer than a part is away.
const SCRIPT: &str = "echo run >> count; n=0; while [ $n -lt 60 ]; do n=$((n + 1)); echo line $n; sleep 0.2; done; wc -l < count; exit 3";

fn expected() -> String {
    let lines: String = (1..=60).map(|n| format!("line {n}\n")).collect();
    format!("{lines}1\n")
}

async fn goes_on_without(part: &str) {
    let Some(cluster) = Breakable::new().await else { return };
    let system = &cluster.namespace;
    let run = Run::new(system).await;
    let handle = run.start(&sh(SCRIPT)).await;
    let mut output = run.until_printed(&handle, "line 3\n").await.into_bytes();
    cluster.stop(part).await;
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
    goes_on_without("apiserver").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubelet_may_end_and_start_again() {
    goes_on_without("kubelet").await;
}
