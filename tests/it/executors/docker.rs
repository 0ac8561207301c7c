//! What only a Docker daemon does, or can be made to do: limits of a whole container, strangers at work, a daemon that
//! is away.

use std::time::Duration;

use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptions,
};
use clawhand::domain::ExecutionId;
use clawhand::domain::target::{DockerBlock, DockerTls, PullPolicy};
use clawhand::executors::{AttemptState, Executor as _, ExecutorError, Handle};
use nix::sys::signal::{Signal, kill};

use super::rig::{LONG, follow};
use super::suite::{Run, System as _, attempt, sh};
use super::suite_docker::{Daemon, container};

#[tokio::test]
async fn running_out_of_memory_is_told_apart() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let mut start = sh("x=0123456789abcdef; while :; do x=$x$x$x$x; done");
    start.limits.max_memory_bytes = Some(32 << 20);
    let handle = run.start(&start).await;
    let (_, report) = run.end_of(&handle).await;
    assert_eq!((report.exit_code, report.signal), (Some(137), Some(9)), "{report:?}");
    assert_eq!(report.exec_error.as_deref(), Some("it ran out of memory"));
    run.over(&daemon).await;
}

#[tokio::test]
async fn processes_are_counted() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let mut start = sh("n=0; while [ $n -lt 400 ]; do sleep 100 & n=$((n + 1)); done; echo all of them");
    start.limits.max_processes = Some(20);
    let handle = run.start(&start).await;
    let (output, report) = run.end_of(&handle).await;
    let output = String::from_utf8_lossy(&output);
    assert!(
        !output.contains("all of them") && report.exit_code != Some(0),
        "{report:?}: {output}"
    );
    run.over(&daemon).await;
}

#[tokio::test]
async fn there_is_no_network_no_privilege_and_no_way_to_change_the_image() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let script = "ls /sys/class/net; grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status; id -u; id -g; \
        touch /bin/x 2>&1; cat /proc/self/cgroup | grep -c '[0-9a-f]\\{64\\}'; hostname";
    let (output, _) = run.sh(script).await;
    let lines: Vec<&str> = output.lines().collect();
    let wanted = [
        "lo",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "64917",
        "64917",
        "touch: /bin/x: Read-only file system",
        "0",
        "workspace",
    ];
    assert_eq!(lines, wanted);
    run.over(&daemon).await;
}

#[tokio::test]
async fn a_container_that_somebody_else_ends_is_lost_and_not_cancelled() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let lost = async |handle: &Handle| match follow(&*run.executor, handle).await.1 {
        AttemptState::Lost(_) => {}
        other => panic!("ended as {other:?}"),
    };
    let stopped = run.start(&sh("echo begun; sleep 1000")).await;
    run.until_printed(&stopped, "begun").await;
    let name = container(&stopped);
    let stop = daemon
        .docker
        .stop_container(&name, None::<StopContainerOptions>);
    stop.await.expect("stops");
    lost(&stopped).await;

    let removed = run.start(&sh("echo begun; sleep 1000")).await;
    run.until_printed(&removed, "begun").await;
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    let name = container(&removed);
    let remove = daemon.docker.remove_container(&name, Some(options));
    remove.await.expect("removes");
    lost(&removed).await;
    run.over(&daemon).await;
}

#[tokio::test]
async fn a_container_removed_after_its_end_has_ended_all_the_same() {
    let Some(daemon) = Daemon::find().await else { return };
    let mut run = Run::new(&daemon).await;
    let handle = run.start(&sh("echo said; exit 7")).await;
    run.end_of(&handle).await;
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    let name = container(&handle);
    let remove = daemon.docker.remove_container(&name, Some(options));
    remove.await.expect("removes");
    run.executor = daemon.executor();
    let (output, report) = run.end_of(&handle).await;
    assert_eq!((output.as_slice(), report.exit_code), (&b"said\n"[..], Some(7)));
    run.over(&daemon).await;
}

#[tokio::test]
async fn what_was_made_and_never_started_is_started_once() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let start = sh("echo line >> count; wc -l < count");
    // As a clawhand leaves it that is killed between making the container and starting it.
    let mark = |name: &str, value: String| (name.to_owned(), value);
    let labels = [
        mark("io.clawhand.execution", run.execution.to_string()),
        mark("io.clawhand.attempt", start.attempt.to_string()),
    ];
    let body = bollard::models::ContainerCreateBody {
        image: Some(daemon.block().image),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-s".to_owned()]),
        labels: Some(labels.into()),
        ..Default::default()
    };
    let name = format!("clawhand-{}", start.attempt);
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let made = daemon
        .docker
        .create_container(Some(options), body)
        .await
        .expect("makes");
    let handle = run.start(&start).await;
    assert_eq!(String::from_utf8_lossy(&run.end_of(&handle).await.0).trim(), "1");
    let gone = daemon.docker.inspect_container(&made.id, None).await;
    assert!(gone.is_err(), "the one without a job was taken away");
    run.over(&daemon).await;
}

#[tokio::test]
async fn a_stranger_with_the_name_of_an_attempt_is_left_alone() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let start = sh("true");
    let name = format!("clawhand-{}", start.attempt);
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let body = bollard::models::ContainerCreateBody {
        image: Some(daemon.block().image),
        ..Default::default()
    };
    let made = daemon
        .docker
        .create_container(Some(options), body)
        .await
        .expect("makes");
    let refused = run.executor.start(&run.workspace, &start).await;
    assert!(matches!(refused, Err(ExecutorError::Refused(_))), "{refused:?}");
    run.executor.clean_up(run.execution).await.expect("cleans up");
    assert!(daemon.docker.inspect_container(&made.id, None).await.is_ok());
    daemon.docker.remove_container(&made.id, None).await.expect("removes");
}

#[tokio::test]
async fn a_daemon_that_is_away_for_some_seconds_costs_no_line() {
    let Some(daemon) = Daemon::find_alone().await else { return };
    let Ok(file) = std::env::var("CLAWHAND_TEST_DOCKER_PID") else {
        return;
    };
    let pid: i32 = std::fs::read_to_string(file)
        .expect("reads")
        .trim()
        .parse()
        .expect("a number");
    let run = Run::new(&daemon).await;
    let handle = run
        .start(&sh("for n in 1 2 3 4 5 6; do echo line $n; sleep 1; done"))
        .await;
    let before = run.until_printed(&handle, "line 2\n").await;
    let daemon_process = nix::unistd::Pid::from_raw(pid);
    kill(daemon_process, Signal::SIGSTOP).expect("stops it");
    // Whatever is asked meanwhile answers in time, one way or the other.
    let from = before.len() as u64;
    let asked = run.executor.observe(&handle, from, 100, Duration::from_secs(3));
    let asked = tokio::time::timeout(LONG, asked).await;
    kill(daemon_process, Signal::SIGCONT).expect("continues it");
    if let Ok(seen) = asked.expect("answers") {
        assert_eq!(seen.state, AttemptState::Running);
    }
    let (output, report) = run.end_of(&handle).await;
    let expected: String = (1..=6).map(|n| format!("line {n}\n")).collect();
    assert_eq!(
        (String::from_utf8_lossy(&output).as_ref(), report.exit_code),
        (expected.as_str(), Some(0))
    );
    run.over(&daemon).await;
}

#[tokio::test]
async fn a_cancel_without_grace_does_not_wait() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let mut start = sh("trap '' TERM; echo begun; while :; do sleep 1; done");
    start.grace = Duration::from_secs(1000);
    let handle = run.start(&start).await;
    run.until_printed(&handle, "begun").await;
    run.cancel(&handle, Duration::ZERO).await;
    let (_, report) = run.end_of(&handle).await;
    assert!(report.cancelled, "{report:?}");
    run.over(&daemon).await;
}

#[tokio::test]
async fn an_operator_reads_what_is_wrong() {
    let Some(daemon) = Daemon::find().await else { return };
    let block = |change: &dyn Fn(&mut DockerBlock)| {
        let mut block = daemon.block();
        change(&mut block);
        block
    };
    let missing = "/nowhere/x.pem".to_owned();
    let tls = DockerTls {
        ca: missing.clone(),
        cert: missing.clone(),
        key: missing,
    };
    for (block, what, hint) in [
        (
            block(&|b| b.endpoint = "unix:///nowhere/docker.sock".to_owned()),
            "/nowhere",
            "start the daemon",
        ),
        (
            block(&|b| b.endpoint = "tcp://127.0.0.1:1".to_owned()),
            "refused",
            "can be reached",
        ),
        (
            block(&|b| {
                b.endpoint = "tcp://127.0.0.1:1".to_owned();
                b.tls = Some(tls.clone());
            }),
            "/nowhere/x.pem",
            "executor.tls",
        ),
        (
            block(&|b| b.image = "clawhand-test/none:1".to_owned()),
            "No such image",
            "executor.image",
        ),
        (block(&|b| b.runtime = Some("none".to_owned())), "runtime", "correct"),
        (
            block(&|b| b.network = Some("none-such".to_owned())),
            "network",
            "correct",
        ),
    ] {
        let trouble = daemon.with(block).probe().await.expect_err("is wrong");
        assert!(trouble.what.contains(what), "{what}: {trouble:?}");
        assert!(trouble.hint.contains(hint), "{hint}: {trouble:?}");
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_refuses_the_execution() {
    let Some(daemon) = Daemon::find().await else { return };
    let executor = daemon.with(DockerBlock {
        pull: PullPolicy::Missing,
        image: "127.0.0.1:1/none:1".to_owned(),
        ..daemon.block()
    });
    let execution = ExecutionId::random();
    let prepared = executor.prepare(execution, &[]).await;
    assert!(matches!(prepared, Err(ExecutorError::Refused(_))), "{prepared:?}");
    assert_eq!(daemon.remains(execution).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_supervisor_ended_from_outside_is_a_loss() {
    let Some(daemon) = Daemon::find().await else { return };
    let run = Run::new(&daemon).await;
    let handle = run.start(&attempt(&["sleep", "1000"])).await;
    let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
    let name = container(&handle);
    let kill = daemon.docker.kill_container(&name, Some(options));
    kill.await.expect("kills");
    let state = follow(&*run.executor, &handle).await.1;
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    run.over(&daemon).await;
}
