//! Processes that die: whoever started it, and the supervisor.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clawhand::domain::ExecutionId;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{AttemptState, Executor, Handle, LocalExecutor, Workspace};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::rig::{Rig, data_folder, follow, processes_of, settings, sh, until_printed};
use super::tree::nobody_sleeps_in;

fn supervisor_of(handle: &Handle) -> Pid {
    let text = std::fs::read(Path::new(&handle.place).join("started")).expect("was started");
    let started: serde_json::Value = serde_json::from_slice(&text).expect("is JSON");
    let pid = started["supervisor"]["pid"].as_i64().expect("has a number");
    Pid::from_raw(i32::try_from(pid).expect("fits"))
}

#[tokio::test]
async fn another_process_goes_on_where_the_starter_died() {
    let data = data_folder();
    std::fs::write(data.path().join("go"), "").expect("writes");
    let mut starter = {
        use std::os::unix::process::CommandExt as _;
        Command::new(std::env::current_exe().expect("is known"))
            .args(["--ignored", "--exact", "executors::lost::the_starter", "--nocapture"])
            .current_dir(data.path())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("starts")
    };
    let lines = BufReader::new(starter.stdout.take().expect("has a pipe")).lines();
    let line = lines
        .map(|line| line.expect("reads"))
        .find(|line| line.contains("HANDLE "))
        .expect("a handle");
    let json = line.split_once("HANDLE ").expect("a handle").1;
    let (workspace, handle): (Workspace, Handle) = serde_json::from_str(json).expect("parses");
    let group = Pid::from_raw(i32::try_from(starter.id()).expect("fits"));
    killpg(group, Signal::SIGKILL).expect("kills");
    starter.wait().expect("waits");

    let executor = LocalExecutor::new(settings(data.path()), LocalBlock::default());
    std::fs::write(Path::new(&workspace.place).join("go-on"), "").expect("writes");
    let (output, state) = follow(&executor, &handle).await;
    let lines: Vec<String> = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert_eq!(
        String::from_utf8_lossy(&output),
        format!("{}{}", lines.concat(), lines.concat())
    );
    assert!(matches!(state, AttemptState::Ended(report) if report.exit_code == Some(6)));
    executor.clean_up(workspace.execution).await.expect("cleans up");
}

/// Not a test: the process that the test above kills. On its own it has no `go` and does nothing.
#[test]
#[ignore = "run by another test"]
fn the_starter() {
    if !Path::new("go").exists() {
        return;
    }
    let data = std::env::current_dir().expect("stands somewhere");
    let runtime = tokio::runtime::Runtime::new().expect("makes a runtime");
    let started = runtime.block_on(async {
        let executor = LocalExecutor::new(settings(&data), LocalBlock::default());
        let workspace = executor.prepare(ExecutionId::random(), &[]).await.expect("prepares");
        let script = "seq 1000; until [ -e go-on ]; do sleep 0.01; done; seq 1000; exit 6";
        let handle = executor.start(&workspace, &sh(script)).await.expect("starts");
        (workspace, handle)
    });
    println!("HANDLE {}", serde_json::to_string(&started).expect("serializes"));
    loop {
        std::thread::park();
    }
}

fn is_running(argument: &str) -> bool {
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    numbers
        .map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|line| line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()))
}

#[tokio::test]
async fn with_the_supervisor_killed_it_is_lost_and_nothing_is_left() {
    let rig = Rig::new().await;
    let without_a_trace = format!("1000.{}", std::process::id());
    let script = "sleep 1000 & (setsid sleep 1000 </dev/null >/dev/null 2>&1 &); \
        (env -i /usr/bin/setsid /bin/sleep 1000 </dev/null >/dev/null 2>&1 &); \
        (cd /; env -i /usr/bin/setsid /bin/sleep NUMBER </dev/null >/dev/null 2>&1 &); \
        (cd /; env -i /bin/sleep 1000 </dev/null >/dev/null 2>&1 &); \
        echo ready; wait";
    let handle = rig.start(&sh(&script.replace("NUMBER", &without_a_trace))).await;
    until_printed(&rig.executor, &handle, "ready").await;
    assert!(is_running(&without_a_trace));
    let watching = follow(&rig.executor, &handle);
    let supervisor = supervisor_of(&handle);
    let killing = async { kill(supervisor, Signal::SIGKILL).expect("kills") };
    let ((output, state), ()) = tokio::join!(watching, killing);
    assert_eq!(output, b"ready\n");
    assert!(matches!(state, AttemptState::Lost(_)), "{state:?}");
    assert!(processes_of(&[handle.attempt.to_string()]).is_empty());
    assert!(nobody_sleeps_in(&rig));
    assert!(
        !is_running(&without_a_trace),
        "one without mark, session or folder to know it by was left"
    );

    // Started again it is found as lost, and not run a second time.
    let again = rig.start(&sh("true")).await;
    assert_ne!(again, handle);
    rig.end_of(&again).await;
    let mut same = sh("echo ran twice");
    same.attempt = handle.attempt;
    assert_eq!(rig.start(&same).await, handle);
    assert!(matches!(follow(&rig.executor, &handle).await.1, AttemptState::Lost(_)));
}

#[tokio::test]
async fn clean_up_ends_what_a_lost_supervisor_left() {
    let rig = Rig::new().await;
    let handle = rig
        .start(&sh(
            "(env -i setsid sleep 1000 </dev/null >/dev/null 2>&1 &); echo ready; sleep 1000",
        ))
        .await;
    until_printed(&rig.executor, &handle, "ready").await;
    kill(supervisor_of(&handle), Signal::SIGKILL).expect("kills");
    rig.executor
        .cancel(&handle, Duration::ZERO)
        .await
        .expect("cancels what is lost");
    rig.executor.clean_up(rig.execution).await.expect("cleans up");
    assert!(nobody_sleeps_in(&rig));
    assert!(!rig.run_folder().exists());
}

#[tokio::test]
async fn a_supervisor_that_died_before_the_start_is_replaced() {
    let rig = Rig::new().await;
    let start = sh("echo ran");
    let place = rig.run_folder().join("attempts").join(start.attempt.to_string());
    // What is there of a starter and a supervisor that were killed between their first steps.
    std::fs::create_dir(&place).expect("makes the folder");
    for half in ["lock", "spec.new", "exit.json.new", "out", "supervisor.log"] {
        std::fs::write(place.join(half), "half of somethi").expect("writes");
    }
    let handle = rig.start(&start).await;
    assert_eq!(rig.end_of(&handle).await.0, b"ran\n");
}

#[tokio::test]
async fn a_supervisor_that_hears_half_the_secrets_starts_nothing() {
    let rig = Rig::new().await;
    let done = sh("true");
    let handle = rig.start(&done).await;
    rig.end_of(&handle).await;
    let start = sh("echo ran");
    let place = rig.run_folder().join("attempts").join(start.attempt.to_string());
    std::fs::create_dir(&place).expect("makes the folder");
    std::fs::copy(Path::new(&handle.place).join("spec.json"), place.join("spec.json")).expect("copies");
    let mut supervisor = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_clawhand")))
        .arg("supervise")
        .arg(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    use std::io::Write as _;
    supervisor
        .stdin
        .take()
        .expect("has a pipe")
        .write_all(b"{\"TOKEN\":\"hal")
        .expect("writes");
    let said = supervisor.wait_with_output().expect("ends");
    assert!(!said.status.success());
    assert!(
        String::from_utf8_lossy(&said.stdout).starts_with("refused: "),
        "{said:?}"
    );
    assert!(!place.join("started").exists());
}

#[tokio::test]
async fn a_restart_of_the_machine_is_a_loss() {
    let rig = Rig::new().await;
    let handle = rig.start(&sh("echo done")).await;
    rig.end_of(&handle).await;
    let place = Path::new(&handle.place);
    std::fs::remove_file(place.join("exit.json")).expect("removes");
    let started = std::fs::read_to_string(place.join("started")).expect("reads");
    let mut started: serde_json::Value = serde_json::from_str(&started).expect("is JSON");
    started["boot_id"] = "another".into();
    std::fs::write(place.join("started"), started.to_string()).expect("writes");
    let (output, state) = follow(&rig.executor, &handle).await;
    assert_eq!(output, b"done\n");
    assert_eq!(state, AttemptState::Lost("the machine was restarted".to_owned()));
    rig.executor
        .cancel(&handle, Duration::ZERO)
        .await
        .expect("signals nobody");
}
