//! The WebSocket of a scripted gateway: a test takes each connection itself and plays the gateway's part line by line.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clawhand::gateway::Instance;
use clawhand::gateway::socket::{Pace, Room, Socket, Surroundings};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{LONG, client_in, instance};

/// Where the scripted gateway listens.
pub struct Place {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// A connection, seen from the gateway.
pub struct Peer {
    socket: WebSocketStream<Box<dyn Io>>,
    /// Requests that came while the test waited for another one.
    earlier: VecDeque<Asked>,
    seq: u64,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: String,
    pub method: String,
    pub params: Value,
}

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Place {
    pub async fn new() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("binds");
        Self { listener, tls: None }
    }

    pub async fn secured(tls: TlsAcceptor) -> Self {
        let mut place = Self::new().await;
        place.tls = Some(tls);
        place
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// An instance that leads here.
    pub fn instance(&self) -> Instance {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        instance("lab", &format!("{scheme}://localhost:{}", self.address().port()))
    }

    /// A connection to here that is in no hurry and whose pauses are short.
    pub fn socket(&self) -> Line {
        Line::to(self.instance(), |_| {})
    }

    /// The next connection, upgraded.
    pub async fn accept(&self) -> Peer {
        let stream = self.accept_raw().await;
        let socket = tokio_tungstenite::accept_async(stream).await.expect("upgrades");
        Peer {
            socket,
            earlier: VecDeque::new(),
            seq: 0,
        }
    }

    /// The next connection that gets through TLS, on which nothing was said.
    pub async fn accept_raw(&self) -> Box<dyn Io> {
        loop {
            let (stream, _) = soon(self.listener.accept()).await.expect("accepts");
            match &self.tls {
                None => return Box::new(stream),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        return Box::new(stream);
                    }
                }
            }
        }
    }

    /// The next connection, after the whole greeting.
    pub async fn greet(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.challenge().await;
        let connect = peer.asked("connect").await;
        peer.reply(&connect, hello("boot-1")).await;
        peer
    }
}

impl Peer {
    pub async fn challenge(&mut self) {
        let payload = json!({ "nonce": "nonce-1", "ts": 1_795_231_195_843_u64, "capabilities": ["x"] });
        self.text(json!({ "type": "event", "event": "connect.challenge", "payload": payload }))
            .await;
    }

    /// The next request for this method; others are kept for later.
    pub async fn asked(&mut self, method: &str) -> Asked {
        if let Some(at) = self.earlier.iter().position(|asked| asked.method == method) {
            return self.earlier.remove(at).expect("is there");
        }
        loop {
            let asked = self
                .next()
                .await
                .unwrap_or_else(|| panic!("{method} was never asked for"));
            if asked.method == method {
                return asked;
            }
            self.earlier.push_back(asked);
        }
    }

    /// The next request, which must come soon; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Asked> {
        soon(self.idle()).await
    }

    /// The next request, whenever it comes.
    pub async fn idle(&mut self) -> Option<Asked> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    assert_eq!(frame["type"], "req", "{frame}");
                    let fields: Vec<_> = frame.as_object().expect("an object").keys().collect();
                    assert_eq!(fields, ["id", "method", "params", "type"]);
                    return Some(Asked {
                        id: frame["id"].as_str().expect("an id").to_owned(),
                        method: frame["method"].as_str().expect("a method").to_owned(),
                        params: frame["params"].clone(),
                    });
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn reply(&mut self, asked: &Asked, payload: Value) {
        self.text(json!({ "type": "res", "id": asked.id, "ok": true, "payload": payload }))
            .await;
    }

    /// Whether the client was still there to be told.
    pub async fn try_reply(&mut self, asked: &Asked, payload: Value) -> bool {
        let frame = json!({ "type": "res", "id": asked.id, "ok": true, "payload": payload });
        soon(self.socket.send(Message::text(frame.to_string()))).await.is_ok()
    }

    pub async fn refuse(&mut self, asked: &Asked, error: Value) {
        self.text(json!({ "type": "res", "id": asked.id, "ok": false, "error": error }))
            .await;
    }

    /// An event with the next number.
    pub async fn event(&mut self, name: &str, payload: Value) {
        self.seq += 1;
        self.text(json!({ "type": "event", "event": name, "payload": payload, "seq": self.seq }))
            .await;
    }

    /// Leaves out as many numbers.
    pub fn skip(&mut self, events: u64) {
        self.seq += events;
    }

    pub async fn text(&mut self, frame: Value) {
        self.say(Message::text(frame.to_string())).await;
    }

    pub async fn say(&mut self, message: Message) {
        soon(self.socket.send(message)).await.expect("says");
    }

    /// Until the client calls whether anybody is there. It is answered.
    pub async fn pinged(&mut self) {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Ping(_))) => return soon(self.socket.flush()).await.expect("answers"),
                Some(Ok(_)) => {}
                other => panic!("not a ping: {other:?}"),
            }
        }
    }

    pub async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        let _ = self.socket.close(Some(frame)).await;
        // Until the other side has closed, too.
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// What a gateway says when it lets somebody in.
pub fn hello(boot: &str) -> Value {
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": { "version": "2026.9.6", "bootId": boot, "connId": "conn-1" },
        "features": { "methods": ["health"], "events": ["tick"] },
        "snapshot": { "anything": [1, 2, 3] },
        "auth": {
            "method": "token",
            "role": "operator",
            "scopes": ["operator.read", "operator.write", "operator.approvals"],
        },
        "policy": { "maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000 },
    })
}

/// What a gateway behind TLS needs, and the fingerprint of its certificate, which is somebody else's.
pub fn certificate() -> (TlsAcceptor, String) {
    crate::executors::http::crypto();
    let made = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let digest = sha2::Sha256::digest(&certificate);
    let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a server");
    (TlsAcceptor::from(Arc::new(config)), fingerprint)
}

/// The client's end, with the task that it needs; the task ends with it.
pub struct Line {
    pub socket: Socket,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Line {
    pub fn to(instance: Instance, change: impl FnOnce(&mut Surroundings)) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut surroundings = Surroundings {
            pace: pace(),
            ..Surroundings::new(tracker.clone(), stop.clone())
        };
        change(&mut surroundings);
        Self {
            socket: client_in(instance, &surroundings).socket().clone(),
            tracker,
            stop,
        }
    }

    /// Stops the task, as the program does when it ends.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        soon(self.tracker.wait()).await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Short pauses, long patience.
pub fn pace() -> Pace {
    Pace {
        connect: LONG,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
        floor: Duration::from_millis(20),
        shortest_tick: Duration::from_millis(50),
        room: Room {
            events: 100,
            bytes: 1 << 20,
        },
        ..Pace::default()
    }
}

/// What must happen happens soon.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LONG, future).await.expect("it never happened")
}
