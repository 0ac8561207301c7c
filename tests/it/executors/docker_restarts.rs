//! A Docker daemon that really ends: told to, or killed, in the middle of a run, with containers that outlive it.

use std::path::PathBuf;
use std::time::Duration;

use clawhand::executors::{AttemptState, ExecutorError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::rig::patiently;
use super::suite::{ALL, Run, System as _, sh};
use super::suite_docker::{Daemon, said};

/// Longer than the daemon is away.
const SCRIPT: &str = "echo run >> count; n=0; while [ $n -lt 60 ]; do n=$((n + 1)); echo line $n; sleep 0.2; done; wc -l < count; exit 3";

fn expected() -> String {
    let lines: String = (1..=60).map(|n| format!("line {n}\n")).collect();
    format!("{lines}1\n")
}

/// The process of the daemon, which is started again whenever it ends, unless it has to stay away.
struct Process {
    pid_file: PathBuf,
    away: PathBuf,
}

impl Process {
    fn find() -> Option<Self> {
        let pid_file = PathBuf::from(said("CLAWHAND_TEST_DOCKER_PID")?);
        let away = pid_file.with_file_name("away");
        Some(Self { pid_file, away })
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(&self.pid_file).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }

    /// Ends it. It stays away until it is let back.
    async fn end(&self, signal: Signal) {
        std::fs::write(&self.away, "").expect("writes");
        let pid = self.pid().expect("runs");
        kill(pid, signal).expect("ends it");
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while kill(pid, None).is_ok() {
            looks.tick().await;
        }
    }

    /// Lets it come back, and waits until it answers.
    async fn back(&self, daemon: &Daemon) {
        std::fs::remove_file(&self.away).expect("removes");
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        while daemon.docker.ping().await.is_err() {
            looks.tick().await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whatever became of the test, the others need the daemon.
        let _ = std::fs::remove_file(&self.away);
    }
}

async fn goes_on_without_the_daemon(signal: Signal, script: &str, wanted: (&str, i32)) {
    let Some(daemon) = Daemon::find_alone().await else {
        return;
    };
    let Some(process) = Process::find() else { return };
    let run = Run::new(&daemon).await;
    let handle = run.start(&sh(script)).await;
    let mut output = run.until_printed(&handle, "line 3\n").await.into_bytes();
    let outage = async {
        process.end(signal).await;
        let mut while_away = tokio::time::interval(Duration::from_secs(3));
        while_away.tick().await;
        while_away.tick().await;
        process.back(&daemon).await;
    };
    let ((report, unreached), ()) = tokio::join!(patiently(&*run.executor, &handle, &mut output), outage);
    assert_eq!(String::from_utf8_lossy(&output), wanted.0);
    assert_eq!(report.exit_code, Some(wanted.1), "{report:?}");
    assert!(unreached > 0, "nobody saw that it was away");
    let (again, _) = patiently(&*daemon.executor(), &handle, &mut Vec::new()).await;
    assert_eq!(again, report);
    run.over(&daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_may_be_restarted() {
    goes_on_without_the_daemon(Signal::SIGTERM, SCRIPT, (&expected(), 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_may_be_killed() {
    goes_on_without_the_daemon(Signal::SIGKILL, SCRIPT, (&expected(), 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_the_daemon_is_away_has_ended_as_it_did() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let script = "for n in 1 2 3 4; do echo line $n; sleep 0.3; done; exit 7";
        goes_on_without_the_daemon(signal, script, ("line 1\nline 2\nline 3\nline 4\n", 7)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_step_is_being_started_it_starts_it_once() {
    let Some(daemon) = Daemon::find_alone().await else {
        return;
    };
    let Some(process) = Process::find() else { return };
    for after in [5, 60, 150] {
        let run = Run::new(&daemon).await;
        let start = sh("echo run >> count; wc -l < count");
        let killed = async {
            let mut moment = tokio::time::interval(Duration::from_millis(after));
            moment.tick().await;
            moment.tick().await;
            process.end(Signal::SIGKILL).await;
            process.back(&daemon).await;
        };
        let (first, ()) = tokio::join!(run.executor.start(&run.workspace, &start), killed);
        println!("killed after {after} ms: {first:?}");
        let mut pause = tokio::time::interval(Duration::from_millis(200));
        let handle = loop {
            match run.executor.start(&run.workspace, &start).await {
                Ok(handle) => break handle,
                Err(ExecutorError::Unreachable(_)) => drop(pause.tick().await),
                Err(error) => panic!("{error}"),
            }
        };
        let mut output = Vec::new();
        patiently(&*run.executor, &handle, &mut output).await;
        assert_eq!(String::from_utf8_lossy(&output).trim(), "1");
        run.over(&daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stays_away_is_unreachable_and_nothing_else() {
    let Some(daemon) = Daemon::find_alone().await else {
        return;
    };
    let Some(process) = Process::find() else { return };
    let run = Run::new(&daemon).await;
    let handle = run.start(&sh("echo begun; sleep 1; echo done; exit 4")).await;
    let mut output = run.until_printed(&handle, "begun\n").await.into_bytes();
    process.end(Signal::SIGKILL).await;
    let mut pause = tokio::time::interval(Duration::from_millis(300));
    for executor in [run.executor.clone(), daemon.executor()] {
        for look in 0..8 {
            let from = output.len() as u64;
            match executor.observe(&handle, from, 1 << 20, Duration::from_secs(2)).await {
                Err(ExecutorError::Unreachable(_)) => {}
                // What was read before.
                Ok(seen) if look == 0 && seen.state == AttemptState::Running => output.extend_from_slice(&seen.output),
                other => panic!("{other:?}"),
            }
            pause.tick().await;
        }
        let all = ["**".to_owned()];
        let answers = [
            executor.start(&run.workspace, &sh("true")).await.map(drop),
            executor.prepare(run.execution, &[]).await.map(drop),
            executor.cancel(&handle, Duration::from_secs(1)).await,
            executor.collect(&run.workspace, &all, ALL).await.map(drop),
            executor.leftovers().await.map(drop),
            executor.clean_up(run.execution).await,
        ];
        for answer in answers {
            assert!(matches!(answer, Err(ExecutorError::Unreachable(_))), "{answer:?}");
        }
        let trouble = executor.probe().await.expect_err("is away");
        assert!(trouble.hint.contains("daemon"), "{trouble:?}");
    }
    process.back(&daemon).await;
    let (report, _) = patiently(&*run.executor, &handle, &mut output).await;
    assert_eq!(
        (String::from_utf8_lossy(&output).as_ref(), report.exit_code),
        ("begun\ndone\n", Some(4))
    );
    run.over(&daemon).await;
}
