//! An MCP client of the test's own: JSON-RPC over HTTP, as clients of an older and of the newest revision send it.

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gate::LONG;
use super::place::Seen;

/// Revisions of the protocol.
pub const LEGACY: &str = "2025-06-18";
pub const MODERN: &str = "2026-07-28";

/// A caller of one server.
#[derive(Clone)]
pub struct Caller {
    pub http: Client,
    url: String,
    key: Option<String>,
    revision: &'static str,
    seen: Seen,
}

impl Caller {
    pub fn new(url: &str, seen: Seen) -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            http: Client::builder().timeout(LONG).build().expect("a client"),
            url: url.to_owned(),
            key: None,
            revision: LEGACY,
            seen,
        }
    }

    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub fn of(mut self, revision: &'static str) -> Self {
        self.revision = revision;
        self
    }

    /// A request of the protocol.
    pub fn request(&self, method: &str, mut params: Value) -> RequestBuilder {
        let mut post = self
            .http
            .post(format!("{}/mcp", self.url))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", self.revision);
        if self.revision >= MODERN {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "story", "version": "1"},
            });
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            post = post.header("mcp-method", method).header("mcp-name", name);
        }
        if let Some(key) = &self.key {
            post = post.bearer_auth(key);
        }
        post.body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
    }

    /// Status and body of a call of a tool.
    pub async fn raw(&self, tool: &str, arguments: Value) -> reqwest::Result<(StatusCode, String)> {
        let params = json!({"name": tool, "arguments": arguments});
        let response = self.request("tools/call", params).send().await?;
        let status = response.status();
        let body = response.text().await?;
        self.seen.add(body.clone());
        Ok((status, body))
    }

    /// What a tool answers: its structured content, or the refusal.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let (status, body) = self.raw(tool, arguments).await.expect("an answer");
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"));
        if let Some(refusal) = answer.pointer("/error/data").filter(|data| data["code"].is_string()) {
            return Err(refusal.clone());
        }
        let result = &answer["result"];
        let content = result["structuredContent"].clone();
        assert!(content.is_object(), "{tool}: {status}: {body}");
        match result["isError"] == true {
            true => Err(content),
            false => Ok(content),
        }
    }

    /// What a tool answers, which must be no refusal.
    pub async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        answer.unwrap_or_else(|refusal| panic!("{tool} is refused: {refusal}"))
    }

    /// The refusal that a tool must answer with; its code.
    pub async fn refused(&self, tool: &str, arguments: Value) -> Value {
        match self.call(tool, arguments).await {
            Ok(answer) => panic!("{tool} is not refused: {answer}"),
            Err(refusal) => {
                for field in ["code", "message", "retryable", "hint"] {
                    assert!(!refusal[field].is_null(), "no {field} in {refusal}");
                }
                refusal
            }
        }
    }

    /// A task on the lab; its id.
    pub async fn submit(&self, intent: &str) -> String {
        self.submit_with(intent, json!({})).await
    }

    pub async fn submit_with(&self, intent: &str, constraints: Value) -> String {
        let arguments = json!({
            "project_name": "story", "goal": "see what happens", "target_ref": "lab",
            "execution_intent": intent, "constraints": constraints,
        });
        text(&self.ok("submit_task", arguments).await, "/task_id")
    }

    /// Attaches a text to a task.
    pub async fn upload(&self, task: &str, name: &str, content: &str) -> Value {
        self.ok(
            "upload_artifact",
            json!({"task_id": task, "name": name, "content": content}),
        )
        .await
    }

    /// Starts a task; the execution's id.
    pub async fn start(&self, task: &str) -> String {
        let started = self.ok("start_execution", json!({"task_id": task})).await;
        text(&started, "/execution_id")
    }

    /// A new execution of this script.
    pub async fn run(&self, script: &str) -> String {
        let task = self.submit("run").await;
        self.upload(&task, "one.sh", script).await;
        self.start(&task).await
    }

    pub async fn status(&self, execution: &str) -> Value {
        self.ok("get_status", json!({"execution_id": execution})).await
    }

    /// Waits until the execution is in this state.
    pub async fn until(&self, execution: &str, state: &str) {
        let mut cursor: Option<String> = None;
        loop {
            let mut ask = json!({"execution_id": execution, "wait_ms": 20_000});
            if let Some(cursor) = &cursor {
                ask["cursor"] = json!(cursor);
            }
            let status = self.ok("get_status", ask).await;
            if status["state"] == state {
                return;
            }
            assert_ne!(status["log"]["done"], true, "it ended and was never {state}: {status}");
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    /// Waits until this is in the log, and so is on disk.
    pub async fn until_logged(&self, execution: &str, words: &str) {
        let (mut log, mut cursor) = (String::new(), None::<String>);
        while !log.contains(words) {
            let mut ask = json!({"execution_id": execution, "wait_ms": 20_000});
            if let Some(cursor) = &cursor {
                ask["cursor"] = json!(cursor);
            }
            let status = self.ok("get_status", ask).await;
            log += status["log"]["text"].as_str().expect("text");
            assert_ne!(status["log"]["done"], true, "it ended without {words:?}: {log}");
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    /// Follows an execution to its end: its whole log and its result.
    pub async fn followed(&self, execution: &str) -> (String, Value) {
        let (mut log, mut cursor) = (String::new(), None);
        loop {
            let mut ask = json!({"execution_id": execution, "wait_ms": 20_000, "max_bytes": 65_536});
            if let Some(cursor) = &cursor {
                ask["cursor"] = json!(cursor);
            }
            let status = self.ok("get_status", ask).await;
            log += status["log"]["text"].as_str().expect("text");
            if status["log"]["done"] == true {
                return (log, self.result(execution).await);
            }
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    pub async fn result(&self, execution: &str) -> Value {
        self.ok("get_result", json!({"execution_id": execution})).await
    }

    /// What a plain request gets; remembered as something that a caller saw.
    pub async fn fetched(&self, request: RequestBuilder) -> (StatusCode, Vec<u8>) {
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let body = response.bytes().await.expect("a body").to_vec();
        self.seen.add(String::from_utf8_lossy(&body));
        (status, body)
    }
}

/// The text at `pointer`.
pub fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found
        .unwrap_or_else(|| panic!("no text at {pointer} in {value}"))
        .to_owned()
}

/// The names of a result's artifacts, as they are told.
pub fn artifact_names(result: &Value) -> Vec<&str> {
    let artifacts = result["artifacts"].as_array().expect("a list");
    artifacts
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

/// As clawhand writes digests.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
