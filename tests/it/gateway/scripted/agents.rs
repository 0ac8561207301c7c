//! A gateway with agents: it keeps sessions, runs and keys as the real one does, and its agents do what a test says.
//!
//! What is on its disk (sessions and their messages) outlives [`Agents::restart`]; what it has in memory (runs, keys) does
//! not. tests/it/gateway/openclaw looks at the real one in the same places.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use clawhand::gateway::{Gateways, Instance};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::http::{self, Desk};
use super::socket::{hello, pace};
use super::{LONG, TOKEN, instance, secrets, surroundings};

/// One thing that an agent does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Says this, too.
    Say(String),
    /// Gives a file.
    File(&'static str, Vec<u8>),
    /// Waits until the test lets it go on.
    Gate,
    /// Asks leave to run this command, and says what it was told.
    Ask(&'static str),
    /// Asks leave for what a plugin is to do, once or always, and says what it was told.
    AskOfPlugin(&'static str),
    /// Ends badly.
    Fail(&'static str),
}

/// What the agent makes of a message: from the run's id and the message.
pub type Agent = dyn Fn(&str, &str) -> Vec<Act> + Send + Sync;

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Told {
    pub run: String,
    pub session: String,
    pub message: String,
    pub params: Value,
}

#[derive(Default)]
struct World {
    boot: u32,
    /// On its disk: messages by session.
    sessions: BTreeMap<String, Vec<Value>>,
    /// On its disk: the state of a session and its last run.
    rows: BTreeMap<String, (String, Option<String>)>,
    /// On its disk: files by id, each with its run and its name.
    files: Vec<(String, String, Vec<u8>)>,
    /// In memory: the end of each run that it knows, or none yet.
    runs: BTreeMap<String, Option<Value>>,
    told: Vec<Told>,
    /// In memory: what agents asked leave for, each with the answer.
    asked: BTreeMap<String, (Value, Option<String>)>,
    /// Each start of an agent's work.
    started: Vec<String>,
    aborted: BTreeSet<String>,
    /// Whether messages that were sent are lost with the connection before they are kept.
    forgetful: bool,
    /// Whether the next message is taken and the connection cut before the answer.
    cut: bool,
}

struct Shared {
    world: Mutex<World>,
    agent: Box<Agent>,
    desk: Desk,
    changed: watch::Sender<u64>,
    gate: watch::Sender<bool>,
    events: broadcast::Sender<Value>,
    /// Everything that runs; replaced by a restart.
    tasks: Mutex<JoinSet<()>>,
    connections: Mutex<JoinSet<()>>,
}

/// The running gateway.
pub struct Agents {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _listening: JoinSet<()>,
}

impl Agents {
    pub async fn start(agent: impl Fn(&str, &str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            world: Mutex::default(),
            agent: Box::new(agent),
            desk: Desk::default(),
            changed: watch::Sender::new(0),
            gate: watch::Sender::new(false),
            events: broadcast::Sender::new(10_000),
            tasks: Mutex::default(),
            connections: Mutex::default(),
        });
        let mut listening = JoinSet::new();
        let serving = shared.clone();
        listening.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                let mut connections = serving.connections.lock().expect("no panic");
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(stream, shared));
            }
        });
        Self {
            address,
            shared,
            _listening: listening,
        }
    }

    pub fn instance(&self, name: &str) -> Instance {
        instance(name, &format!("http://localhost:{}", self.address.port()))
    }

    /// It alone, as another process of clawhand knows it: with connections of its own.
    pub fn gateways(&self) -> Gateways {
        let mut around = surroundings();
        around.pace = pace();
        Gateways::new(vec![self.instance("lab")], &secrets(), &around)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().expect("no panic")
    }

    /// The messages so far, repetitions of a key included.
    pub fn told(&self) -> Vec<Told> {
        self.world().told.clone()
    }

    /// How often an agent began with this run.
    pub fn starts(&self, run: &str) -> usize {
        self.world().started.iter().filter(|started| *started == run).count()
    }

    /// The runs that go on.
    pub fn running(&self) -> Vec<String> {
        let world = self.world();
        let running = world.runs.iter().filter(|(_, end)| end.is_none());
        running.map(|(run, _)| run.clone()).collect()
    }

    /// The runs that somebody ended.
    pub fn aborted(&self) -> Vec<String> {
        self.world().aborted.iter().cloned().collect()
    }

    /// Somebody at the gateway answers what an agent asked first.
    pub fn resolve(&self, decision: &str) {
        resolve(&self.shared, "exec", "ask-0", decision).expect("it is open");
    }

    /// What came over HTTP, and what is to be answered there.
    pub fn desk(&self) -> &Desk {
        &self.shared.desk
    }

    /// Lets every agent go on that waits, or will.
    pub fn open(&self) {
        self.shared.gate.send_replace(true);
    }

    /// From now on agents wait again where they are to.
    pub fn shut(&self) {
        self.shared.gate.send_replace(false);
    }

    /// Takes the next message, and breaks the connection before that is answered.
    pub fn cut_next(&self) {
        self.world().cut = true;
    }

    /// From now on a message is kept only in memory until its agent has ended.
    pub fn forget(&self) {
        self.world().forgetful = true;
    }

    /// Every connection breaks.
    pub fn cut(&self) {
        *self.shared.connections.lock().expect("no panic") = JoinSet::new();
    }

    /// Ends as a crash does, and starts again: what ran is forgotten. If it `recovers`, it goes on by itself with the
    /// sessions in which something ran, under runs of its own.
    pub fn restart(&self, recovers: bool) {
        self.cut();
        *self.shared.tasks.lock().expect("no panic") = JoinSet::new();
        let going: Vec<(String, String)> = {
            let mut world = self.world();
            world.boot += 1;
            let forgotten = std::mem::take(&mut world.runs);
            world.asked.clear();
            let unended = forgotten.into_iter().filter(|(_, end)| end.is_none());
            let sessions = &world.sessions;
            unended
                .filter_map(|(run, _)| {
                    let said = format!("{run}:user");
                    let is_in =
                        |messages: &Vec<Value>| messages.iter().any(|m| m["__openclaw"]["idempotencyKey"] == *said);
                    let found = sessions.iter().find(|(_, messages)| is_in(messages));
                    found.map(|(session, _)| (run, session.clone()))
                })
                .collect()
        };
        for (run, session) in going.into_iter().filter(|_| recovers) {
            let own = format!("recovery-of-{run}");
            let mut message = user(&own, "[System] go on");
            message["provenance"] = json!({ "sourceTool": "main_session_restart_recovery" });
            self.world().sessions.entry(session.clone()).or_default().push(message);
            begin(&self.shared, own, session, "go on".to_owned());
        }
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// Waits until this is so.
    pub async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let waited = async {
            loop {
                changed.borrow_and_update();
                if is(self) {
                    return;
                }
                changed.changed().await.expect("the gateway lives");
            }
        };
        tokio::time::timeout(LONG, waited)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn user(run: &str, text: &str) -> Value {
    json!({ "role": "user", "content": text, "__openclaw": { "idempotencyKey": format!("{run}:user") } })
}

fn assistant(run: &str, stop: &str, text: &str) -> Value {
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "role": "assistant", "content": content, "stopReason": stop, "__openclaw": { "runId": run } })
}

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.world.lock().expect("no panic")
}

/// Begins an agent's work.
fn begin(shared: &Arc<Shared>, run: String, session: String, message: String) {
    {
        let mut world = lock(shared);
        world.started.push(run.clone());
        world.runs.insert(run.clone(), None);
        world.rows.insert(session.clone(), ("running".to_owned(), None));
    }
    shared.changed.send_modify(|count| *count += 1);
    let working = shared.clone();
    let mut tasks = shared.tasks.lock().expect("no panic");
    tasks.spawn(async move { work(&working, &run, &session, &message).await });
}

async fn work(shared: &Shared, run: &str, session: &str, message: &str) {
    let mut said = String::new();
    for act in (shared.agent)(run, message) {
        match act {
            Act::Say(text) => {
                said.push_str(&text);
                let content = json!([{ "type": "text", "text": said }]);
                tell(
                    shared,
                    run,
                    session,
                    "delta",
                    &json!({ "role": "assistant", "content": content }),
                );
            }
            Act::File(name, bytes) => {
                let mut world = lock(shared);
                world.files.push((run.to_owned(), name.to_owned(), bytes));
            }
            Act::Gate => {
                let mut gate = shared.gate.subscribe();
                gate.wait_for(|open| *open).await.expect("the gateway lives");
            }
            Act::Ask(command) => {
                let request = json!({
                    "command": command, "cwd": "/agents/home", "host": "gateway", "allowedDecisions": ["allow-once", "deny"],
                });
                said.push_str(&ask(shared, (run, session), "exec", request).await);
            }
            Act::AskOfPlugin(title) => {
                let request =
                    json!({ "title": title, "description": "by mail", "pluginId": "mail", "severity": "warning" });
                said.push_str(&ask(shared, (run, session), "plugin", request).await);
            }
            Act::Fail(why) => {
                let mut message = assistant(run, "error", "");
                message["errorMessage"] = json!(why);
                return over(
                    shared,
                    run,
                    session,
                    ("failed", message, json!({ "status": "error", "error": why })),
                );
            }
        }
    }
    let reply = json!({ "disposition": "visible", "text": said });
    let end = json!({ "status": "ok", "endedAt": 2, "terminalReply": reply });
    over(shared, run, session, ("done", assistant(run, "stop", &said), end));
}

/// Waits for a person's answer, and says it.
async fn ask(shared: &Shared, (run, session): (&str, &str), kind: &str, mut request: Value) -> String {
    let number = lock(shared).asked.len();
    let id = match kind {
        "plugin" => format!("plugin:ask-{number}"),
        _ => format!("ask-{number}"),
    };
    request["agentId"] = json!("main");
    request["runId"] = json!(run);
    request["sessionKey"] = json!(format!("agent:main:{session}"));
    let approval = json!({
        "approvalKind": kind, "id": id, "request": request, "createdAtMs": 1, "expiresAtMs": 4_102_444_800_000_u64,
    });
    lock(shared).asked.insert(id.clone(), (approval.clone(), None));
    let requested = json!({ "type": "event", "event": format!("{kind}.approval.requested"), "payload": approval });
    let _ = shared.events.send(requested);
    let mut changed = shared.changed.subscribe();
    loop {
        changed.borrow_and_update();
        let answer = lock(shared).asked.get(&id).and_then(|(_, answer)| answer.clone());
        match answer {
            Some(answer) => return format!("told {answer}"),
            None => changed.changed().await.expect("the gateway lives"),
        }
    }
}

/// What waits for an answer.
fn asked(shared: &Shared, kind: &str) -> Value {
    let world = lock(shared);
    let open = world.asked.values().filter(|(_, answer)| answer.is_none());
    let of_kind = open.filter(|(approval, _)| approval["approvalKind"] == kind);
    of_kind.map(|(approval, _)| approval.clone()).collect()
}

/// Somebody answers, through whatever door.
fn resolve(shared: &Shared, kind: &str, id: &str, decision: &str) -> Result<Value, String> {
    let request = {
        let mut world = lock(shared);
        let found = world
            .asked
            .get_mut(id)
            .filter(|(approval, _)| approval["approvalKind"] == kind);
        let (approval, answer) = found.ok_or("APPROVAL_NOT_FOUND")?;
        if answer.is_some() {
            return Err("APPROVAL_ALREADY_RESOLVED".to_owned());
        }
        let allowed = approval["request"]["allowedDecisions"].as_array();
        if allowed.is_some_and(|allowed| !allowed.contains(&json!(decision))) {
            return Err("APPROVAL_ALLOW_ALWAYS_UNAVAILABLE".to_owned());
        }
        *answer = Some(decision.to_owned());
        approval["request"].clone()
    };
    let payload = json!({ "id": id, "decision": decision, "resolvedBy": "somebody", "ts": 2, "request": request });
    let resolved = json!({ "type": "event", "event": format!("{kind}.approval.resolved"), "payload": payload });
    let _ = shared.events.send(resolved);
    shared.changed.send_modify(|count| *count += 1);
    Ok(json!({ "ok": true }))
}

fn tell(shared: &Shared, run: &str, session: &str, state: &str, message: &Value) {
    let session = format!("agent:main:{session}");
    let payload = json!({ "runId": run, "sessionKey": session, "seq": 1, "state": state, "message": message });
    let _ = shared
        .events
        .send(json!({ "type": "event", "event": "chat", "payload": payload }));
}

fn over(shared: &Shared, run: &str, session: &str, (state, message, mut end): (&str, Value, Value)) {
    if matches!(lock(shared).runs.get(run), Some(Some(_))) {
        // It was ended before.
        return;
    }
    let how = match state {
        "done" => "final",
        "killed" => "aborted",
        _ => "error",
    };
    tell(shared, run, session, how, &message);
    let mut world = lock(shared);
    let forgetful = world.forgetful;
    let messages = world.sessions.entry(session.to_owned()).or_default();
    if forgetful {
        messages.push(user(run, "said before"));
    }
    messages.push(message);
    world
        .rows
        .insert(session.to_owned(), (state.to_owned(), Some(run.to_owned())));
    end["runId"] = json!(run);
    world.runs.insert(run.to_owned(), Some(end));
    drop(world);
    shared.changed.send_modify(|count| *count += 1);
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut head = [0; 2048];
    let Ok(read) = stream.peek(&mut head).await else { return };
    let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
    if head.contains("upgrade: websocket") {
        return speak(stream, shared).await;
    }
    if head.contains(" /media/") {
        return give(stream, &shared).await;
    }
    http::serve(stream, &shared.desk).await;
}

/// A file over HTTP.
async fn give(mut stream: TcpStream, shared: &Shared) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let number = path
        .strip_prefix("/media/")
        .and_then(|rest| rest.strip_suffix("?ticket=t"));
    let file = number.and_then(|number| lock(shared).files.get(number.parse::<usize>().ok()?).cloned());
    let Some((_, _, content)) = file.filter(|_| head.contains("Bearer") || head.contains("bearer")) else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Of Tests\r\ncontent-length: 0\r\n\r\n")
            .await;
        return;
    };
    let head = format!(
        "HTTP/1.1 200 Of Tests\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        content.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&content).await;
}

/// One connection over WebSocket.
async fn speak(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let (mut sink, mut stream) = socket.split();
    let (out, mut outgoing) = mpsc::channel::<Value>(1000);
    let mut events = shared.events.subscribe();
    let challenge = json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": "n", "ts": 1 } });
    out.send(challenge).await.expect("room");
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            frame = outgoing.recv() => {
                let Some(frame) = frame else { return };
                if frame.is_null() || sink.send(Message::text(frame.to_string())).await.is_err() {
                    return;
                }
            }
            event = events.recv() => {
                if let Ok(event) = event && sink.send(Message::text(event.to_string())).await.is_err() {
                    return;
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    let (shared, out) = (shared.clone(), out.clone());
                    answering.spawn(async move {
                        let id = frame["id"].clone();
                        let method = frame["method"].as_str().unwrap_or_default();
                        let reply = match answer(&shared, method, &frame["params"]).await {
                            Ok(Value::Null) => Value::Null,
                            Ok(payload) => json!({ "type": "res", "id": id, "ok": true, "payload": payload }),
                            Err(why) => json!({ "type": "res", "id": id, "ok": false, "error": refusal(method, &why) }),
                        };
                        let _ = out.send(reply).await;
                    });
                }
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

/// A gateway says beside its words what kind of refusal it is.
fn refusal(method: &str, why: &str) -> Value {
    let details = match method {
        // Nobody is kept out for anything but the token.
        "connect" => json!({ "code": "AUTH_TOKEN_MISMATCH" }),
        _ => json!({ "reason": why.starts_with("APPROVAL_").then_some(why) }),
    };
    json!({ "code": "INVALID_REQUEST", "message": why, "details": details })
}

/// What a request is answered; null breaks the connection.
async fn answer(shared: &Arc<Shared>, method: &str, params: &Value) -> Result<Value, String> {
    let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
    match method {
        "connect" if params["auth"]["token"] != TOKEN => Err("unauthorized: gateway token mismatch".to_owned()),
        "connect" => Ok(hello(&format!("boot-{}", lock(shared).boot))),
        "sessions.messages.subscribe" => Ok(json!({ "subscribed": true })),
        "chat.send" => sent(shared, params),
        "exec.approval.list" => Ok(asked(shared, "exec")),
        "plugin.approval.list" => Ok(asked(shared, "plugin")),
        "exec.approval.resolve" => resolve(shared, "exec", &text("id"), &text("decision")),
        "plugin.approval.resolve" => resolve(shared, "plugin", &text("id"), &text("decision")),
        "agent.wait" => Ok(waited(shared, &text("runId"), params["timeoutMs"].as_u64().unwrap_or(0)).await),
        "chat.abort" => Ok(abort(shared, &text("sessionKey"), &text("runId"))),
        "sessions.describe" => {
            let world = lock(shared);
            let row = world.rows.get(&text("key"));
            Ok(json!({ "session": row.map(|(status, last)| {
                json!({ "key": text("key"), "status": status, "lastRunId": last })
            }) }))
        }
        "sessions.get" => {
            Ok(json!({ "messages": lock(shared).sessions.get(&text("key")).cloned().unwrap_or_default() }))
        }
        "artifacts.list" => {
            let world = lock(shared);
            let mine = world
                .files
                .iter()
                .enumerate()
                .filter(|(_, (run, _, _))| *run == text("runId"));
            let rows: Vec<_> = mine
                .map(|(number, (_, name, bytes))| {
                    json!({ "id": number.to_string(), "title": name, "sizeBytes": bytes.len() })
                })
                .collect();
            Ok(json!({ "artifacts": rows }))
        }
        "artifacts.download" => {
            let number: usize = text("artifactId").parse().map_err(|_| "no such file")?;
            let world = lock(shared);
            let (_, _, bytes) = world.files.get(number).ok_or("no such file")?;
            // Small ones are given at once, as the gateway may.
            Ok(match bytes.len() < 16 {
                true => {
                    json!({ "encoding": "base64", "data": base64::engine::general_purpose::STANDARD.encode(bytes) })
                }
                false => json!({ "url": format!("/media/{number}?ticket=t") }),
            })
        }
        other => Err(format!("there is no {other} here")),
    }
}

fn sent(shared: &Arc<Shared>, params: &Value) -> Result<Value, String> {
    let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
    let (run, session, message) = (text("idempotencyKey"), text("sessionKey"), text("message"));
    if message.contains("refuse me") {
        return Err("the agent is not to be spoken to".to_owned());
    }
    let (is_known, cut) = {
        let mut world = lock(shared);
        world.told.push(Told {
            run: run.clone(),
            session: session.clone(),
            message: message.clone(),
            params: params.clone(),
        });
        let is_known = world.runs.contains_key(&run);
        if !is_known && !world.forgetful {
            world
                .sessions
                .entry(session.clone())
                .or_default()
                .push(user(&run, &message));
        }
        (is_known, std::mem::take(&mut world.cut))
    };
    if !is_known {
        begin(shared, run.clone(), session, message);
    }
    match cut {
        true => Ok(Value::Null),
        false => Ok(json!({ "runId": run, "status": "started" })),
    }
}

async fn waited(shared: &Shared, run: &str, timeout_ms: u64) -> Value {
    let mut changed = shared.changed.subscribe();
    let ended = async {
        loop {
            changed.borrow_and_update();
            if let Some(Some(end)) = lock(shared).runs.get(run) {
                return end.clone();
            }
            changed.changed().await.expect("the gateway lives");
        }
    };
    let limit = Duration::from_millis(timeout_ms);
    let waited = tokio::time::timeout(limit, ended).await;
    waited.unwrap_or_else(|_| json!({ "runId": run, "status": "timeout" }))
}

fn abort(shared: &Shared, session: &str, run: &str) -> Value {
    let runs = matches!(lock(shared).runs.get(run), Some(None));
    if runs {
        lock(shared).aborted.insert(run.to_owned());
        let mut message = assistant(run, "stop", "what was said so far");
        message["__openclaw"]["idempotencyKey"] = json!(format!("{run}:assistant"));
        let end = json!({ "status": "error", "error": "aborted", "stopReason": "rpc", "endedAt": 2 });
        over(shared, run, session, ("killed", message, end));
    }
    json!({ "ok": true, "aborted": runs, "runIds": if runs { vec![run] } else { vec![] } })
}
