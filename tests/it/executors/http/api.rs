//! An API of the tests' own: it counts what it is asked and answers what a test says, over TLS or without, byte for
//! byte, so that it can also be slow, break off and lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub target: String,
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
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

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status and a document.
    Json(u16, Value),
    /// A status, headers and a body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, whatever they are, and then the connection ends.
    Bytes(Vec<u8>),
    /// So many bytes of content, each with the value of its place modulo 251.
    Large(usize),
    /// Waits until the gate is opened.
    After(Gate, Box<Reply>),
}

/// What a test opens.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

type Answering = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// The running API.
pub struct Api {
    pub address: SocketAddr,
    seen: watch::Sender<Vec<Seen>>,
    _tasks: JoinSet<()>,
}

impl Api {
    /// `answer` gets each request, and how many came before it.
    pub async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        Self::on(listener, tls, answer)
    }

    pub fn on(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let seen = watch::Sender::new(Vec::new());
        let (answer, heard): (Arc<Answering>, _) = (Arc::new(answer), seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, heard) = (tls.clone(), answer.clone(), heard.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &*answer, &heard).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*answer, &heard).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until so many requests came.
    pub async fn until(&self, count: usize) {
        let mut seen = self.seen.subscribe();
        let waited = seen.wait_for(|seen| seen.len() >= count);
        tokio::time::timeout(super::LONG, waited)
            .await
            .expect("requests within a long time")
            .expect("the API lives");
    }

    /// The method and target of each request so far.
    pub fn asked(&self) -> Vec<String> {
        self.seen()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Answering, heard: &watch::Sender<Vec<Seen>>) {
    let Some(seen) = read(&mut stream).await else {
        return;
    };
    let mut before = 0;
    heard.send_modify(|all| {
        before = all.len();
        all.push(seen.clone());
    });
    let mut reply = answer(&seen, before);
    while let Reply::After(gate, then) = reply {
        gate.wait().await;
        reply = *then;
    }
    let _ = write(&mut stream, reply).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut first = head.lines().next()?.split(' ');
    let mut seen = Seen {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        body: bytes[end + 4..].to_vec(),
        head: head.clone(),
    };
    let length: usize = seen
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    while seen.body.len() < length {
        if stream.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Json(status, document) => {
            let headers = vec![("content-type", "application/json".to_owned())];
            Box::pin(write(
                stream,
                Reply::Full(status, headers, document.to_string().into_bytes()),
            ))
            .await
        }
        Reply::Full(status, headers, body) => {
            let mut head = format!(
                "HTTP/1.1 {status} Of Tests\r\nconnection: close\r\ncontent-length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.flush().await
        }
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await
        }
        Reply::Large(size) => {
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let block: Vec<u8> = (0..=250).cycle().take(251 * 1024).collect();
            let mut left = size;
            while left > 0 {
                let part = left.min(block.len());
                stream.write_all(&block[..part]).await?;
                left -= part;
            }
            stream.flush().await
        }
        Reply::After(..) => Ok(()),
    }
}

/// Addresses of names, which a test may change.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<String, Vec<std::net::IpAddr>>>>);

impl Book {
    /// From now on the name leads there.
    pub fn put(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let mut book = self.0.lock().expect("no panic");
        book.insert(name.to_owned(), addresses);
    }

    pub fn names(&self) -> clawhand::executors::http::Names {
        let book = self.clone();
        Arc::new(move |name| {
            let found = book.0.lock().expect("no panic").get(&name).cloned();
            Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name in the book")) })
        })
    }
}

/// `{"ok": true}`.
pub fn fine() -> Reply {
    Reply::Json(200, json!({"ok": true}))
}
