//! Making a connection: TCP, TLS, the upgrade, the gateway's challenge, `connect`, `hello-ok`.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::{Pace, ShowDevice, refusal};
use crate::gateway::device::Device;
use crate::gateway::wire::{Auth, Challenge, Client, Connect, Frame, Hello, PROTOCOL, Request, Scope};
use crate::gateway::{Access, Credential, Fault, GatewayError, Secret, tls};

/// A gateway's end of a connection.
pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection on which the gateway said hello.
pub(super) struct Connection {
    pub stream: Stream,
    pub hello: Arc<Hello>,
}

/// Who calls a gateway, and how.
pub(super) struct Dialer {
    pub access: Arc<Access>,
    pub identity: Option<PathBuf>,
    pub show_device: ShowDevice,
    pub pace: Pace,
}

/// What is shown of oneself.
#[derive(Clone, Copy)]
struct Papers {
    /// The device.
    device: bool,
    /// The device's token although there is a credential, which the gateway didn't take.
    own_token: bool,
}

impl Dialer {
    /// Makes a connection. What a gateway refuses is tried once more with other papers, if there are any that it may take.
    pub(super) async fn dial(&self) -> Result<Connection, GatewayError> {
        let papers = Papers {
            device: self.shows_device(),
            own_token: false,
        };
        let error = match self.dial_with(papers).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        match error.code.as_deref() {
            Some("DEVICE_IDENTITY_REQUIRED") if !papers.device && self.identity.is_some() => {
                self.dial_with(Papers { device: true, ..papers }).await
            }
            Some("AUTH_TOKEN_MISMATCH") if papers.device && self.instance_credential().is_some() => {
                let own = Papers {
                    own_token: true,
                    ..papers
                };
                match self.device()?.and_then(|device| self.kept_token(&device)) {
                    Some(_) => self.dial_with(own).await,
                    None => Err(error),
                }
            }
            _ => Err(error),
        }
    }

    fn shows_device(&self) -> bool {
        let needed = !self.access.instance.address.is_loopback() || self.instance_credential().is_none();
        self.identity.is_some() && (needed || self.show_device == ShowDevice::Always)
    }

    fn instance_credential(&self) -> Option<&Credential> {
        self.access.instance.credential.as_ref()
    }

    async fn dial_with(&self, papers: Papers) -> Result<Connection, GatewayError> {
        let limit = self.pace.connect;
        let mut stream = timeout(limit, self.open()).await.map_err(|_| {
            let message = format!(
                "there was no connection to the gateway within {} s",
                limit.as_secs_f32()
            );
            GatewayError::new(Fault::Unreachable, message)
        })??;
        let hello = timeout(limit, self.greet(&mut stream, papers)).await.map_err(|_| {
            let message = format!(
                "the gateway took the connection but did not say hello within {} s",
                limit.as_secs_f32()
            );
            let mut error = GatewayError::new(Fault::IdleTimeout, message);
            error.retryable = true;
            error
        })??;
        Ok(Connection {
            stream,
            hello: Arc::new(hello),
        })
    }

    /// A WebSocket on which nothing was said yet.
    async fn open(&self) -> Result<Stream, GatewayError> {
        let address = &self.access.instance.address;
        let mut request = address
            .socket()
            .into_client_request()
            .map_err(|error| of_open(&error))?;
        let agent = http::HeaderValue::from_static(USER_AGENT);
        request.headers_mut().insert(http::header::USER_AGENT, agent);
        let uri = request.uri();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if address.is_secure() { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await.map_err(|error| of_io(&error))?;
        tcp.set_nodelay(true).map_err(|error| of_io(&error))?;
        let connector = match address.is_secure() {
            true => Connector::Rustls(Arc::new(self.tls()?)),
            false => Connector::Plain,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(self.pace.max_message))
            .max_frame_size(Some(self.pace.max_message));
        let opened = client_async_tls_with_config(request, tcp, Some(config), Some(connector)).await;
        opened.map(|(stream, _)| stream).map_err(|error| of_open(&error))
    }

    fn tls(&self) -> Result<ClientConfig, GatewayError> {
        let made = match self.access.instance.fingerprint {
            Some(fingerprint) => tls::pinned(fingerprint),
            None => ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(rustls::ConfigBuilder::with_platform_verifier)
                .map(|builder| builder.with_no_client_auth()),
        };
        made.map_err(|error| GatewayError::new(Fault::Unreachable, format!("TLS can't be set up: {error}")))
    }

    /// The first exchange.
    async fn greet(&self, stream: &mut Stream, papers: Papers) -> Result<Hello, GatewayError> {
        let challenge = loop {
            if let Frame::Event { name, payload, .. } = next_frame(stream).await?
                && name == "connect.challenge"
            {
                break serde_json::from_str::<Challenge>(payload.get()).map_err(|_| not_a_gateway())?;
            }
        };
        let device = match papers.device {
            true => self.device()?,
            false => None,
        };
        let mut connect = self.connect(self.auth(device.as_ref(), papers)?);
        if device.is_some() {
            // A program in the background on the same machine is never paired; a command line is.
            (connect.client.id, connect.client.mode) = ("cli", "cli");
        }
        connect.device = device.as_ref().map(|device| device.prove(&challenge, &connect));
        let params = params(&connect)?;
        let request =
            serde_json::to_string(&Request::new("connect", "connect", &params)).map_err(|_| not_a_gateway())?;
        stream
            .send(Message::text(request))
            .await
            .map_err(|error| of_open(&error))?;
        let reply = loop {
            match next_frame(stream).await? {
                Frame::Reply { id, result } if id == "connect" => break result,
                _ => {}
            }
        };
        let device_id = device.as_ref().map(Device::id).unwrap_or_default();
        let payload =
            reply.map_err(|trouble| self.refused(&refusal::of_connect(&trouble, device_id), device.as_ref()))?;
        let hello: Hello = serde_json::from_str(payload.get()).map_err(|_| not_a_gateway())?;
        if hello.kind != "hello-ok" || hello.protocol != PROTOCOL {
            let version = hello.protocol;
            let message =
                format!("the gateway speaks version {version} of the protocol; clawhand speaks version {PROTOCOL}");
            return Err(GatewayError::new(Fault::Protocol, message));
        }
        self.keep_token(device.as_ref(), &hello);
        Ok(hello)
    }

    fn connect(&self, auth: Option<Auth>) -> Connect {
        let mut scopes = vec![Scope::Read.as_str(), Scope::Write.as_str(), Scope::Approvals.as_str()];
        if self.access.instance.admin {
            scopes.push(Scope::Admin.as_str());
        }
        Connect {
            min_protocol: PROTOCOL,
            max_protocol: PROTOCOL,
            client: Client {
                id: "gateway-client",
                mode: "backend",
                display_name: "clawhand",
                version: env!("CARGO_PKG_VERSION"),
                platform: std::env::consts::OS,
                device_family: std::env::consts::FAMILY,
            },
            role: "operator",
            scopes,
            caps: vec!["approvals"],
            auth,
            device: None,
            user_agent: USER_AGENT.to_owned(),
        }
    }

    fn auth(&self, device: Option<&Device>, papers: Papers) -> Result<Option<Auth>, GatewayError> {
        let kept = || device.and_then(|device| self.kept_token(device)).map(Auth::DeviceToken);
        if papers.own_token {
            return Ok(kept());
        }
        let secret = self.access.credential()?;
        Ok(match (secret, self.instance_credential()) {
            (Some(secret), Some(Credential::Password(_))) => Some(Auth::Password(secret)),
            (Some(secret), _) => Some(Auth::Token(secret)),
            (None, _) => kept(),
        })
    }

    fn device(&self) -> Result<Option<Device>, GatewayError> {
        let Some(folder) = &self.identity else { return Ok(None) };
        let opened = Device::open(folder).map_err(|why| {
            tracing::error!(%why, "there is no identity to show to OpenClaw gateways");
            let message = "the identity of this device can't be read; the operator's log says why";
            GatewayError::new(Fault::Credential, message)
        })?;
        Ok(Some(opened))
    }

    /// The token that this gateway gave the device. From here on it is scrubbed from whatever leaves.
    fn kept_token(&self, device: &Device) -> Option<String> {
        let instance = &self.access.instance;
        let token = device.token(instance.name.as_str(), &instance.address.socket())?;
        (self.access.secrets)(&Secret::Given(token)).ok()
    }

    fn keep_token(&self, device: Option<&Device>, hello: &Hello) {
        let (Some(device), Some(token)) = (device, &hello.auth.device_token) else {
            return;
        };
        let instance = &self.access.instance;
        let (name, address) = (instance.name.as_str(), instance.address.socket());
        let _ = (self.access.secrets)(&Secret::Given(token.clone()));
        if device.token(name, &address).as_ref() != Some(token)
            && let Err(why) = device.keep_token(name, &address, token)
        {
            tracing::warn!(instance = name, %why, "the token of an OpenClaw gateway for this device can't be kept");
        }
    }

    /// A token of the device that the gateway doesn't know any more is of no use.
    fn refused(&self, error: &GatewayError, device: Option<&Device>) -> GatewayError {
        if let (Some(device), Some("AUTH_DEVICE_TOKEN_MISMATCH")) = (device, error.code.as_deref()) {
            device.forget_token(self.access.instance.name.as_str());
        }
        error.clone()
    }
}

const USER_AGENT: &str = concat!("clawhand/", env!("CARGO_PKG_VERSION"));

/// Parameters as they are sent.
pub(super) fn params<P: serde::Serialize>(params: &P) -> Result<Box<RawValue>, GatewayError> {
    serde_json::value::to_raw_value(params).map_err(|error| {
        GatewayError::new(
            Fault::Protocol,
            format!("the request can't be written as JSON: {error}"),
        )
    })
}

/// The next frame of a gateway that hasn't said hello.
async fn next_frame(stream: &mut Stream) -> Result<Frame, GatewayError> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Frame::parse(&text).map_err(|_| not_a_gateway()),
            Some(Ok(Message::Binary(_))) => return Err(not_a_gateway()),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (u16::from(frame.code), frame.reason.as_str().to_owned())
                });
                return Err(of_close(code, &reason));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(of_open(&error)),
            None => return Err(of_close(1006, "")),
        }
    }
}

fn not_a_gateway() -> GatewayError {
    GatewayError::new(
        Fault::Protocol,
        "what answers does not speak the protocol of an OpenClaw gateway",
    )
}

/// What a close of the gateway means.
pub(super) fn of_close(code: u16, reason: &str) -> GatewayError {
    let reason: String = reason.chars().take(200).collect();
    let said = match reason.is_empty() {
        true => format!("the gateway closed the connection ({code})"),
        false => format!("the gateway closed the connection ({code}: {reason})"),
    };
    match code {
        // The gateway restarts, or is starting.
        1012 | 1013 => {
            let mut error = GatewayError::new(Fault::NotReady, said);
            error.retry_after = Some(std::time::Duration::from_millis(500));
            error
        }
        1002 | 1008 => GatewayError::new(Fault::Refused, said),
        _ => GatewayError::new(Fault::Unreachable, said),
    }
}

/// What went wrong with a socket.
pub(super) fn of_open(error: &tungstenite::Error) -> GatewayError {
    use tungstenite::Error;
    match error {
        Error::Io(error) => of_io(error),
        Error::Http(response) => of_upgrade(response.status().as_u16(), response.body().as_deref()),
        Error::Capacity(_) => GatewayError::new(Fault::TooLarge, "the gateway sent more than is taken in one message"),
        Error::Tls(error) => GatewayError::new(Fault::Unreachable, format!("TLS failed: {error}")),
        Error::ConnectionClosed | Error::AlreadyClosed => of_close(1006, ""),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => of_close(1006, ""),
        other => GatewayError::new(
            Fault::Protocol,
            format!("what answers does not speak WebSocket: {other}"),
        ),
    }
}

fn of_io(error: &std::io::Error) -> GatewayError {
    let pinned = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let message = match pinned {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)) => {
            "the gateway's certificate is not the one whose fingerprint is configured".to_owned()
        }
        Some(tls) => format!("TLS failed: {tls}"),
        None => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "nobody answers where the gateway should be".to_owned(),
            _ => format!("the gateway can't be reached: {error}"),
        },
    };
    GatewayError::new(Fault::Unreachable, message)
}

/// Something answered the upgrade like a web server.
fn of_upgrade(status: u16, body: Option<&[u8]>) -> GatewayError {
    let body: serde_json::Value = body
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    let said = body
        .pointer("/error/message")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    let said: String = said.chars().take(200).collect();
    let message = match said.is_empty() {
        true => format!("the WebSocket was answered with HTTP status {status}: a proxy, or no gateway"),
        false => format!("the WebSocket was answered with HTTP status {status}: {said}"),
    };
    let fault = match status {
        502..=504 => Fault::Unreachable,
        _ => Fault::Protocol,
    };
    let error = GatewayError::new(fault, message);
    match body.pointer("/error/type").and_then(serde_json::Value::as_str) {
        Some(code) => error.with_code(code),
        None => error,
    }
}
