//! A client over standard input and output, as a program that starts the server is one.

use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split,
};

use super::*;

const REVISION: &str = "2025-11-25";

/// One that has introduced itself.
pub struct Piped {
    write: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
}

impl Piped {
    /// The client of `actor`.
    pub async fn to(control: &Control, actor: Actor) -> Self {
        let (ours, theirs) = duplex(1 << 16);
        let handler = Handler::new(control.clone(), Caller::Fixed(actor));
        TaskTracker::new().spawn(async move {
            let running = rmcp::service::serve_server(handler, theirs).await.expect("a handshake");
            running.waiting().await.expect("an end");
        });
        let (read, write) = split(ours);
        let mut client = Self {
            write,
            lines: BufReader::new(read).lines(),
        };
        let hello = json!({
            "protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "door test", "version": "1"},
        });
        client
            .send(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}))
            .await;
        client
            .send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        let answer = client.next().await;
        assert_eq!(answer["result"]["protocolVersion"], REVISION, "{answer}");
        client
    }

    pub async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.write.write_all(line.as_bytes()).await.expect("written");
    }

    pub async fn cancel(&mut self, request: u64) {
        let params = json!({"requestId": request});
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
            .await;
    }

    /// What the server says next.
    pub async fn next(&mut self) -> Value {
        let line = self.lines.next_line().await.expect("a line").expect("it still speaks");
        serde_json::from_str(&line).expect("JSON")
    }
}
