//! What the scripted gateway does over HTTP.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::{LONG, TOKEN};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

/// One thing that the gateway does in answer to a chat.
#[derive(Debug, Clone)]
pub enum Play {
    /// A whole answer: status, type, body.
    Answer(u16, &'static str, Vec<u8>),
    /// The same with a header of its own.
    With(u16, &'static str, &'static str, Vec<u8>),
    /// The beginning of a stream.
    Begin,
    /// A piece of text.
    Text(String),
    /// The data of any event.
    Data(String),
    /// These bytes of a stream.
    Bytes(Vec<u8>),
    /// The reason, `[DONE]` and the end of the stream.
    Done,
    /// The orderly end of the stream.
    End,
    /// Waits until the test opens the gate, or the client leaves.
    Gate,
    /// Says nothing more, until the client leaves.
    Hang,
    /// Closes the connection, whatever was promised.
    Close,
}

/// How the gateway is.
#[derive(Debug, Clone)]
pub struct Manner {
    /// What `/readyz` answers.
    pub ready: (u16, &'static str, String),
    /// Whether chat completions are enabled.
    pub chat: bool,
    /// What it takes.
    pub token: String,
    /// What a chat without a script is answered, from what was said.
    pub replies: fn(&str) -> Vec<Play>,
    /// What anything answers, in place of everything.
    pub instead: Option<Play>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            ready: (
                200,
                "application/json",
                json!({"ready": true, "failing": [], "uptimeMs": 1234}).to_string(),
            ),
            chat: true,
            token: TOKEN.to_owned(),
            replies: |said| vec![Play::Begin, Play::Text(said.to_owned()), Play::Done],
            instead: None,
        }
    }
}

/// What came, and what is to be answered.
pub struct Desk {
    asked: watch::Sender<Vec<Asked>>,
    scripts: Mutex<VecDeque<Vec<Play>>>,
    manner: Mutex<Manner>,
    gate: watch::Sender<u32>,
    /// How many clients left while they were being answered.
    left: watch::Sender<u32>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            asked: watch::Sender::new(Vec::new()),
            scripts: Mutex::default(),
            manner: Mutex::default(),
            gate: watch::Sender::new(0),
            left: watch::Sender::new(0),
        }
    }
}

impl Desk {
    /// What the next chat is answered. Without any it is answered with what was said.
    pub fn play(&self, script: impl IntoIterator<Item = Play>) {
        lock(&self.scripts).push_back(script.into_iter().collect());
    }

    /// Changes how the gateway is.
    pub fn be(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut lock(&self.manner));
    }

    /// Lets one script go on that waits, or will.
    pub fn open(&self) {
        self.gate.send_modify(|opened| *opened += 1);
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// The chats of it.
    pub fn chats(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.method == "POST");
        asked
    }

    /// Waits until so many chats came.
    pub async fn until_chats(&self, count: usize) {
        let is_chat = |asked: &&Asked| asked.method == "POST";
        wait(&self.asked, |asked| asked.iter().filter(is_chat).count() >= count).await;
    }

    /// Waits until so many clients left before the end.
    pub async fn until_left(&self, count: u32) {
        wait(&self.left, |left| *left >= count).await;
    }
}

async fn wait<T>(value: &watch::Sender<T>, is: impl FnMut(&T) -> bool) {
    let mut value = value.subscribe();
    let waited = value.wait_for(is);
    let waited = tokio::time::timeout(LONG, waited).await;
    assert!(waited.expect("within a long time").is_ok(), "the gateway lives");
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().expect("no panic")
}

/// Answers requests on one connection, one after the other.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, desk: &Desk) {
    let mut kept = Vec::new();
    while let Some(asked) = read(&mut stream, &mut kept).await {
        let script = script_for(desk, &asked);
        desk.asked.send_modify(|all| all.push(asked));
        for play in script {
            match perform(&mut stream, desk, play).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    desk.left.send_modify(|left| *left += 1);
                    return;
                }
            }
        }
    }
}

fn script_for(desk: &Desk, asked: &Asked) -> Vec<Play> {
    let manner = lock(&desk.manner).clone();
    if let Some(play) = manner.instead {
        return vec![play];
    }
    let json = |status, body: Value| {
        vec![Play::Answer(
            status,
            "application/json; charset=utf-8",
            body.to_string().into(),
        )]
    };
    let plain = |status, text: &str| vec![Play::Answer(status, "text/plain; charset=utf-8", text.into())];
    let bearer = format!("Bearer {}", manner.token);
    if asked.path == "/readyz" {
        let (status, kind, body) = manner.ready;
        return vec![Play::Answer(status, kind, body.into())];
    }
    if !manner.chat {
        return plain(404, "Not Found");
    }
    match (asked.method.as_str(), asked.path.as_str()) {
        // As the real one: the method is looked at before the token.
        ("GET", "/v1/chat/completions") => plain(405, "Method Not Allowed"),
        _ if asked.header("authorization") != Some(&bearer) => json(
            401,
            json!({"error": {"message": "Unauthorized", "type": "unauthorized"}}),
        ),
        ("GET", "/v1/models") => json(
            200,
            json!({"object": "list", "data": [{"id": "openclaw"}, {"id": "openclaw/main"}]}),
        ),
        ("POST", "/v1/chat/completions") => {
            let script = lock(&desk.scripts).pop_front();
            script.unwrap_or_else(|| {
                let body = asked.json();
                (manner.replies)(body["messages"][0]["content"].as_str().unwrap_or_default())
            })
        }
        _ => plain(404, "Not Found"),
    }
}

/// Does one thing. False ends the connection; an error is that the client left.
async fn perform(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), desk: &Desk, play: Play) -> std::io::Result<bool> {
    match play {
        Play::Answer(status, kind, body) => answer(stream, status, &format!("content-type: {kind}\r\n"), &body).await?,
        Play::With(status, kind, header, body) => {
            answer(stream, status, &format!("content-type: {kind}\r\n{header}\r\n"), &body).await?;
        }
        Play::Begin => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            event(stream, &chunk(&json!({"role": "assistant"}), &Value::Null)).await?;
        }
        Play::Text(text) => event(stream, &chunk(&json!({"content": text}), &Value::Null)).await?,
        Play::Data(data) => event(stream, &data).await?,
        Play::Bytes(bytes) => part(stream, &bytes).await?,
        Play::Done => {
            event(stream, &chunk(&json!({}), &json!("stop"))).await?;
            let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
            event(
                stream,
                &json!({"model": "openclaw", "choices": [], "usage": usage}).to_string(),
            )
            .await?;
            event(stream, "[DONE]").await?;
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Play::End => stream.write_all(b"0\r\n\r\n").await?,
        Play::Gate => {
            stream.flush().await?;
            let mut gate = desk.gate.subscribe();
            tokio::select! {
                opened = gate.wait_for(|opened| *opened > 0) => drop(opened),
                () = gone(stream) => return Err(std::io::ErrorKind::BrokenPipe.into()),
            }
            desk.gate.send_modify(|opened| *opened -= 1);
        }
        Play::Hang => {
            stream.flush().await?;
            gone(stream).await;
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Play::Close => {
            stream.flush().await?;
            let _ = stream.shutdown().await;
            return Ok(false);
        }
    }
    stream.flush().await?;
    Ok(true)
}

/// Returns when the client has closed the connection.
async fn gone(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

fn chunk(delta: &Value, reason: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
    json!({"id": "chatcmpl_1", "object": "chat.completion.chunk", "model": "openclaw", "choices": [choice]}).to_string()
}

async fn event(stream: &mut (impl AsyncWrite + Unpin), data: &str) -> std::io::Result<()> {
    part(stream, format!("data: {data}\n\n").as_bytes()).await
}

async fn part(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    status: u16,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Of Tests\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Asked> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut first = head.lines().next()?.split(' ');
    let mut asked = Asked {
        method: first.next()?.to_owned(),
        path: first.next()?.to_owned(),
        head: head.clone(),
        body: Vec::new(),
    };
    bytes.drain(..end + 4);
    let length = asked
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    while bytes.len() < length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    asked.body = bytes.drain(..length).collect();
    Some(asked)
}
