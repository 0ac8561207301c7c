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
                let end = start + length(head)?;
                while self.buffer.len() < end {
                    self.read().await?;
                }
                return Ok(&self.buffer[start..end]);
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

    /// Whether an answer, or the end, has come already.
    pub fn has_news(&self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn body_start(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn length(head: &str) -> anyhow::Result<usize> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("the answer has no content-length")?;
    Ok(length.trim().parse()?)
}

/// The bytes of a call of a tool, as a client of `revision` sends them.
pub fn request(revision: &str, key: Option<&str>, tool: &str, arguments: &Value) -> Vec<u8> {
    let mut params = json!({ "name": tool, "arguments": arguments });
    let mut headers = format!("mcp-protocol-version: {revision}\r\n");
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
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Asks the same again and again, `clients` at once, for `span`. Runs on a thread and a runtime of its own, as another
/// program would.
pub async fn load(address: SocketAddr, request: Arc<[u8]>, clients: usize, span: Duration) -> anyhow::Result<Slice> {
    let apart = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load_here(address, request, clients, span))
    });
    apart.await?
}

async fn load_here(address: SocketAddr, request: Arc<[u8]>, clients: usize, span: Duration) -> anyhow::Result<Slice> {
    let mut wires = Vec::new();
    for _ in 0..clients {
        let mut wire = Wire::open(address).await?;
        let size = wire.ask(&request).await?.len();
        wires.push((wire, size));
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for (mut wire, size) in wires {
        let request = request.clone();
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
