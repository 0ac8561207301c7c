//! The program over its standard input and output: how it ends, and what it leaves running.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;
use crate::executors::rig::data_folder;
use crate::site::text;

/// Less than the time that a stop may take at most, so that waiting for that is noticed.
const PROMPT: Duration = Duration::from_secs(10);

const TARGET: &str = r#"
name = "here"
description = "this machine"
intents = ["run"]

[executor]
kind = "local"
network = true
"#;

fn program(data: &Path) -> Command {
    std::fs::create_dir_all(data.join("targets")).expect("made");
    std::fs::write(data.join("targets/here.toml"), TARGET).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawhand"));
    command
        .arg("--data")
        .arg(data.join("data"))
        .arg("--targets")
        .arg(data.join("targets"))
        .args(["serve", "--transport", "stdio"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(data)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// A client of the program.
struct Session {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    last: u64,
}

impl Session {
    async fn begin(data: &Path) -> Self {
        let mut child = program(data).spawn().expect("starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut session = Self {
            child,
            input,
            output,
            last: 0,
        };
        let client = json!({"name": "x", "version": "1"});
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        session.ask("initialize", hello).await;
        session
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        session
    }

    async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.input.write_all(line.as_bytes()).await.expect("written");
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        loop {
            let line = self.output.next_line().await.expect("a line").expect("an answer");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            if message["id"] == id {
                return message["result"].clone();
            }
        }
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self
            .ask("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        assert_ne!(answer["isError"], true, "{tool}: {answer}");
        answer["structuredContent"].clone()
    }

    /// Follows the execution from the start of its log until `enough` says so.
    async fn follow(&mut self, id: &str, enough: impl Fn(&str, &Value) -> bool) -> (String, Value) {
        let (mut log, mut cursor) = (String::new(), None::<String>);
        loop {
            let mut arguments = json!({"execution_id": id, "wait_ms": 20_000});
            if let Some(cursor) = cursor {
                arguments["cursor"] = cursor.into();
            }
            let status = self.call("get_status", arguments).await;
            log += status["log"]["text"].as_str().expect("text");
            if enough(&log, &status) {
                return (log, status);
            }
            assert_ne!(status["log"]["done"], true, "{log}");
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    /// Closes its standard input, and waits for its end.
    async fn hang_up(mut self) -> ExitStatus {
        drop(self.input);
        let ended = tokio::time::timeout(PROMPT, self.child.wait()).await;
        ended.expect("ends promptly").expect("a status")
    }
}

#[tokio::test]
async fn work_goes_on_when_the_client_hangs_up() {
    let data = data_folder();
    let mut session = Session::begin(data.path()).await;
    let task = json!({"project_name": "p", "goal": "g", "target_ref": "here", "execution_intent": "run"});
    let task = session.call("submit_task", task).await;
    let script = "echo begun; sleep 2; echo ended\n";
    let file = json!({"task_id": task["task_id"], "name": "run.sh", "content": script});
    session.call("upload_artifact", file).await;
    let started = session
        .call("start_execution", json!({"task_id": task["task_id"]}))
        .await;
    let id = text(&started, "/execution_id");
    session.follow(&id, |log, _| log.contains("begun\n")).await;
    assert!(session.hang_up().await.success());

    let mut session = Session::begin(data.path()).await;
    let (log, status) = session.follow(&id, |_, status| status["log"]["done"] == true).await;
    assert_eq!(status["state"], "succeeded", "{log}");
    assert!(log.ends_with("\nbegun\nended\n"), "{log}");
    assert_eq!(log.matches("begun").count(), 1, "never twice: {log}");
    assert!(session.hang_up().await.success());
}

#[tokio::test]
async fn a_signal_ends_it_while_its_input_is_open() {
    let data = data_folder();
    let file = || std::fs::File::create(data.path().join("out")).expect("made");
    // With two pipes it reads without a thread; with anything else a thread is stuck in a read.
    for output in [Stdio::piped(), Stdio::from(file())] {
        let mut child = program(data.path()).stdout(output).spawn().expect("starts");
        let mut input = child.stdin.take().expect("piped");
        let client = json!({"name": "x", "version": "1"});
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
        input.write_all(format!("{hello}\n").as_bytes()).await.expect("written");
        match child.stdout.take() {
            Some(output) => drop(BufReader::new(output).lines().next_line().await.expect("an answer")),
            None => {
                while std::fs::metadata(data.path().join("out")).expect("there").len() == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        let pid = i32::try_from(child.id().expect("running")).expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("sent");
        let ended = tokio::time::timeout(PROMPT, child.wait()).await.expect("ends promptly");
        assert!(ended.expect("a status").success());
        drop(input);
    }
}
