//! A recorded session of openclaw-mcp 1.7.0 before a scripted gateway, replayed: whoever was content with that one is
//! content with this one. What differs is named here, and has its line in the table of docs/CLIENTS.md.

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpSocket;
use tokio::process::Command;

use super::*;
use crate::gateway::scripted::agents::{Act, Agents};
use crate::mcp::bridge::Client;
use crate::mcp::recorded::{lines, missing};

const SESSION: &str = include_str!("../../../fixtures/openclaw/mcp.jsonl");
/// Where each difference must be told.
const CLIENTS: &str = include_str!("../../../../docs/CLIENTS.md");

/// The instances of the recording: one that works, one that wants another token, one where nobody listens, and one that
/// answers everything with an error.
struct Instances {
    agents: Agents,
    broken: Scripted,
    /// Nobody else can listen there.
    gone: TcpSocket,
}

impl Instances {
    async fn start() -> Self {
        let agents = Agents::start(|_, message| acts(message)).await;
        agents.desk().be(|manner| manner.replies = plays);
        let broken = Scripted::start().await;
        broken.desk.be(|manner| manner.instead = Some(page()));
        let gone = TcpSocket::new_v4().expect("a socket");
        gone.bind("127.0.0.1:0".parse().expect("an address")).expect("binds");
        Self { agents, broken, gone }
    }

    /// As they are said to openclaw-mcp.
    fn variable(&self) -> String {
        let gone = self.gone.local_addr().expect("an address");
        let at = |name: &str, address: SocketAddr, token: &str| {
            let url = format!("http://{address}");
            json!({"name": name, "url": url, "token": token})
        };
        json!([
            at("lab", self.agents.address, TOKEN),
            at("locked", self.agents.address, "another-token"),
            at("gone", gone, TOKEN),
            at("broken", self.broken.address, TOKEN),
        ])
        .to_string()
    }

    /// clawhand in the place of openclaw-mcp: with its variables, and the number of tasks that it works on at once.
    async fn client(&self) -> Client {
        let folder = tempfile::tempdir().expect("a folder");
        let command = program(folder.path(), &self.variable());
        Client::begin(command, folder).await
    }
}

fn program(folder: &Path, instances: &str) -> Command {
    std::fs::create_dir(folder.join("targets")).expect("made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawhand"));
    command
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--targets")
        .arg(folder.join("targets"))
        .args(["serve", "--transport", "stdio"])
        .env_clear()
        .env("OPENCLAW_INSTANCES", instances)
        .env("OPENCLAW_TASK_CONCURRENCY", "1")
        .current_dir(folder)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What an agent does in the background.
fn acts(message: &str) -> Vec<Act> {
    let say = |text: &str| Act::Say(text.to_owned());
    match message {
        _ if message.contains("wait") => vec![say("begun\n"), Act::Gate, say("over")],
        _ if message.contains("fail") => vec![Act::Fail("the model does not answer")],
        _ if message.contains("nothing") => Vec::new(),
        _ => vec![say(&format!("heard: {message}"))],
    }
}

/// What the gateway answers over HTTP.
fn plays(said: &str) -> Vec<Play> {
    let json = |status, body: Value| vec![Play::Answer(status, "application/json", body.to_string().into())];
    let error = |text: &str| json!({"error": {"message": text, "type": "api_error"}});
    let reply = match said {
        "refuse me" => return json(400, error("the agent is not to be spoken to")),
        "fail" => return json(500, error("the model does not answer")),
        "a page" => return vec![page()],
        "no choices" => return json(200, json!({"model": "openclaw"})),
        "prose" => return vec![Play::Answer(200, "application/json", "it is no JSON".into())],
        "close" => return vec![Play::Close],
        _ if said.contains("nothing") => String::new(),
        _ if said.len() > 100 => format!("heard {} characters", said.len()),
        _ => format!("heard: {said}"),
    };
    vec![Play::Begin, Play::Text(reply), Play::Done]
}

fn page() -> Play {
    Play::Answer(500, "text/html", "<html><title>Oops</title></html>".into())
}

/// A text of the recording such as `<257 x>` stands for so many letters.
fn whole(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), whole(value)))
            .collect(),
        Value::String(text) => {
            let short = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
            let long = short.and_then(|text| text.split_once(' '));
            long.map_or_else(
                || value.clone(),
                |(count, letter)| json!(letter.repeat(count.parse().expect("a number"))),
            )
        }
        _ => value.clone(),
    }
}

/// The recorded ids, each with ours.
#[derive(Default)]
struct Ids(Vec<(String, String)>);

impl Ids {
    /// In our words.
    fn ours(&self, value: &Value) -> Value {
        let text = self
            .0
            .iter()
            .fold(value.to_string(), |text, (theirs, ours)| text.replace(theirs, ours));
        serde_json::from_str(&text).expect("JSON")
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().expect("a text")
}

/// The execution behind a task.
fn execution(task: &str) -> String {
    format!("exe_{}", task.trim().trim_start_matches("task_").replace('-', ""))
}

/// Waits until a task is as far as the recorded one was.
async fn follow(client: &mut Client, task: &str, status: &str) {
    let mut ask = json!({"execution_id": execution(task), "wait_ms": 20_000});
    loop {
        let now = client.done("get_status", ask.clone()).await;
        let is_over = now["log"]["done"] == true;
        match status {
            "pending" => return,
            "running" if now["state"] == "running" => return,
            "running" => assert!(!is_over, "it never ran: {now}"),
            _ if is_over => return,
            _ => {}
        }
        ask["cursor"] = now["log"]["next_cursor"].clone();
    }
}

/// Where a value is another one, by the path to it. Lists are as long as they were.
fn otherwise(path: &str, theirs: &Value, ours: &Value) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let both = theirs
                .iter()
                .filter_map(|(name, theirs)| Some((name, theirs, ours.get(name)?)));
            both.flat_map(|(name, theirs, ours)| otherwise(&format!("{path}.{name}"), theirs, ours))
                .collect()
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            let pairs = theirs.iter().zip(ours);
            pairs
                .flat_map(|(theirs, ours)| otherwise(&format!("{path}[]"), theirs, ours))
                .collect()
        }
        // Times differ, but are written alike.
        (Value::String(theirs), Value::String(ours)) if path.ends_with("_at") && theirs.len() == ours.len() => {
            Vec::new()
        }
        // A sentence may say more.
        (Value::String(theirs), Value::String(ours)) if [".message", ".error"].contains(&path) => {
            match ours.starts_with(theirs) {
                true => Vec::new(),
                false => vec![format!("{path} in other words")],
            }
        }
        _ if theirs == ours => Vec::new(),
        _ => vec![format!("{path} is {ours}")],
    }
}

/// What is less, or other, than was recorded.
fn compared(line: &Value, theirs: &Value, answer: &Value) -> Vec<String> {
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str();
    if let Some(error) = line["error"].as_str() {
        return match (answer["error"]["code"].as_i64(), text) {
            (code @ Some(_), _) if line["code"].as_i64() == code => Vec::new(),
            (Some(code), _) => vec![format!("error {code}")],
            (None, Some(text)) if result["isError"] == true && text.starts_with(error) => Vec::new(),
            (None, _) if result["isError"] == true => vec!["in other words".to_owned()],
            _ => vec!["is taken".to_owned()],
        };
    }
    if result["isError"] != false {
        return vec!["is refused".to_owned()];
    }
    assert_eq!(result["content"].as_array().map(Vec::len), Some(1), "{answer}");
    let text = text.expect("a text");
    if theirs.is_null() {
        return match line["text"] == text {
            true => Vec::new(),
            false => vec![format!("is {text}")],
        };
    }
    // They read the text.
    let ours = serde_json::from_str(text).expect("JSON");
    let lacks = missing("", theirs, &ours)
        .into_iter()
        .map(|path| format!("lacks {path}"));
    let mut differs: Vec<_> = lacks.chain(otherwise("", theirs, &ours)).collect();
    differs.dedup();
    differs
}

#[tokio::test]
async fn the_tools_take_what_the_recorded_ones_take() {
    let instances = Instances::start().await;
    let mut client = instances.client().await;
    let listed = client.ask("tools/list", json!({})).await;
    let lines = lines(SESSION);
    let theirs = lines[1]["tools"].as_array().expect("recorded");
    assert_eq!(theirs.len(), 7);
    for tool in theirs {
        let ours = listed["result"]["tools"].as_array().expect("tools");
        let ours = ours.iter().find(|one| one["name"] == tool["name"]).expect("is there");
        let (theirs, ours) = (&tool["inputSchema"], &ours["inputSchema"]);
        let required = |schema: &Value| schema["required"].as_array().cloned().unwrap_or_default();
        assert_eq!(required(ours), required(theirs), "{}", tool["name"]);
        assert_ne!(ours["additionalProperties"], false, "{}", tool["name"]);
        for (name, field) in theirs["properties"].as_object().expect("fields") {
            let mut own = ours["properties"][name].clone();
            own.as_object_mut().expect("is there").remove("description");
            assert_eq!(&own, field, "{} {name}", tool["name"]);
        }
    }
    client.leave().await;
}

#[tokio::test]
async fn every_recorded_call_gives_no_less() {
    let instances = Instances::start().await;
    let mut client = instances.client().await;
    let lines = lines(SESSION);
    let lacking = missing("", &lines[0]["initialize"], &client.hello);
    let lacking = lacking.into_iter().map(|path| format!("initialize: lacks {path}"));
    let (mut ids, mut calls, mut differ) = (Ids::default(), 0, Vec::from_iter(lacking));
    for line in &lines[2..] {
        match line["gate"].as_bool() {
            Some(true) => instances.agents.open(),
            Some(false) => instances.agents.shut(),
            None => {
                calls += 1;
                differ.extend(replay(&mut client, line, &mut ids).await);
            }
        }
    }
    assert_eq!(calls, 114);
    let named: Vec<&str> = DIFFERENCES.iter().flat_map(|(_, calls)| *calls).copied().collect();
    let unnamed: Vec<_> = differ.iter().filter(|one| !named.contains(&one.as_str())).collect();
    let unseen: Vec<_> = named
        .iter()
        .filter(|one| !differ.iter().any(|seen| seen == *one))
        .collect();
    assert_eq!((unnamed, unseen), (Vec::new(), Vec::new()));
    client.leave().await;
}

#[test]
fn every_difference_has_its_row() {
    let section = CLIENTS.split_once("## Coming from openclaw-mcp\n").expect("is there");
    let (table, _) = section.1.split_once("\n## ").expect("it ends");
    for (row, _) in DIFFERENCES {
        assert!(table.contains(&format!("\n| {row} | ")), "no row {row}");
    }
}

/// One call; what differs.
async fn replay(client: &mut Client, line: &Value, ids: &mut Ids) -> Vec<String> {
    let params = ids.ours(&whole(&line["call"]));
    let (tool, gives) = (&params["name"], &line["gives"]);
    if tool == "openclaw_task_status" && gives.is_object() {
        // Here one goes on waiting for the gateway that is gone.
        let is_gone = gives["instance"] == "gone";
        let status = match is_gone {
            true => "running",
            false => text(gives, "status"),
        };
        follow(client, text(&params["arguments"], "task_id"), status).await;
    }
    let answer = client.ask("tools/call", params.clone()).await;
    if tool == "openclaw_chat_async" && gives.is_object() {
        let id = |value: &Value| value["task_id"].as_str().map(str::to_owned);
        // There is none if ours refuses the call.
        let ours = id(&answer["result"]["structuredContent"]);
        ids.0.extend(id(gives).zip(ours));
    }
    let call = &line["call"];
    let differs = compared(line, &ids.ours(gives), &answer);
    let name = call["name"].as_str().unwrap_or("nothing");
    let told = differs
        .into_iter()
        .map(|what| format!("{name} {}: {what}", call["arguments"]));
    told.collect()
}

/// What differs: the row of the table that tells it and why, and the calls that show it.
const DIFFERENCES: &[(&str, &[&str])] = &[
    ("`serverInfo`", &["initialize: lacks .serverInfo.icons"]),
    (
        "`arguments` missing",
        &[
            "openclaw_status null: is taken",
            "openclaw_task_list null: is taken",
            "openclaw_chat null: in other words",
            "openclaw_chat_async null: in other words",
            "openclaw_task_status null: in other words",
            "openclaw_task_cancel null: in other words",
        ],
    ),
    (
        "optional fields",
        &[
            r#"openclaw_status {"instance":null}: is taken"#,
            r#"openclaw_chat {"message":"hello","session_id":null}: is taken"#,
            r#"openclaw_chat {"instance":null,"message":"hello"}: is taken"#,
            r#"openclaw_task_list {"status":null}: is taken"#,
            r#"openclaw_chat_async {"message":"a","priority":null}: is taken"#,
            r#"openclaw_chat_async {"message":"a","session_id":null}: is taken"#,
        ],
    ),
    (
        "`status`, `priority` of a wrong type",
        &[
            r#"openclaw_task_list {"status":5}: in other words"#,
            r#"openclaw_chat_async {"message":"a","priority":"1"}: in other words"#,
        ],
    ),
    (
        "connection failed",
        &[r#"openclaw_chat {"instance":"gone","message":"hello"}: in other words"#],
    ),
    (
        "connection that breaks",
        &[r#"openclaw_chat {"message":"close"}: in other words"#],
    ),
    (
        "reply that is no JSON",
        &[
            r#"openclaw_chat {"message":"a page"}: in other words"#,
            r#"openclaw_chat {"message":"prose"}: in other words"#,
        ],
    ),
    (
        "reply without `choices`",
        &[r#"openclaw_chat {"message":"no choices"}: is refused"#],
    ),
    (
        "`session_id` with line breaks",
        &[
            r#"openclaw_chat {"message":"hello","session_id":"a\nb"}: in other words"#,
            r#"openclaw_chat_async {"message":"a","session_id":"a\nb"}: is refused"#,
            r#"openclaw_task_list {"session_id":"a\nb"}: is refused"#,
        ],
    ),
    (
        "`session_id` beyond Latin-1",
        &[r#"openclaw_chat {"message":"hello","session_id":"東京"}: is taken"#],
    ),
    (
        "`openclaw_status`",
        &[
            r#"openclaw_status {"instance":"locked"}: .status is "error""#,
            r#"openclaw_status {"instance":"locked"}: .message in other words"#,
            r#"openclaw_status {"instance":"broken"}: .message in other words"#,
            r#"openclaw_status {}: .message in other words"#,
            r#"openclaw_status {"anything":[1],"instance":" lab "}: .message in other words"#,
        ],
    ),
    (
        "`openclaw_status` of a gateway that is gone",
        &[r#"openclaw_status {"instance":"gone"}: is taken"#],
    ),
    (
        "`url` in `openclaw_instances`",
        &[
            r#"openclaw_instances {}: .instances[].url is "[private]""#,
            r#"openclaw_instances null: .instances[].url is "[private]""#,
            r#"openclaw_instances {"anything":1}: .instances[].url is "[private]""#,
        ],
    ),
    (
        "`priority` beyond a million",
        &[r#"openclaw_chat_async {"message":"a","priority":1000001}: is refused"#],
    ),
    (
        "`error` of a task",
        &[
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000004"}: .error in other words"#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000005"}: .error in other words"#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000006"}: .error in other words"#,
        ],
    ),
    (
        "`openclaw_task_cancel` of a running task",
        &[
            r#"openclaw_task_cancel {"task_id":"task_00000000-0000-4000-8000-000000000010"}: is taken"#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000010"}: .status is "cancelled""#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000010"}: lacks .result"#,
        ],
    ),
    (
        "`openclaw_task_cancel` of a task that ended",
        &[
            r#"openclaw_task_cancel {"task_id":"task_00000000-0000-4000-8000-000000000002"}: in other words"#,
            r#"openclaw_task_cancel {"task_id":"task_00000000-0000-4000-8000-000000000003"}: in other words"#,
        ],
    ),
    (
        "a gateway that is down",
        &[
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000011"}: .status is "running""#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000011"}: lacks .completed_at"#,
            r#"openclaw_task_status {"task_id":"task_00000000-0000-4000-8000-000000000011"}: lacks .error"#,
        ],
    ),
    (
        "unknown tool, a call that can't be read",
        &[
            r#"openclaw_delete {}: error -32602"#,
            r#"openclaw_chat []: error -32602"#,
            r#"nothing {}: error -32602"#,
        ],
    ),
];
