//! Making a connection to a daemon: by its socket, by TCP with both sides' certificates, or by a socket behind SSH.
//!
//! The client's own ways are not used for the last two: its TLS trusts every authority of the system beside the one that
//! the target names, and its SSH reads the files of whoever runs clawhand.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::fault::{Fault, Kind};
use crate::domain::target::{DockerBlock, DockerSsh, DockerTls};
use crate::executors::ssh::{ConnectError, Forward};

/// How long a daemon may take for what it does at once.
const QUICK: Duration = Duration::from_secs(20);
/// How long it may take to unpack an archive or to make a container.
const SLOW: Duration = Duration::from_secs(10 * 60);
/// How long a machine may take to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection to a daemon, at two degrees of patience.
#[derive(Clone)]
pub(super) struct Client {
    pub quick: Docker,
    pub slow: Docker,
    /// What both go through, if the daemon is behind SSH.
    forward: Option<Arc<Forward>>,
}

impl Client {
    /// Whether what is on the way to the daemon is still there; the daemon itself isn't asked.
    pub(super) async fn is_up(&self) -> bool {
        match &self.forward {
            Some(forward) => forward.is_up().await,
            None => true,
        }
    }
}

/// The connection that a block describes; the daemon has answered on it.
pub(super) async fn connect(block: &DockerBlock) -> Result<Client, Fault> {
    let forward = match &block.ssh {
        Some(ssh) => Some(Arc::new(forward(ssh).await?)),
        None => None,
    };
    let (block, through, endpoint) = (block.clone(), forward.clone(), block.endpoint.clone());
    // Reads certificates, and looks for the socket.
    let opened = tokio::task::spawn_blocking(move || open(&block, through.as_deref())).await;
    let opened =
        opened.map_err(|error| Fault::new(Kind::Unreachable, format!("failed to connect to the daemon: {error}")))?;
    let quick = match opened?.negotiate_version().await {
        Ok(quick) => quick,
        Err(error) => return Err(unanswered(&error, &endpoint, forward.as_deref()).await),
    };
    let slow = quick.clone().with_timeout(SLOW);
    Ok(Client { quick, slow, forward })
}

fn open(block: &DockerBlock, forward: Option<&Forward>) -> Result<Docker, Fault> {
    let (endpoint, seconds) = (block.endpoint.as_str(), QUICK.as_secs());
    let opened = match (endpoint.split_once("://"), &block.tls, forward) {
        (_, _, Some(forward)) => {
            Docker::connect_with_unix(&forward.socket().to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        (Some(("unix", path)), _, _) => Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION),
        (Some(("tcp", place)), Some(tls), _) => return with_tls(place, tls),
        (Some(("tcp", _)), None, _) => Docker::connect_with_http(endpoint, seconds, API_DEFAULT_VERSION),
        _ => return Err(Fault::refused(format!("nothing says how to get to {endpoint}"))),
    };
    opened.map_err(|error| Fault::of("connect to the daemon", &error))
}

fn with_tls(place: &str, tls: &DockerTls) -> Result<Docker, Fault> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust(tls)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    // As for sockets, a connection is made for each request: most of them are taken over or closed by what is asked.
    let client = HttpClient::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        Box::pin(async move { answer.await.map_err(Error::from) })
    };
    let address = format!("https://{place}");
    let opened = Docker::connect_with_custom_transport(transport, Some(address), QUICK.as_secs(), API_DEFAULT_VERSION);
    opened.map_err(|error| Fault::of("connect to the daemon", &error))
}

/// Trusts the target's authority and no other, and shows the target's certificate.
fn trust(tls: &DockerTls) -> Result<ClientConfig, Fault> {
    let unread =
        |path: &str, why: &dyn std::fmt::Display| Fault::new(Kind::Tls, format!("{path} can't be used: {why}"));
    let certificates = |path: &str| {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(found) if found.is_empty() => Err(unread(path, &"there is no certificate in it")),
            read => read.map_err(|error| unread(path, &error)),
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots.add(certificate).map_err(|error| unread(&tls.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unread(&tls.key, &error))?;
    let shown = certificates(&tls.cert)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(shown, key))
        .map_err(|error| unread(&tls.cert, &error))
}

async fn forward(ssh: &DockerSsh) -> Result<Forward, Fault> {
    let opened = Forward::open(&ssh.host, &ssh.socket).await;
    opened.map_err(|ConnectError { cause, what }| Fault::new(Kind::Ssh(cause), what))
}

/// Why nothing was answered. A host that has let clawhand in can only hang up where its socket is out of reach.
async fn unanswered(error: &Error, endpoint: &str, forward: Option<&Forward>) -> Fault {
    let fault = Fault::of("connect to the daemon", error);
    let hangs_up = forward.is_some() && fault.kind == Kind::Unreachable && !matches!(error, Error::RequestTimeoutError);
    match forward {
        Some(forward) if hangs_up && forward.is_up().await => {
            let text = format!(
                "the host hangs up on whoever wants to get to {endpoint} ({})",
                fault.text
            );
            Fault::new(Kind::NoWay, text)
        }
        _ => fault,
    }
}
