//! A gateway of the tests' own: it listens on one port and does what a test's script says, byte for byte, so that it can
//! also be slow, break off and lie.

pub mod agents;
pub mod board;
pub mod http;
pub mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clawhand::domain::target::SecretRef;
use clawhand::gateway::socket::Surroundings;
use clawhand::gateway::{Address, Credential, Gateway, Gateways, Instance, Name, ReadSecret, Secret};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use http::Desk;

/// No test waits longer for what must happen.
pub const LONG: Duration = Duration::from_secs(60);
/// What the gateway takes.
pub const TOKEN: &str = "scripted-gateway-token-1";

/// The running gateway. It is gone when it is dropped.
pub struct Scripted {
    pub address: SocketAddr,
    /// What came over HTTP, and what is to be answered.
    pub desk: Arc<Desk>,
    tasks: JoinSet<()>,
}

impl Scripted {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// At the place of one that is gone.
    pub async fn at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).await.expect("binds"), None)
    }

    /// Behind TLS.
    pub async fn secured(tls: TlsAcceptor) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("binds"), Some(tls))
    }

    fn on(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().expect("an address");
        let desk = Arc::new(Desk::default());
        let shared = desk.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (desk, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &desk).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &desk).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, desk, tasks }
    }

    /// Every connection breaks, and nobody listens any more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    pub fn instance(&self, name: &str) -> Instance {
        instance(name, &format!("http://{}", self.address))
    }

    /// A client of it.
    pub fn client(&self) -> Gateway {
        client(self.instance("lab"))
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, desk: &Desk) {
    http::serve(stream, desk).await;
}

/// An instance at `url` that is let in.
pub fn instance(name: &str, url: &str) -> Instance {
    crate::executors::http::crypto();
    let name = Name::parse(name).expect("a name");
    let mut instance = Instance::new(name, Address::parse(url).expect("an address"));
    instance.credential = Some(Credential::Token(Secret::At(SecretRef::Env("TOKEN".into()))));
    instance
}

/// A client of one instance.
pub fn client(instance: Instance) -> Gateway {
    client_in(instance, &surroundings())
}

/// A client of one instance in these surroundings.
pub fn client_in(instance: Instance, surroundings: &Surroundings) -> Gateway {
    let gateways = Gateways::new(vec![instance], &secrets(), surroundings);
    gateways.get(None).expect("there is one").clone()
}

/// The usual ones, of a test alone.
pub fn surroundings() -> Surroundings {
    Surroundings::new(TaskTracker::new(), CancellationToken::new())
}

/// Knows `TOKEN`, and what was given.
pub fn secrets() -> ReadSecret {
    Arc::new(|secret| match secret {
        Secret::At(SecretRef::Env(name)) if name == "TOKEN" => Ok(TOKEN.to_owned()),
        Secret::At(reference) => Err(format!("{reference:?} is not there")),
        Secret::Given(value) => Ok(value.clone()),
    })
}
