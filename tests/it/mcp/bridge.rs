//! `clawhand mcp serve` as a client starts it: conversations and nothing else, without a database, whatever the gateway is
//! up to; and Claude's channel mode.

mod replay;

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::*;
use crate::gateway::scripted::TOKEN;
use crate::gateway::scripted::board::{Board, approval, message, row, told};
use crate::gateway::scripted::socket::soon;

const HERE: &str = "agent:main:telegram:1";
/// Less than the time that a stop may take at most.
const PROMPT: Duration = Duration::from_secs(10);

fn program(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawhand"));
    command
        .arg("--data")
        .arg(folder.join("data"))
        .args(["mcp", "serve"])
        .args(options)
        .env_clear()
        .current_dir(folder)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A client of the program.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What the program said at first.
    pub hello: Value,
    notifications: VecDeque<Value>,
    last: u64,
    folder: tempfile::TempDir,
    /// What it says on standard error, which is read while it runs: nobody waits for room there.
    said: JoinHandle<String>,
}

impl Client {
    async fn of(board: &Board, more: &[&str]) -> Self {
        Self::to(&board.url(), TOKEN, more).await
    }

    /// One that names the gateway and a file with its token.
    pub async fn to(url: &str, token: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), format!("{token}\n")).expect("written");
        let options = [&["--url", url, "--token-file", "token"], more].concat();
        let command = program(folder.path(), &options);
        Self::begin(command, folder).await
    }

    /// One that starts this command, whose standard input, output and error are pipes.
    pub async fn begin(mut command: Command, folder: tempfile::TempDir) -> Self {
        let mut child = command.spawn().expect("starts");
        let mut stderr = child.stderr.take().expect("piped");
        let said = TaskTracker::new().spawn(async move {
            let mut said = String::new();
            stderr.read_to_string(&mut said).await.expect("text");
            said
        });
        let mut client = Self {
            input: child.stdin.take().expect("piped"),
            output: BufReader::new(child.stdout.take().expect("piped")).lines(),
            child,
            hello: Value::Null,
            notifications: VecDeque::new(),
            last: 0,
            folder,
            said,
        };
        let about = json!({"name": "x", "version": "1"});
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about});
        client.hello = client.ask("initialize", hello).await["result"].clone();
        client.notify("notifications/initialized", json!({})).await;
        client
    }

    async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.input.write_all(line.as_bytes()).await.expect("written");
    }

    pub async fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    async fn next(&mut self) -> Value {
        let line = soon(self.output.next_line())
            .await
            .expect("a line")
            .expect("it still speaks");
        serde_json::from_str(&line).expect("JSON")
    }

    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        loop {
            let message = self.next().await;
            if message["id"] == id {
                return message;
            }
            self.notifications.push_back(message);
        }
    }

    /// The next notification.
    pub async fn told(&mut self) -> Value {
        match self.notifications.pop_front() {
            Some(notification) => notification,
            None => self.next().await,
        }
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.ask("tools/call", params).await["result"].clone()
    }

    pub async fn done(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    pub async fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["content"][0]["text"].as_str().expect("a text").to_owned()
    }

    /// Calls until it is answered.
    pub async fn until_done(&mut self, tool: &str) {
        let trying = async { while self.call(tool, json!({})).await["isError"] != false {} };
        soon(trying).await;
    }

    /// Goes away; what the program said on standard error until it had ended.
    pub async fn leave(mut self) -> String {
        drop(self.input);
        let ended = tokio::time::timeout(PROMPT, self.child.wait());
        let status = ended.await.expect("it ends promptly").expect("ends");
        let said = self.said.await.expect("text");
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_told_from_a_method_that_there_is_not() {
    let board = Board::start().await;
    let mut client = Client::of(&board, &[]).await;
    for (method, params, code) in [
        ("tools/call", json!({"name": 7}), -32602),
        ("tools/call", json!({"name": "messages_read", "arguments": []}), -32602),
        ("tools/cull", json!({"name": "messages_read"}), -32601),
    ] {
        let answer = client.ask(method, params).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}

#[tokio::test]
async fn the_bridge_is_the_tools_for_conversations_alone() {
    let board = Board::start().await;
    board.on_it().sessions = vec![row(HERE, "telegram:1")];
    let mut client = Client::of(&board, &[]).await;
    let hello = &client.hello;
    assert_eq!(hello["serverInfo"]["name"], "clawhand");
    let channel = json!({ "claude/channel": {}, "claude/channel/permission": {} });
    assert_eq!(hello["capabilities"], json!({ "tools": {}, "experimental": channel }));
    let listed = client.ask("tools/list", json!({})).await;
    assert_eq!(
        names(&listed),
        [
            "attachments_fetch",
            "conversation_get",
            "conversations_list",
            "events_poll",
            "events_wait",
            "messages_read",
            "messages_send",
            "permissions_list_open",
            "permissions_respond",
        ]
    );
    for method in ["resources/list", "prompts/list"] {
        assert_eq!(client.ask(method, json!({})).await["error"]["code"], -32601, "{method}");
    }
    let content = client.done("conversations_list", json!({})).await;
    assert_eq!(content["conversations"][0]["sessionKey"], HERE);
    client
        .done("messages_send", json!({"session_key": HERE, "text": "hi"}))
        .await;
    assert_eq!(board.asked("connect")[0]["auth"], json!({ "token": TOKEN }));
    board.event("session.message", told(HERE, "m1", "hello"));
    let came = client.done("events_wait", json!({})).await;
    assert_eq!(
        (&came["event"]["cursor"], &came["event"]["text"]),
        (&json!(1), &json!("hello"))
    );
    assert!(!client.folder.path().join("data").exists(), "nothing is stored");
    let said = client.leave().await;
    assert!(!said.contains(TOKEN), "{said}");
}

#[tokio::test]
async fn what_happens_is_kept_from_the_start_on() {
    let board = Board::start().await;
    board.on_it().exec = vec![approval("early", HERE, 5)];
    let mut client = Client::of(&board, &["--claude-channel-mode", "off"]).await;
    assert_eq!(client.hello["capabilities"], json!({ "tools": {} }));
    let came = client.done("events_wait", json!({})).await;
    assert_eq!(came["event"]["approval"]["id"], "early");
    client
        .notify("notifications/claude/channel/permission_request", asks("abcde"))
        .await;
    board.event("session.message", told(HERE, "m1", "yes abcde"));
    let came = client.done("events_wait", json!({"after_cursor": 1})).await;
    assert_eq!(came["event"]["text"], "yes abcde");
    assert!(client.notifications.is_empty(), "{:?}", client.notifications);
    client.leave().await;
}

#[tokio::test]
async fn a_wrong_token_is_told_to_every_call_and_ends_nothing() {
    let board = Board::start().await;
    keep_out(&board, &json!({ "code": "AUTH_TOKEN_MISMATCH" }));
    let mut client = Client::to(&board.url(), "another-token", &[]).await;
    for tool in [
        "conversations_list",
        "events_poll",
        "events_wait",
        "permissions_list_open",
    ] {
        let said = client.refused(tool, json!({})).await;
        assert!(
            said.starts_with("the gateway does not take the credential"),
            "{tool}: {said}"
        );
    }
    client.leave().await;
}

#[tokio::test]
async fn a_device_that_is_approved_meanwhile_is_let_in() {
    let board = Board::start().await;
    keep_out(&board, &json!({ "code": "PAIRING_REQUIRED", "requestId": "r1" }));
    let mut client = Client::of(&board, &[]).await;
    let said = client.refused("conversations_list", json!({})).await;
    assert!(said.contains("openclaw devices approve r1"), "{said}");
    board.on_it().keeps_out = None;
    client.until_done("conversations_list").await;
    client.leave().await;
}

#[tokio::test]
async fn a_gateway_that_wants_the_device_is_shown_the_same_one_each_time() {
    let board = Board::start().await;
    board.on_it().wants_device = true;
    let mut client = Client::of(&board, &[]).await;
    client.done("conversations_list", json!({})).await;
    let key = client.folder.path().join("data/identity/device.key");
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    board.close();
    client.done("conversations_list", json!({})).await;
    let devices: Vec<_> = board
        .asked("connect")
        .iter()
        .map(|connect| connect["device"]["id"].clone())
        .collect();
    let shown: Vec<_> = devices.iter().filter(|id| !id.is_null()).collect();
    assert!(
        shown.len() >= 2 && shown.iter().all(|id| *id == shown[0]),
        "{devices:?}"
    );
    client.leave().await;
}

fn keep_out(board: &Board, details: &Value) {
    let refusal = json!({ "code": "INVALID_REQUEST", "message": "unauthorized", "details": details });
    board.on_it().keeps_out = Some(refusal);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_yet_is_waited_for() {
    let board = Board::start().await;
    let (url, address) = (board.url(), board.address());
    board.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path(), &[]);
    command.env("OPENCLAW_URL", &url).env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
    let mut client = Client::begin(command, folder).await;
    let said = client.refused("conversations_list", json!({})).await;
    assert_eq!(said, "nobody answers where the gateway should be");
    let board = Board::at(address).await;
    client.until_done("events_poll").await;
    assert_eq!(board.asked("connect")[0]["auth"], json!({ "token": TOKEN }));
    drop(board);
    client.leave().await;
}

#[tokio::test]
async fn a_client_that_goes_away_without_a_word_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = program(folder.path(), &["-v"]).spawn().expect("starts");
    let output = tokio::time::timeout(PROMPT, child.wait_with_output())
        .await
        .expect("it ends promptly");
    let Output { status, stdout, stderr } = output.expect("ends");
    assert_eq!(
        (status.code(), stdout.len()),
        (Some(0), 0),
        "{}",
        String::from_utf8_lossy(&stderr)
    );
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    for (options, code, words) in [
        (&["--token", "a", "--token-file", "b"][..], 2, "cannot be used with"),
        (&["--token", "a", "--password", "b"][..], 2, "cannot be used with"),
        (&["--claude-channel-mode", "perhaps"][..], 2, "auto, on, off"),
        (&["--url", "nowhere"][..], 3, "it is no url"),
        (&["--fingerprint", "00"][..], 3, "fingerprint"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let child = program(folder.path(), options).spawn().expect("starts");
        let output = soon(child.wait_with_output()).await.expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {said}");
        assert!(said.contains(words), "{options:?}: {said}");
    }
}

#[tokio::test]
async fn a_token_on_the_command_line_is_warned_of_and_shown_nowhere() {
    let board = Board::start().await;
    let url = board.url();
    let folder = tempfile::tempdir().expect("a folder");
    board.on_it().sessions = vec![{
        let mut telling = row(HERE, "telegram:1");
        telling["label"] = json!(format!("{TOKEN} at {url}"));
        telling
    }];
    let command = program(folder.path(), &["--url", &url, "--token", TOKEN, "--verbose"]);
    let mut client = Client::begin(command, folder).await;
    let content = client.done("conversations_list", json!({})).await;
    let shown = content.to_string();
    assert!(!shown.contains(TOKEN) && !shown.contains(&url), "{shown}");
    let said = client.leave().await;
    assert!(said.contains("use --token-file") && !said.contains(TOKEN), "{said}");
}

#[tokio::test]
async fn approvals_are_seen_and_answered_only_where_the_operator_says_so() {
    let answer = json!({"kind": "exec", "id": "one", "decision": "allow-once"});
    let board = Board::start().await;
    {
        let mut board = board.on_it();
        board.gives_admin = true;
        board.exec = vec![approval("one", HERE, 5)];
    }
    let mut client = Client::of(&board, &["--admin"]).await;
    let content = client.done("permissions_list_open", json!({})).await;
    assert_eq!(content["approvals"][0]["id"], "one");
    let said = client.refused("permissions_respond", answer.clone()).await;
    assert_eq!(
        said,
        "who may talk to the agents of a gateway can't answer their approvals"
    );
    client.leave().await;
    let mut client = Client::of(&board, &["--admin", "--self-approval"]).await;
    client.done("permissions_respond", answer).await;
    assert_eq!(board.asked("exec.approval.resolve").len(), 1);
    client.leave().await;
}

fn asks(id: &str) -> Value {
    json!({ "request_id": id, "tool_name": "Bash", "description": "list files", "input_preview": "{\"command\": \"ls\"}" })
}

#[tokio::test]
async fn a_client_in_channel_mode_is_told_what_people_say() {
    let board = Board::start().await;
    let mut client = Client::of(&board, &["--claude-channel-mode", "auto"]).await;
    client.until_done("events_poll").await;
    let mut assistants = told(HERE, "m0", "not for you");
    assistants["message"]["role"] = json!("assistant");
    let mut silent = told("agent:main:silent", "m1", "nowhere to reply");
    silent.as_object_mut().expect("an object").remove("session");
    let mut slim = told(HERE, "m4", "without a row");
    slim.as_object_mut().expect("an object").remove("session");
    (slim["lastChannel"], slim["lastTo"], slim["lastAccountId"]) =
        (json!("Telegram"), json!("telegram:1"), json!("default"));
    let mut picture = told(HERE, "m2", "");
    picture["message"] = message("m2", "user", "");
    picture["message"]["content"] = json!([{ "type": "image", "data": "aGk=" }]);
    for payload in [assistants, silent, told(HERE, "m3", "hello"), picture, slim] {
        board.event("session.message", payload);
    }
    for (id, content) in [("m3", "hello"), ("m2", "[non-text message]"), ("m4", "without a row")] {
        let told = client.told().await;
        assert_eq!(told["method"], "notifications/claude/channel");
        let meta = json!({
            "session_key": HERE, "channel": "telegram", "to": "telegram:1", "account_id": "default", "thread_id": "",
            "message_id": id,
        });
        assert_eq!(told["params"], json!({ "content": content, "meta": meta }));
    }
    client.leave().await;
}

#[tokio::test]
async fn a_client_in_channel_mode_is_told_by_every_gateway_which_one_it_is() {
    let (lab, other) = (Board::start().await, Board::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let table = |name: &str, board: &Board| {
        let url = board.url();
        format!("[[gateway]]\nname = \"{name}\"\nurl = \"{url}\"\ntoken = {{ env = \"LAB_TOKEN\" }}\n")
    };
    let tables = table("lab", &lab) + &table("other", &other);
    std::fs::write(folder.path().join("clawhand.toml"), tables).expect("written");
    other.on_it().sessions = vec![row("agent:main:telegram:2", "telegram:2")];
    let mut command = program(folder.path(), &["--config", "clawhand.toml"]);
    command.env("LAB_TOKEN", TOKEN);
    let mut client = Client::begin(command, folder).await;
    client.until_done("events_poll").await;
    let listed = client.done("conversations_list", json!({"instance": "other"})).await;
    assert_eq!(listed["conversations"][0]["sessionKey"], "agent:main:telegram:2");

    lab.event("session.message", told(HERE, "m1", "from the lab"));
    let said = client.told().await;
    assert_eq!(
        (&said["params"]["content"], &said["params"]["meta"]["instance"]),
        (&json!("from the lab"), &json!("lab"))
    );
    other.event("session.message", told(HERE, "m1", "from the other"));
    let said = client.told().await;
    assert_eq!(
        (&said["params"]["content"], &said["params"]["meta"]["instance"]),
        (&json!("from the other"), &json!("other"))
    );

    // A question may be answered over any of them, once.
    client
        .notify("notifications/claude/channel/permission_request", asks("abcde"))
        .await;
    let seen = client.done("events_wait", json!({"instance": "other"})).await;
    let seen = match seen["event"]["requestId"] == "abcde" {
        // The message and the question are told by two; either may be first.
        true => json!(0),
        false => seen["event"]["cursor"].clone(),
    };
    let waits = json!({"instance": "other", "after_cursor": seen, "timeout_ms": 60_000});
    let came = client.done("events_wait", waits).await;
    assert_eq!(came["event"]["requestId"], "abcde", "{came}");
    other.event("session.message", told(HERE, "m2", "yes abcde"));
    let answered = client.told().await;
    assert_eq!(
        answered["params"],
        json!({ "request_id": "abcde", "behavior": "allow" })
    );
    lab.event("session.message", told(HERE, "m2", "no abcde"));
    let said = client.told().await;
    assert_eq!(said["params"]["content"], "no abcde", "{said}");
    client.leave().await;
}

#[tokio::test]
async fn an_owner_answers_the_clients_questions_by_yes_or_no() {
    let board = Board::start().await;
    let mut client = Client::of(&board, &[]).await;
    client.until_done("events_poll").await;
    client
        .notify(
            "notifications/claude/channel/permission_request",
            json!({"request_id": "nonsense"}),
        )
        .await;
    for (after, id) in [(0, "abcde"), (1, "fghij")] {
        client
            .notify("notifications/claude/channel/permission_request", asks(id))
            .await;
        let came = client
            .done("events_wait", json!({"after_cursor": after, "timeout_ms": 60_000}))
            .await;
        let expected = json!({
            "cursor": after + 1, "type": "claude_permission_request", "requestId": id, "toolName": "Bash",
            "description": "list files", "inputPreview": "{\"command\": \"ls\"}",
        });
        assert_eq!(came["event"], expected);
    }

    let mut stranger = told(HERE, "m1", "yes abcde");
    stranger["senderIsOwner"] = json!(false);
    for payload in [
        stranger,
        told(HERE, "m2", "yes vwxyz"),
        told(HERE, "m3", "YES AbCdE"),
        told(HERE, "m4", "no fghij"),
        told(HERE, "m5", "no abcde"),
    ] {
        board.event("session.message", payload);
    }
    let mut said = Vec::new();
    for _ in 0..5 {
        let told = client.told().await;
        let params = &told["params"];
        said.push(match told["method"].as_str() {
            Some("notifications/claude/channel/permission") => {
                format!("{} {}", params["request_id"], params["behavior"])
            }
            Some("notifications/claude/channel") => params["content"].to_string(),
            other => panic!("{other:?}"),
        });
    }
    // A stranger's yes, letters that nobody asked with and a second answer are messages as any other.
    let expected = [
        "\"yes abcde\"",
        "\"yes vwxyz\"",
        "\"abcde\" \"allow\"",
        "\"fghij\" \"deny\"",
        "\"no abcde\"",
    ];
    assert_eq!(said, expected);
    client.leave().await;
}
