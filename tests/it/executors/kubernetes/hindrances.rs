//! What comes between a step and its end that is not the step's own doing, each told as what it is.

use std::collections::BTreeMap;
use std::time::Duration;

use clawhand::domain::target::{KubernetesBlock, Resources};
use clawhand::executors::{AttemptState, Executor, ExecutorError};

use super::super::rig::follow;
use super::super::suite::{Run, System, sh};
use super::cluster;

/// How a step ends that is started with another block than its workspace was made with.
async fn end_with(system: &cluster::InNamespace, block: KubernetesBlock, script: &str) -> (Run, AttemptState) {
    let mut run = Run::new(system).await;
    run.executor = system.executor_of(block);
    let handle = run.start(&sh(script)).await;
    let (_, state) = follow(&*run.executor, &handle).await;
    let (_, again) = follow(&*system.executor(), &handle).await;
    assert_eq!(again, state, "and so it stays");
    (run, state)
}

fn nowhere(system: &cluster::InNamespace) -> KubernetesBlock {
    KubernetesBlock {
        node_selector: BTreeMap::from([("clawhand-test".to_owned(), "nowhere".to_owned())]),
        start_timeout: Duration::from_secs(2),
        ..system.block.clone()
    }
}

#[tokio::test]
async fn an_image_that_is_not_there_starts_nothing() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let block = KubernetesBlock {
        helper_image: Some(system.block.image.clone()),
        // A registry that refuses at once.
        image: "127.0.0.1:1/missing:1".to_owned(),
        ..system.block.clone()
    };
    let (run, state) = end_with(&system, block, "true").await;
    assert_eq!(
        state,
        AttemptState::NeverStarted("the image could not be pulled".to_owned())
    );
    run.over(&system).await;
}

#[tokio::test]
async fn a_pod_that_no_node_takes_is_given_up() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let (run, state) = end_with(&system, nowhere(&system), "true").await;
    assert_eq!(state, AttemptState::NeverStarted("no node takes it".to_owned()));
    run.over(&system).await;
    let error = system.executor_of(nowhere(&system)).prepare(run_id(), &[]).await;
    assert!(
        matches!(&error, Err(ExecutorError::Refused(why)) if why.contains("no node takes it")),
        "{error:?}"
    );
}

fn run_id() -> clawhand::domain::ExecutionId {
    clawhand::domain::ExecutionId::random()
}

#[tokio::test]
async fn cancelled_while_no_node_takes_it_it_never_starts() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let mut run = Run::new(&system).await;
    let block = KubernetesBlock {
        start_timeout: Duration::from_secs(600),
        ..nowhere(&system)
    };
    run.executor = system.executor_of(block);
    let handle = run.start(&sh("true")).await;
    let waited = run
        .executor
        .observe(&handle, 0, 10, Duration::ZERO)
        .await
        .expect("observes");
    assert_eq!(waited.state, AttemptState::Running);
    let (_, state) = tokio::join!(run.cancel(&handle, Duration::ZERO), async {
        follow(&*system.executor(), &handle).await.1
    });
    assert!(
        matches!(&state, AttemptState::Ended(report) if report.cancelled),
        "{state:?}"
    );
    run.over(&system).await;
}

#[tokio::test]
async fn too_much_memory_is_told_as_such() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let block = KubernetesBlock {
        resources: Resources {
            memory_limit: Some("64Mi".to_owned()),
            ..Resources::default()
        },
        ..system.block.clone()
    };
    let (run, state) = end_with(&system, block, "echo begun; exec tail /dev/zero").await;
    let AttemptState::Ended(report) = state else {
        panic!("ended as {state:?}")
    };
    assert_eq!((report.exit_code, report.signal), (Some(137), Some(9)), "{report:?}");
    assert_eq!(report.exec_error.as_deref(), Some("it ran out of memory"), "{report:?}");
    run.over(&system).await;
}

#[tokio::test]
async fn a_pod_that_is_evicted_is_lost_and_no_failure_of_the_work() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let block = KubernetesBlock {
        workspace_size: Some("1Mi".to_owned()),
        ..system.block.clone()
    };
    let script = "head -c 8388608 /dev/zero > big; echo written; sleep 1000";
    let (run, state) = end_with(&system, block, script).await;
    assert_eq!(state, AttemptState::Lost("it was evicted from its node".to_owned()));
    run.over(&system).await;
}

#[tokio::test]
async fn a_pod_that_somebody_deletes_is_lost() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let run = Run::new(&system).await;
    let handle = run.start(&sh("echo begun; sleep 1000")).await;
    run.until_printed(&handle, "begun").await;
    let pod = system
        .pod(&handle)
        .await
        .and_then(|pod| pod.metadata.name)
        .expect("has a pod");
    system
        .pods()
        .delete(&pod, &kube::api::DeleteParams::default())
        .await
        .expect("deletes");
    let (_, state) = follow(&*run.executor, &handle).await;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    run.over(&system).await;
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_what_to_do() {
    let Some(system) = cluster::namespace().await else {
        return;
    };
    let block = |change: fn(&mut KubernetesBlock)| {
        let mut block = system.block.clone();
        change(&mut block);
        block
    };
    let with = |kubeconfig: std::path::PathBuf| KubernetesBlock {
        kubeconfig: Some(kubeconfig.display().to_string()),
        ..system.block.clone()
    };
    let server = {
        let kubeconfig = std::fs::read_to_string(system.block.kubeconfig.as_ref().expect("is set")).expect("reads");
        let at = kubeconfig.find("https://").expect("names a server");
        kubeconfig[at..]
            .split(['"', '\n', ' '])
            .next()
            .expect("is there")
            .to_owned()
    };
    let cases = [
        (with("/nowhere/kubeconfig".into()), "can't be read", "kubeconfig"),
        (
            with(system.kubeconfig_of("gone", "https://127.0.0.1:1", "x")),
            "refused",
            "can be reached",
        ),
        (
            with(system.kubeconfig_of("stranger", &server, "not-a-token")),
            "Unauthorized",
            "renew",
        ),
        (
            with(system.account("nobody", serde_json::json!([])).await),
            "may not create jobs",
            "docs/TARGETS.md",
        ),
        (
            block(|block| "clawhand-no-such".clone_into(&mut block.namespace)),
            "not found",
            "make the namespace",
        ),
        (
            block(|block| "127.0.0.1:1/missing:1".clone_into(&mut block.image)),
            "could not be pulled",
            "image",
        ),
        (
            block(|block| block.service_account = Some("missing".to_owned())),
            "did not make its pod",
            "events",
        ),
    ];
    for (mut block, what, hint) in cases {
        block.start_timeout = Duration::from_secs(5);
        let trouble = system.executor_of(block).probe().await.expect_err(what);
        assert!(
            trouble.what.contains(what) && trouble.hint.contains(hint),
            "{trouble:?}, not {what:?} and {hint:?}"
        );
    }
}
