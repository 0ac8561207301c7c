//! What holds of agents beyond the contract: what is said, what comes back, and what becomes of a run when clawhand or the
//! gateway ends in the middle of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clawhand::domain::target::{Conversation, OpenclawBlock};
use clawhand::domain::{Clock, ExecutionId, UnixMs};
use clawhand::executors::openclaw::Patience;
use clawhand::executors::{
    AttemptState, Executor, ExecutorError, Handle, OpenclawExecutor, OpenclawPool, OpenclawSettings, StartAttempt,
};
use serde_json::json;

use super::http::{call, report};
use super::rig::{LONG, follow, until_printed};
use super::suite::{ALL, input};
use crate::gateway::scripted::agents::{Act, Agents};

/// A scripted gateway, and a folder for what is written down.
pub struct Desk {
    pub agents: Agents,
    data: tempfile::TempDir,
    now: Arc<AtomicI64>,
    pub patience: Patience,
    pub block: OpenclawBlock,
}

impl Desk {
    pub fn of(agents: Agents) -> Self {
        Self {
            agents,
            data: tempfile::tempdir().expect("a folder"),
            now: Arc::default(),
            patience: Patience {
                again: Duration::from_millis(20),
                wait: Duration::from_millis(500),
                ..Patience::default()
            },
            block: OpenclawBlock::default(),
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.data.path().join("openclaw")
    }

    /// An executor of its own, as another process would have it.
    pub fn executor(&self) -> OpenclawExecutor {
        let now = self.now.clone();
        let settings = OpenclawSettings {
            folder: self.folder(),
            gateways: self.agents.gateways(),
            now: Clock::new(move || UnixMs(now.load(Ordering::Relaxed))),
            patience: self.patience,
        };
        OpenclawExecutor::new(OpenclawPool::new(settings), self.block.clone())
    }
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

/// An agent that says something, waits, and goes on.
async fn patient() -> Desk {
    let agents = Agents::start(|run, _| match run.starts_with("recovery") {
        true => vec![say("done after all")],
        false => vec![say("begun\n"), Act::Gate, say("over")],
    });
    Desk::of(agents.await)
}

fn task() -> StartAttempt {
    call("delegate", json!({ "message": "do it" }))
}

async fn started(executor: &OpenclawExecutor, start: &StartAttempt) -> Handle {
    let workspace = executor.prepare(ExecutionId::random(), &[]).await.expect("prepares");
    executor.start(&workspace, start).await.expect("starts")
}

async fn end_of(executor: &OpenclawExecutor, handle: &Handle) -> (String, AttemptState) {
    let (output, state) = follow(executor, handle).await;
    (String::from_utf8_lossy(&output).into_owned(), state)
}

#[tokio::test]
async fn a_run_speaks_in_a_session_of_its_own_and_after_others() {
    let mut desk = Desk::of(Agents::start(|_, message| vec![say(&message.to_uppercase())]).await);
    desk.block.agent = Some("smith".to_owned());
    let executor = desk.executor();
    let start = task();
    let (log, state) = end_of(&executor, &started(&executor, &start).await).await;
    assert_eq!((log.as_str(), report(&state).exit_code), ("DO IT\n", Some(0)));
    desk.block.session = Conversation::Shared("agent:smith:forge".to_owned());
    let sharing = desk.executor();
    end_of(&sharing, &started(&sharing, &task()).await).await;
    let told = desk.agents.told();
    assert_eq!(told[0].run, start.attempt.to_string());
    assert_eq!(told[0].session, format!("agent:smith:clawhand-{}", start.attempt));
    assert_eq!(told[1].session, "agent:smith:forge");
    assert_eq!(told[0].params["queueMode"], "followup");
    assert!(
        told[0].params["timeoutMs"].as_u64() >= Some(60_000),
        "{:?}",
        told[0].params
    );
}

#[tokio::test]
async fn files_go_along_and_come_back() {
    let agents = Agents::start(|_, _| {
        vec![
            say("see the file"),
            Act::File("../up/result.csv", b"a,b\n1,2 and more\n".to_vec()),
        ]
    });
    let desk = Desk::of(agents.await);
    let executor = desk.executor();
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = [
        input(folder.path(), "notes.txt", b"some notes", 0o644),
        input(folder.path(), "empty.txt", b"", 0o644),
        input(folder.path(), "pic.png", b"\x89PNG", 0o644),
    ];
    let execution = ExecutionId::random();
    let workspace = executor.prepare(execution, &inputs).await.expect("prepares");
    let handle = executor.start(&workspace, &task()).await.expect("starts");
    let (log, _) = end_of(&executor, &handle).await;
    assert_eq!(log, "see the file\n[file: result.csv, 17 bytes]\n");
    let told = desk.agents.told();
    let sent = [
        json!({ "type": "file", "mimeType": "text/plain", "fileName": "notes.txt", "content": "c29tZSBub3Rlcw==" }),
        json!({ "type": "image", "mimeType": "image/png", "fileName": "pic.png", "content": "iVBORw==" }),
    ];
    assert_eq!(told[0].params["attachments"], json!(sent));
    let globs = ["reply.md", "files/*"].map(str::to_owned);
    let found = executor.collect(&workspace, &globs, ALL).await.expect("collects");
    let names: Vec<_> = found.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["files/result.csv", "reply.md"]);

    let large = [input(folder.path(), "large.bin", &vec![1; (16 << 20) + 1], 0o644)];
    let refused = executor.prepare(ExecutionId::random(), &large).await;
    assert!(
        matches!(&refused, Err(ExecutorError::UnsafeArchive(why)) if why.contains("16777216")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_the_gateway_refuses_never_runs_and_is_told() {
    let desk = patient().await;
    let executor = desk.executor();
    let start = call("delegate", json!({ "message": "refuse me" }));
    let (log, state) = end_of(&executor, &started(&executor, &start).await).await;
    let said = report(&state).exec_error.expect("says why");
    assert!(
        said.contains("the agent is not to be spoken to") && said.contains("INVALID_REQUEST"),
        "{said}"
    );
    assert_eq!(log, format!("{said}\n"));
    assert_eq!(desk.agents.starts(&start.attempt.to_string()), 0);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_waited_for_and_then_given_up() {
    let mut desk = patient().await;
    desk.patience.outage = Duration::from_millis(300);
    let address = desk.agents.address;
    drop(std::mem::replace(
        &mut desk.agents,
        Agents::start(|_, _| Vec::new()).await,
    ));
    let elsewhere = {
        let around = crate::gateway::scripted::surroundings();
        let instance = crate::gateway::scripted::instance("lab", &format!("http://{address}"));
        clawhand::gateway::Gateways::new(vec![instance], &crate::gateway::scripted::secrets(), &around)
    };
    let settings = OpenclawSettings {
        folder: desk.folder(),
        gateways: elsewhere,
        now: Clock::new(|| UnixMs(0)),
        patience: desk.patience,
    };
    let executor = OpenclawExecutor::new(OpenclawPool::new(settings), OpenclawBlock::default());
    let (_, state) = end_of(&executor, &started(&executor, &task()).await).await;
    assert!(
        matches!(&state, AttemptState::NeverStarted(why) if !why.contains("127.0.0.1")),
        "{state:?}"
    );
    let trouble = executor.probe().await.expect_err("nobody is there");
    assert!(trouble.hint.contains("see that the gateway runs"), "{trouble:?}");
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_runs_once() {
    let desk = patient().await;
    desk.agents.open();
    desk.agents.cut_next();
    let executor = desk.executor();
    let start = task();
    let (log, state) = end_of(&executor, &started(&executor, &start).await).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert_eq!(desk.agents.starts(&start.attempt.to_string()), 1);
    assert!(log.contains("begun\nover\n"), "{log}");
}

#[tokio::test]
async fn clawhand_finds_its_run_again_also_long_after_its_end() {
    let desk = patient().await;
    let start = task();
    let first = desk.executor();
    let handle = started(&first, &start).await;
    until_printed(&first, &handle, "begun\n").await;
    drop(first);
    desk.agents.open();
    let run = start.attempt.to_string();
    desk.agents.until("it ends", |agents| agents.running().is_empty()).await;
    // Far beyond its time, and the gateway has forgotten its runs.
    desk.now.store(10 * 24 * 3600 * 1000, Ordering::Relaxed);
    desk.agents.restart(false);
    let second = desk.executor();
    let (log, state) = end_of(&second, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert!(
        log.ends_with("begun\nover\n") && log.contains("[clawhand was interrupted"),
        "{log}"
    );
    assert_eq!((desk.agents.told().len(), desk.agents.starts(&run)), (1, 1));
    assert_eq!(end_of(&desk.executor(), &handle).await, (log, state), "told again");
}

#[tokio::test]
async fn a_message_that_never_left_is_sent_by_the_next_process_and_one_that_may_have_is_sent_under_its_key() {
    let desk = patient().await;
    desk.agents.open();
    let start = task();
    let first = desk.executor();
    let handle = started(&first, &start).await;
    end_of(&first, &handle).await;
    drop(first);
    let note = |name: &str| PathBuf::from(&handle.place).join(name);
    // As a process leaves it that ended before it had written down that it sends.
    for name in ["progress.json", "exit.json", "out"] {
        std::fs::remove_file(note(name)).expect("removes");
    }
    let (log, state) = end_of(&desk.executor(), &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    // The gateway knew the key.
    assert_eq!(desk.agents.starts(&start.attempt.to_string()), 1);
    for name in ["progress.json", "exit.json", "call.json"] {
        std::fs::remove_file(note(name)).expect("removes");
    }
    let (_, state) = end_of(&desk.executor(), &handle).await;
    assert!(matches!(state, AttemptState::NeverStarted(_)), "{state:?}");
}

#[tokio::test]
async fn what_the_gateway_goes_on_with_after_its_restart_is_the_reply() {
    let desk = patient().await;
    let executor = desk.executor();
    let start = task();
    let handle = started(&executor, &start).await;
    until_printed(&executor, &handle, "begun\n").await;
    desk.agents.restart(true);
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!(report(&state).exit_code, Some(0), "{log}");
    assert!(
        log.contains("[the gateway was restarted") && log.ends_with("done after all\n"),
        "{log}"
    );
    assert_eq!(desk.agents.told().len(), 1, "it is not said again");
}

#[tokio::test]
async fn what_a_restart_leaves_open_is_lost_and_never_started_again() {
    // Its message is kept and nobody goes on with it; or nothing of it is kept.
    for forgets in [false, true] {
        let mut desk = patient().await;
        desk.patience.recovery = Duration::from_millis(500);
        if forgets {
            desk.agents.forget();
        }
        let executor = desk.executor();
        let start = task();
        let handle = started(&executor, &start).await;
        until_printed(&executor, &handle, "begun\n").await;
        desk.agents.restart(false);
        let (log, state) = end_of(&executor, &handle).await;
        assert!(
            matches!(&state, AttemptState::Lost(why) if why.contains("restarted")),
            "{state:?}: {log}"
        );
        assert_eq!(desk.agents.told().len(), 1, "forgets: {forgets}");
        // Nor by another process, later.
        let again = desk.executor();
        assert_eq!(end_of(&again, &handle).await.1, state);
        assert_eq!(desk.agents.told().len(), 1);
    }
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let desk = patient().await;
    let executor = desk.executor();
    let start = task();
    let handle = started(&executor, &start).await;
    until_printed(&executor, &handle, "begun\n").await;
    desk.agents.cut();
    desk.agents.open();
    let (log, state) = end_of(&executor, &handle).await;
    assert_eq!((log.as_str(), report(&state).exit_code), ("begun\nover\n", Some(0)));
    assert_eq!(
        (desk.agents.told().len(), desk.agents.starts(&start.attempt.to_string())),
        (1, 1)
    );
}

#[tokio::test]
async fn a_cancel_that_nobody_heard_is_heard_later() {
    let desk = patient().await;
    let start = task();
    let first = desk.executor();
    let handle = started(&first, &start).await;
    until_printed(&first, &handle, "begun\n").await;
    drop(first);
    let second = desk.executor();
    second.cancel(&handle, LONG).await.expect("cancels");
    let (log, state) = end_of(&second, &handle).await;
    assert!(report(&state).cancelled, "{log}");
    assert_eq!(desk.agents.aborted(), [start.attempt.to_string()]);
}

#[tokio::test]
async fn a_cancel_reaches_what_the_gateway_goes_on_with() {
    let agents = Agents::start(|_, _| vec![say("begun\n"), Act::Gate]);
    let desk = Desk::of(agents.await);
    let executor = desk.executor();
    let start = task();
    let handle = started(&executor, &start).await;
    until_printed(&executor, &handle, "begun\n").await;
    desk.agents.restart(true);
    executor.cancel(&handle, LONG).await.expect("cancels");
    let (log, state) = end_of(&executor, &handle).await;
    assert!(report(&state).cancelled, "{log}");
    assert_eq!(desk.agents.aborted(), [format!("recovery-of-{}", start.attempt)]);
    assert!(desk.agents.running().is_empty());
}
