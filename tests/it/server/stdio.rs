//! The same over standard input and output: one client that starts clawhand itself.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::caller::{LEGACY, MODERN, text};
use super::gate::{Gate, must};
use super::on_both_servers;
use super::place::Place;

on_both_servers!(
    a_client_of_an_older_revision_works_over_stdio,
    a_client_of_the_newest_revision_works_over_stdio,
    a_client_that_goes_away_leaves_its_work_to_the_next,
);

/// A client over pipes.
struct Pipes {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    revision: &'static str,
    id: u64,
}

impl Pipes {
    async fn open(place: &Place, revision: &'static str) -> Self {
        let mut child = place.spawn(&["serve", "--transport", "stdio"]);
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut pipes = Self {
            child,
            stdin,
            lines,
            revision,
            id: 0,
        };
        if revision < MODERN {
            let client = json!({"name": "story", "version": "1"});
            let hello = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client});
            let answer = pipes.ask(place, "initialize", hello).await;
            assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
            pipes
                .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
                .await;
        }
        pipes
    }

    async fn send(&mut self, message: &Value) {
        self.stdin
            .write_all(format!("{message}\n").as_bytes())
            .await
            .expect("it reads");
        self.stdin.flush().await.expect("it reads");
    }

    /// A request and its answer; every line on standard output is a message of the protocol.
    async fn ask(&mut self, place: &Place, method: &str, mut params: Value) -> Value {
        self.id += 1;
        if self.revision >= MODERN {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "story", "version": "1"},
            });
        }
        self.send(&json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}))
            .await;
        loop {
            let line = must("an answer", self.lines.next_line())
                .await
                .expect("reads")
                .expect("a line");
            place.seen.add(line.clone());
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a message: {line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{message}");
            if message["id"] == self.id {
                return message;
            }
        }
    }

    async fn call(&mut self, place: &Place, tool: &str, arguments: Value) -> Value {
        let answer = self
            .ask(place, "tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        answer["result"]["structuredContent"].clone()
    }

    /// A new execution of this script.
    async fn start(&mut self, place: &Place, script: &str) -> String {
        let submit = json!({"project_name": "p", "goal": "g", "target_ref": "lab", "execution_intent": "run"});
        let task = text(&self.call(place, "submit_task", submit).await, "/task_id");
        let upload = json!({"task_id": task, "name": "one.sh", "content": script});
        self.call(place, "upload_artifact", upload).await;
        text(
            &self.call(place, "start_execution", json!({"task_id": task})).await,
            "/execution_id",
        )
    }

    async fn followed(&mut self, place: &Place, execution: &str) -> (String, Value) {
        let (mut log, mut ask) = (String::new(), json!({"execution_id": execution, "wait_ms": 20_000}));
        loop {
            let status = self.call(place, "get_status", ask.clone()).await;
            log += status["log"]["text"].as_str().expect("text");
            if status["log"]["done"] == true {
                return (
                    log,
                    self.call(place, "get_result", json!({"execution_id": execution})).await,
                );
            }
            ask["cursor"] = status["log"]["next_cursor"].clone();
        }
    }

    /// Goes away, as a client does: by closing its end.
    async fn close(mut self) {
        drop(self.stdin);
        let status = must("it ends with its client", self.child.wait()).await.expect("waits");
        assert!(status.success(), "{status}");
    }
}

async fn works(place: &Place, revision: &'static str) {
    let mut pipes = Pipes::open(place, revision).await;
    let execution = pipes
        .start(place, "mkdir out; echo file > out/file.txt; echo over pipes")
        .await;
    let (log, result) = pipes.followed(place, &execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert!(log.ends_with("over pipes\n"), "{log}");
    assert_eq!(
        result["artifacts"][0].get("download_url"),
        None,
        "there is nothing to download from: {result}"
    );
    let read = json!({"uri": result["artifacts"][0]["uri"]});
    let read = pipes.ask(place, "resources/read", read).await;
    assert_eq!(read["result"]["contents"][0]["text"], "file\n", "{read}");
    pipes.close().await;
}

async fn a_client_of_an_older_revision_works_over_stdio(place: &mut Place) {
    works(place, LEGACY).await;
}

async fn a_client_of_the_newest_revision_works_over_stdio(place: &mut Place) {
    works(place, MODERN).await;
}

async fn a_client_that_goes_away_leaves_its_work_to_the_next(place: &mut Place) {
    let gate = Gate::new().await;
    let mut pipes = Pipes::open(place, LEGACY).await;
    let execution = pipes
        .start(place, &gate.script("echo before; gate here; echo after"))
        .await;
    let here = gate.expect("here").await;
    pipes.close().await;
    let mut pipes = Pipes::open(place, MODERN).await;
    here.open().await;
    let (log, result) = pipes.followed(place, &execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    assert!(log.ends_with(")\nbefore\nafter\n"), "{log}");
    assert!(gate.is_quiet(), "it was started twice");
    pipes.close().await;
}
