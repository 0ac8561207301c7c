//! An agent keeps the core of the contract: a scripted gateway, as the real one keeps its runs.
//!
//! What work gives is the reply, or a file that comes with it; its output is what the agent says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::{Executor, ExitReport, Handle, StartAttempt};
use serde_json::json;

use super::agents::Desk;
use super::http::{call, everything};
use super::suite::{ALL, Run, System, Work, files, keeps_the_core, machine, work};
use crate::gateway::scripted::agents::{Act, Agents};

/// A longer reply comes as a file.
const TEXT_MAX: usize = 8 << 20;
const FAILED: &str = "the model does not answer";

struct Scripted {
    desk: Desk,
    /// What each run is to do.
    known: Arc<Mutex<BTreeMap<String, Work>>>,
}

impl Scripted {
    async fn new() -> Self {
        let known: Arc<Mutex<BTreeMap<String, Work>>> = Arc::default();
        let knowing = known.clone();
        let agents = Agents::start(move |run, _| {
            let work = knowing.lock().expect("no panic").get(run).cloned();
            acts(&work.expect("known work"))
        });
        Self {
            desk: Desk::of(agents.await),
            known,
        }
    }
}

fn acts(work: &Work) -> Vec<Act> {
    let say = |text: &str| Act::Say(text.to_owned());
    let give = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) if text.len() <= TEXT_MAX => vec![Act::Say(text)],
        Ok(text) => vec![say("here it is"), Act::File("gift.bin", text.into_bytes())],
        Err(bytes) => vec![say("here it is"), Act::File("gift.bin", bytes.into_bytes())],
    };
    match work {
        Work::Gives(bytes) => give(bytes.clone()),
        Work::GivesMuch(size) => give(work::much(*size)),
        Work::Fails => vec![Act::Fail(FAILED)],
        Work::GoesOn => vec![say("begun\n"), Act::Gate, say("over\n")],
        Work::LeavesFiles => vec![
            say("here they are"),
            Act::File("a.txt", b"one\n".to_vec()),
            Act::File("b.bin", b"\0\xff and more than fits into an answer".to_vec()),
        ],
        Work::Holds | Work::TakesTooLong | Work::KnowsASecret => vec![say("begun\n"), Act::Gate, Act::Gate],
    }
}

#[async_trait]
impl System for Scripted {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.desk.executor())
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let run = handle.attempt.to_string();
        let mut running = self.desk.agents.running();
        running.retain(|one| *one == run);
        running
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        machine::if_there(&self.desk.folder().join(execution.to_string()))
    }

    /// All notes, and what came of it.
    async fn in_sight(&self, _: &Handle) -> String {
        everything(&self.desk.folder())
    }

    fn attempt(&self, work: &Work) -> StartAttempt {
        let mut start = call("delegate", json!({ "message": "do it" }));
        if *work == Work::TakesTooLong {
            start.timeout = Duration::from_secs(2);
        }
        let mut known = self.known.lock().expect("no panic");
        known.insert(start.attempt.to_string(), work.clone());
        start
    }

    fn output(&self, _: AttemptId, work: &Work) -> Vec<u8> {
        let given = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) if text.ends_with('\n') => text,
            Ok(text) => text + "\n",
            Err(bytes) => format!("here it is\n[file: gift.bin, {} bytes]\n", bytes.as_bytes().len()),
        };
        let log = match work {
            Work::Gives(bytes) => given(bytes.clone()),
            Work::GivesMuch(size) => given(work::much(*size)),
            Work::Fails => format!("the agent's run failed: {FAILED}\n"),
            Work::GoesOn => "begun\nover\n".to_owned(),
            Work::TakesTooLong => "begun\nended: it took longer than it may\n".to_owned(),
            other => panic!("{other:?} has no output that a story asks for"),
        };
        log.into_bytes()
    }

    fn let_go(&self) {
        self.desk.agents.open();
    }

    /// The file that came along, or the reply.
    async fn given(&self, run: &Run, handle: &Handle) -> (Vec<u8>, ExitReport) {
        let (_, report) = run.end_of(handle).await;
        let (mut found, left_out) = files::collected(run, &["files/*", "reply.md"], ALL).await;
        assert!(left_out.is_empty(), "{left_out:?}");
        (found.remove(0).1, report)
    }

    async fn times(&self, _: &Run, attempt: AttemptId) -> usize {
        self.desk.agents.starts(&attempt.to_string())
    }

    fn failure(&self) -> ExitReport {
        ExitReport {
            exit_code: Some(1),
            exec_error: Some(format!("the agent's run failed: {FAILED}")),
            ..ExitReport::default()
        }
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let files: [(&str, &[u8]); 3] = [
            ("files/a.txt", b"one\n"),
            ("files/b.bin", b"\0\xff and more than fits into an answer"),
            ("reply.md", b"here they are"),
        ];
        files
            .map(|(name, content)| (name.to_owned(), content.to_vec()))
            .to_vec()
    }

    /// Programs, and a call that says nothing.
    fn impossible(&self) -> Vec<StartAttempt> {
        let mut program = call("delegate", json!({ "message": "do it" }));
        program.call = None;
        vec![program, super::suite::sh("true"), call("delegate", json!({}))]
    }

    fn facts(&self) -> (&'static str, &'static [&'static str]) {
        ("openclaw", &["openclaw"])
    }
}

keeps_the_core!(async { Some(Scripted::new().await) });
