//! A client that costs next to nothing: HTTP/1.1 over one kept connection, requests prepared in advance.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::rounds::Slice;

/// A revision of MCP without a handshake.
pub const MODERN: &str = "2026-07-28";
/// The one before it.
pub const LEGACY: &str = "2025-11-25";

/// How a server names a session.
const SESSION: &str = "mcp-session-id";
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// What a client has to do before it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// To begin a session.
    Session,
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends without waiting for the answer.
    pub async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Sends, and returns the body of the answer, which must be 200.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.send(request).await?;
        self.buffer.clear();
        loop {
            if let Some(start) = body_start(&self.buffer) {
                let head = std::str::from_utf8(&self.buffer[..start])?;
                ensure!(head.starts_with("HTTP/1.1 200"), "answered {head}");
                if header(head, "transfer-encoding") == Some("chunked") {
                    while !self.buffer.ends_with(LAST_CHUNK) {
                        self.read().await?;
                    }
                    return Ok(&self.buffer[start..]);
                }
                let length: usize = header(head, "content-length")
                    .context("an answer of no length")?
                    .parse()?;
                while self.buffer.len() < start + length {
                    self.read().await?;
                }
                return Ok(&self.buffer[start..start + length]);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }

    /// Calls a tool and returns its structured answer.
    pub async fn call(&mut self, key: Option<&str>, tool: &str, arguments: &Value) -> anyhow::Result<Value> {
        let body = self.ask(&request(MODERN, key, tool, arguments)).await?;
        let mut answer: Value = serde_json::from_slice(body)?;
        let result = &mut answer["result"];
        ensure!(result["isError"] == false, "{tool} answered {result}");
        Ok(result["structuredContent"].take())
    }

    /// Begins a session with a server that wants one; `request` as it is made in it.
    pub async fn in_session(&mut self, request: &[u8]) -> anyhow::Result<Arc<[u8]>> {
        let hello =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "limits", "version": "1"}});
        self.ask(&post(LEGACY, "", "initialize", &hello)).await?;
        let start = body_start(&self.buffer).context("an answer")?;
        let session = header(std::str::from_utf8(&self.buffer[..start])?, SESSION).context("a session")?;
        let named = format!("\r\n{SESSION}: {session}").into_bytes();
        let at = body_start(request).context("a request")? - 4;
        Ok([&request[..at], &named, &request[at..]].concat().into())
    }

    /// Whether an answer, or the end, has come already.
    pub fn has_news(&self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn body_start(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// The bytes of a call of a tool, as a client of `revision` sends them.
pub fn request(revision: &str, key: Option<&str>, tool: &str, arguments: &Value) -> Vec<u8> {
    let mut params = json!({ "name": tool, "arguments": arguments });
    let mut headers = String::new();
    if revision == MODERN {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": revision,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "limits", "version": "1"},
        });
        headers += &format!("mcp-method: tools/call\r\nmcp-name: {tool}\r\n");
    }
    if let Some(key) = key {
        headers += &format!("authorization: Bearer {key}\r\n");
    }
    post(revision, &headers, "tools/call", &params)
}

fn post(revision: &str, headers: &str, method: &str, params: &Value) -> Vec<u8> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: {revision}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Asks the same again and again, `clients` at once, for `span`. Runs on a thread and a runtime of its own, as another
/// program would.
pub async fn load(address: SocketAddr, request: Arc<[u8]>, clients: usize, span: Duration) -> anyhow::Result<Slice> {
    load_after(Before::Nothing, address, request, clients, span).await
}

/// The same with something to do before the first call of each client, which isn't measured.
pub async fn load_after(
    before: Before,
    address: SocketAddr,
    request: Arc<[u8]>,
    clients: usize,
    span: Duration,
) -> anyhow::Result<Slice> {
    let apart = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load_here(before, address, request, clients, span))
    });
    apart.await?
}

async fn load_here(
    before: Before,
    address: SocketAddr,
    request: Arc<[u8]>,
    clients: usize,
    span: Duration,
) -> anyhow::Result<Slice> {
    let mut wires = Vec::new();
    for _ in 0..clients {
        let mut wire = Wire::open(address).await?;
        let request = match before {
            Before::Nothing => request.clone(),
            Before::Session => wire.in_session(&request).await?,
        };
        let size = wire.ask(&request).await?.len();
        wires.push((wire, request, size));
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for (mut wire, request, size) in wires {
        running.spawn(async move {
            let mut latencies = Vec::new();
            while began.elapsed() < span {
                let asked = Instant::now();
                let now = wire.ask(&request).await?.len();
                latencies.push(asked.elapsed().as_secs_f64());
                ensure!(now == size, "an answer of {now} bytes after one of {size}");
            }
            Ok(latencies)
        });
    }
    let mut all = Slice::default();
    while let Some(ended) = running.join_next().await {
        all.latencies.extend(ended??);
    }
    all.took = began.elapsed();
    Ok(all)
}
