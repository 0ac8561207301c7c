//! The client of OpenClaw gateways: which there are, chat over HTTP, the WebSocket protocol.
//!
//! Knows nothing of MCP, of tasks or of the database, and never prints a credential: tokens are read at use by a
//! function that is handed in. Start reading at [`Gateways`]; what can go wrong is in [`fault`].

pub mod device;
pub mod fault;
pub mod feed;
pub mod http;
pub mod instance;
pub mod socket;
mod tls;
pub mod wire;

use std::sync::{Arc, OnceLock};

pub use fault::{Fault, GatewayError};
pub use instance::{Address, Credential, Fingerprint, Instance, Name, Secret};
use socket::{Socket, Surroundings};

/// Reads a secret now and sees to it that its value is scrubbed from whatever leaves. The error says where it should be.
pub type ReadSecret = Arc<dyn Fn(&Secret) -> Result<String, String> + Send + Sync>;

/// All gateways that are configured. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gateways(Arc<Vec<Gateway>>);

/// One gateway. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

struct Shared {
    access: Arc<Access>,
    /// The connections over HTTP, or why there can be none.
    client: OnceLock<Result<reqwest::Client, String>>,
    surroundings: Surroundings,
    /// The connection over WebSocket.
    socket: OnceLock<Socket>,
}

/// Where a gateway is and what opens it. Apart from the connections, so that the task of one doesn't keep its own handle
/// alive.
struct Access {
    instance: Instance,
    secrets: ReadSecret,
}

impl Gateways {
    /// The gateways of these instances, whose names differ, with connections in these surroundings.
    pub fn new(instances: Vec<Instance>, secrets: &ReadSecret, surroundings: &Surroundings) -> Self {
        let gateways = instances.into_iter().map(|instance| {
            let access = Access {
                instance,
                secrets: secrets.clone(),
            };
            Gateway::new(access, surroundings.clone())
        });
        Self(Arc::new(gateways.collect()))
    }

    /// The gateway of this name, or the default one.
    ///
    /// # Errors
    /// When there is none; the text lists the names that there are.
    pub fn get(&self, name: Option<&str>) -> Result<&Gateway, GatewayError> {
        let found = match name {
            Some(name) => self.0.iter().find(|gateway| gateway.instance().name.as_str() == name),
            None => self.default(),
        };
        found.ok_or_else(|| self.unknown(name))
    }

    /// All of them, in the order of the configuration.
    pub fn list(&self) -> &[Gateway] {
        &self.0
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that says so, or the first.
    fn default(&self) -> Option<&Gateway> {
        let says_so = self.0.iter().find(|gateway| gateway.instance().is_default);
        says_so.or_else(|| self.0.first())
    }

    fn unknown(&self, name: Option<&str>) -> GatewayError {
        let names: Vec<&str> = self.0.iter().map(|gateway| gateway.instance().name.as_str()).collect();
        let message = match (name, names.is_empty()) {
            (_, true) => "No OpenClaw instance is configured".to_owned(),
            (Some(name), false) => format!("Unknown instance {name:?}. Available: {}", names.join(", ")),
            (None, false) => format!("Name an instance. Available: {}", names.join(", ")),
        };
        GatewayError::new(Fault::UnknownInstance, message)
    }
}

impl Gateway {
    fn new(access: Access, surroundings: Surroundings) -> Self {
        Self(Arc::new(Shared {
            access: Arc::new(access),
            client: OnceLock::new(),
            surroundings,
            socket: OnceLock::new(),
        }))
    }

    /// What is configured about it.
    pub fn instance(&self) -> &Instance {
        &self.0.access.instance
    }

    /// The connection over WebSocket, the same for everybody. It is made when the first one asks it for something.
    pub fn socket(&self) -> &Socket {
        let start = || Socket::start(self.0.access.clone(), self.0.surroundings.clone());
        self.0.socket.get_or_init(start)
    }

    /// The token or the password, read now.
    ///
    /// # Errors
    /// When it can't be read; the text doesn't say where it should be, for that is the operator's business.
    pub fn credential(&self) -> Result<Option<String>, GatewayError> {
        self.0.access.credential()
    }
}

impl Access {
    fn credential(&self) -> Result<Option<String>, GatewayError> {
        let Some(credential) = &self.instance.credential else {
            return Ok(None);
        };
        let value = (self.secrets)(credential.secret()).map_err(|why| {
            let instance = self.instance.name.as_str();
            tracing::error!(instance, why, "the credential of an OpenClaw gateway can't be read");
            GatewayError::new(
                Fault::Credential,
                format!("the credential for the instance {instance} can't be read; the operator's log says why"),
            )
        })?;
        Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
    }
}
