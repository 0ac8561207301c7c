//! What can go wrong with a gateway, told apart so that whoever reads it knows what to do.

use std::time::Duration;

/// The kinds of failure. Each asks for something else to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No gateway of this name is configured.
    UnknownInstance,
    /// The token or password can't be read where the configuration says that it is.
    Credential,
    /// There is no connection: nobody listens, the name leads nowhere, or TLS is not to be trusted.
    Unreachable,
    /// The gateway doesn't know the token or the password.
    WrongToken,
    /// The gateway runs, but has what is asked for switched off.
    EndpointDisabled,
    /// The gateway runs, but is still starting or about to stop.
    NotReady,
    /// The gateway said no, or the run failed: its own text and code are kept.
    Refused,
    /// What came back is not what a gateway says: no JSON, a page of a proxy, another version of the protocol.
    Protocol,
    /// More came back, or would have to be sent, than is allowed.
    TooLarge,
    /// The gateway said nothing for too long.
    IdleTimeout,
    /// Who asked no longer wants it.
    Cancelled,
    /// The connection went after something was asked for that has effects: whether it happened isn't known.
    Lost,
    /// The gateway wants this device to be approved first.
    Pairing(Box<Pairing>),
    /// The connection lacks a scope of the gateway, such as `operator.admin`.
    MissingScope(String),
}

/// What is known about a device that waits for approval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairing {
    /// The device's own id.
    pub device_id: String,
    /// What the gateway calls the request, for whoever approves it.
    pub request_id: Option<String>,
    /// Why approval is needed, as the gateway says it.
    pub reason: Option<String>,
}

/// A failure of a gateway. Its text names no address and no credential; what the gateway itself said is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GatewayError {
    /// Which kind.
    pub fault: Fault,
    /// What happened. The texts begin as those of openclaw-mcp 1.7.0 do, because people search for them.
    pub message: String,
    /// The gateway's own code for it, such as `invalid_request_error` or `INVALID_REQUEST`.
    pub code: Option<String>,
    /// Whether the same may succeed later without anybody changing anything.
    pub retryable: bool,
    /// How long the gateway asks to wait before that.
    pub retry_after: Option<Duration>,
}

impl GatewayError {
    /// A failure without a code, which may be tried again if its kind passes by itself.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        let retryable = matches!(fault, Fault::Unreachable | Fault::NotReady);
        Self {
            fault,
            message: message.into(),
            code: None,
            retryable,
            retry_after: None,
        }
    }

    /// The same, with what the gateway calls it.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}
