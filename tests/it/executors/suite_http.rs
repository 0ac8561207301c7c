//! An API keeps the core of the contract: a server of the tests' own, over TLS, with credentials.
//!
//! What work gives is the body of an answer, which is an artifact; its output is the log of what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clawhand::domain::target::HttpBlock;
use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::{Executor, ExitReport, Handle, StartAttempt};
use serde_json::{Value, json};

use super::http::api::{Api, Reply, Seen};
use super::http::{Rig, block, call};
use super::suite::{ALL, Run, SECRET, System, Work, files, keeps_the_core, machine, work};
use super::trust::{Clients, Trust};

const OPERATIONS: &str = r#"
[executor.operations.give]
intents = ["run"]
summary = "gives something"
method = "POST"
path = "/give/{id}"
max_response = "101 MiB"
parameters.id = { type = "string", required = true, description = "which" }

[executor.operations.job]
intents = ["run"]
summary = "begins work that goes on"
method = "POST"
path = "/jobs/{id}"
result = { answer = "/answer" }
poll = { path = "/jobs/{response:/id}", interval = "1s", until = { pointer = "/state", equals = "done" } }
cancel = { method = "DELETE", path = "/jobs/{response:/id}" }
parameters.id = { type = "string", required = true, description = "which" }
"#;

/// What the API knows.
#[derive(Default)]
struct Known {
    /// What each attempt is to do.
    work: BTreeMap<String, Work>,
    /// Whether jobs that go on may end.
    may_go: bool,
    /// Jobs whose state was asked for: clawhand knows of them.
    jobs: BTreeSet<String>,
}

impl Known {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let authorization = seen.header("authorization").unwrap_or_default().to_owned();
        if authorization != format!("Bearer {SECRET}") {
            return Reply::Json(401, json!({}));
        }
        let id = seen.target.rsplit('/').next().unwrap_or_default().to_owned();
        let work = self.work.get(&id).cloned();
        match (seen.method.as_str(), work) {
            ("HEAD", _) => Reply::Full(200, Vec::new(), Vec::new()),
            (_, None) => Reply::Json(404, json!({})),
            ("POST", Some(Work::Gives(bytes))) => gives(bytes),
            ("POST", Some(Work::GivesMuch(size))) => gives(work::much(size)),
            ("POST", Some(Work::Fails)) => Reply::Json(409, json!({"error": "busy"})),
            // It repeats what it was told, as some do.
            ("POST", Some(_)) => Reply::Json(202, submitted(&id, &authorization)),
            ("DELETE", Some(_)) => {
                self.jobs.remove(&id);
                Reply::Full(204, Vec::new(), Vec::new())
            }
            (_, Some(work)) => {
                let ends = work == Work::LeavesFiles || work == Work::GoesOn && self.may_go;
                match ends {
                    true => self.jobs.remove(&id),
                    false => self.jobs.insert(id),
                };
                Reply::Json(200, state(ends))
            }
        }
    }
}

fn gives(bytes: Vec<u8>) -> Reply {
    let kind = match std::str::from_utf8(&bytes) {
        Ok(_) => "text/plain",
        Err(_) => "application/octet-stream",
    };
    Reply::Full(200, vec![("content-type", kind.to_owned())], bytes)
}

fn submitted(id: &str, authorization: &str) -> Value {
    json!({"id": id, "said": authorization})
}

fn state(is_done: bool) -> Value {
    match is_done {
        true => json!({"answer": 42, "state": "done"}),
        false => json!({"state": "running"}),
    }
}

struct OverTls {
    rig: Rig,
    block: HttpBlock,
    api: Api,
    known: Arc<Mutex<Known>>,
    _trust: Trust,
}

impl OverTls {
    async fn new() -> Self {
        let trust = Trust::new();
        let known = Arc::new(Mutex::new(Known::default()));
        let knowing = known.clone();
        let api = Api::start(Some(trust.acceptor("api.test", Clients::Anybody)), move |seen, _| {
            knowing.lock().expect("no panic").answer(seen)
        })
        .await;
        let rig = Rig::new();
        rig.book.put("api.test", &["127.0.0.1"]);
        rig.secret("TOKEN", SECRET);
        let executor = format!(
            "base_url = \"https://api.test:{}\"\nca = \"{}\"\nallow_private = [\"127.0.0.1\"]\n\
            auth = {{ kind = \"bearer\", token = {{ env = \"TOKEN\" }} }}",
            api.address.port(),
            trust.file("ca.pem").display(),
        );
        let mut block = block(&executor, OPERATIONS);
        // Shorter than a file may say.
        let job = block.operations.get_mut("job").expect("the operation");
        job.poll.as_mut().expect("polls").interval = Duration::from_millis(10);
        Self {
            rig,
            block,
            api,
            known,
            _trust: trust,
        }
    }
}

/// The log of an operation that gives something.
fn log_of_giving(attempt: AttemptId, bytes: &[u8]) -> Vec<u8> {
    const SHOWN: usize = 16 << 10;
    let mut log = format!("POST /give/{attempt}\nHTTP 200 OK\n").into_bytes();
    if std::str::from_utf8(bytes).is_err() {
        let size = bytes.len();
        log.extend(format!("content-type: application/octet-stream\n[{size} bytes that are no text]\n").bytes());
        return log;
    }
    log.extend(b"content-type: text/plain\n");
    log.extend(&bytes[..bytes.len().min(SHOWN)]);
    if log.last() != Some(&b'\n') {
        log.push(b'\n');
    }
    if let Some(left @ 1..) = bytes.len().checked_sub(SHOWN) {
        log.extend(format!("[... {left} bytes more are in the artifact ...]\n").bytes());
    }
    log
}

/// The log of a job as far as it is the same for all.
fn log_of_beginning(attempt: AttemptId) -> String {
    let said = submitted(&attempt.to_string(), "Bearer [secret]");
    format!(
        "POST /jobs/{attempt}\nHTTP 202 Accepted\ncontent-type: application/json\n{said}\nGET /jobs/{attempt}\n/state is \"running\"\n"
    )
}

#[async_trait]
impl System for OverTls {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.rig.executor(&self.block))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let known = self.known.lock().expect("no panic");
        known
            .jobs
            .get(&handle.attempt.to_string())
            .cloned()
            .into_iter()
            .collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        machine::if_there(&self.rig.folder_of(execution))
    }

    /// All notes, and what came of it.
    async fn in_sight(&self, _: &Handle) -> String {
        self.rig.everything()
    }

    fn attempt(&self, work: &Work) -> StartAttempt {
        let operation = match work {
            Work::Gives(_) | Work::GivesMuch(_) | Work::Fails => "give",
            _ => "job",
        };
        let mut start = call(operation, json!({}));
        let id = start.attempt.to_string();
        let asked = start.call.as_mut().expect("a call");
        asked.parameters = serde_json::from_value(json!({"id": id})).expect("an object");
        if *work == Work::TakesTooLong {
            start.timeout = Duration::from_secs(2);
        }
        self.known.lock().expect("no panic").work.insert(id, work.clone());
        start
    }

    fn output(&self, attempt: AttemptId, work: &Work) -> Vec<u8> {
        let log = match work {
            Work::Gives(bytes) => return log_of_giving(attempt, bytes),
            Work::GivesMuch(size) => return log_of_giving(attempt, &work::much(*size)),
            Work::Fails => format!(
                "POST /give/{attempt}\nHTTP 409 Conflict\ncontent-type: application/json\n{{\"error\":\"busy\"}}\n"
            ),
            Work::GoesOn => format!(
                "{}/state is \"done\"\nHTTP 200 OK\ncontent-type: application/json\n{}\nresult answer: 42\n",
                log_of_beginning(attempt),
                state(true)
            ),
            Work::TakesTooLong => format!(
                "{}DELETE /jobs/{attempt}\nHTTP 204 No Content\nended: it took longer than it may\n",
                log_of_beginning(attempt)
            ),
            other => panic!("{other:?} has no output that a story asks for"),
        };
        log.into_bytes()
    }

    fn begun(&self) -> &'static str {
        "/state is \"running\"\n"
    }

    fn let_go(&self) {
        self.known.lock().expect("no panic").may_go = true;
    }

    /// The answer's body, which is kept as a file.
    async fn given(&self, run: &Run, handle: &Handle) -> (Vec<u8>, ExitReport) {
        let (_, report) = run.end_of(handle).await;
        let (mut found, left_out) = files::collected(run, &["response.*"], ALL).await;
        assert_eq!((found.len(), left_out.len()), (1, 0));
        (found.remove(0).1, report)
    }

    async fn times(&self, _: &Run, attempt: AttemptId) -> usize {
        let end = format!("/{attempt}");
        let asked = self.api.asked();
        asked
            .iter()
            .filter(|asked| asked.starts_with("POST ") && asked.ends_with(&end))
            .count()
    }

    fn failure(&self) -> ExitReport {
        ExitReport {
            exit_code: Some(1),
            exec_error: Some("the API answered HTTP 409 Conflict".to_owned()),
            ..ExitReport::default()
        }
    }

    /// The last answer, the declared result, and the first answer.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let known = self.known.lock().expect("no panic");
        let mut leaving = known.work.iter().filter(|(_, work)| **work == Work::LeavesFiles);
        let id = leaving.next().map(|(id, _)| id.as_str()).unwrap_or_default();
        let files = [
            ("response.json", state(true)),
            ("result.json", json!({"answer": 42})),
            ("submitted.json", submitted(id, "Bearer [secret]")),
        ];
        files
            .map(|(name, content)| (name.to_owned(), content.to_string().into_bytes()))
            .to_vec()
    }

    /// A program, and an operation that the target doesn't declare.
    fn impossible(&self) -> Vec<StartAttempt> {
        let mut program = call("give", json!({}));
        program.call = None;
        vec![program, super::suite::sh("true"), call("absent", json!({}))]
    }

    fn facts(&self) -> (&'static str, &'static [&'static str]) {
        ("api", &[])
    }
}

keeps_the_core!(async { Some(OverTls::new().await) });
