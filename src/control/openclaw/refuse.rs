//! What a failure of a gateway means to a caller, and what the operator reads about it.

use crate::domain::{Code, Refusal};
use crate::gateway::{Fault, Gateway, GatewayError};

/// No instance of this name.
pub(in crate::control) fn unknown(error: GatewayError) -> Refusal {
    Refusal::new(
        Code::UnknownInstance,
        error.message,
        "openclaw_instances lists the names",
    )
}

/// A refusal that keeps what the gateway itself said. Logged here, once.
pub(super) fn failed(gateway: &Gateway, error: GatewayError) -> Refusal {
    let instance = gateway.instance().name.as_str();
    tracing::warn!(instance, fault = ?error.fault, %error, "an OpenClaw gateway did not reply");
    refusal(error)
}

/// The same where the log has it already.
pub(in crate::control) fn refusal(error: GatewayError) -> Refusal {
    let (code, hint) = meaning(&error);
    let message = match &error.code {
        Some(own) if !error.message.contains(own.as_str()) => format!("{} ({own})", error.message),
        _ => error.message,
    };
    Refusal {
        retryable: error.retryable,
        ..Refusal::new(code, message, hint)
    }
}

fn meaning(error: &GatewayError) -> (Code, &'static str) {
    match &error.fault {
        Fault::UnknownInstance => (Code::UnknownInstance, "openclaw_instances lists the names"),
        Fault::Unreachable => (
            Code::GatewayUnreachable,
            "nothing was sent; openclaw_status says when the gateway is back",
        ),
        Fault::NotReady => (
            Code::GatewayUnreachable,
            "openclaw_status says when the gateway is ready",
        ),
        Fault::Credential | Fault::WrongToken => (
            Code::GatewayRefused,
            "the operator has to correct the gateway's token or password in clawhand's configuration",
        ),
        Fault::EndpointDisabled => (
            Code::GatewayRefused,
            "the gateway's operator has to set gateway.http.endpoints.chatCompletions.enabled",
        ),
        Fault::MissingScope(_) | Fault::Pairing(_) => (
            Code::GatewayRefused,
            "the gateway's operator has to grant what is missing",
        ),
        Fault::Refused => (Code::GatewayRefused, "change what the gateway complains about"),
        Fault::Protocol => (
            Code::GatewayFailed,
            "the operator has to check the url and what stands between",
        ),
        Fault::TooLarge => (Code::TooLarge, "ask for less at once"),
        Fault::IdleTimeout => (
            Code::GatewayFailed,
            "the run was ended; ask for less, or have the operator allow a longer silence",
        ),
        Fault::Lost => (
            Code::GatewayFailed,
            "the agent may have acted: ask in the same session what it did before you repeat",
        ),
        Fault::Cancelled => (Code::GatewayFailed, "ask again"),
    }
}
