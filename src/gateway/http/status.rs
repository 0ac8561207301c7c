//! How a gateway is, found out by questions that have no effect.

use http::{Method, StatusCode};
use serde_json::Value;

use super::answer::{Body, failed, said_no};
use super::{CHAT, MODELS, within};
use crate::gateway::{Fault, Gateway, GatewayError};

/// The state of a gateway, in the order in which it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody answers, or nobody who is a gateway.
    Unreachable,
    /// It runs, but is starting, stopping or ill.
    NotReady,
    /// It doesn't take the token or the password.
    WrongToken,
    /// It runs, but doesn't chat over HTTP.
    EndpointDisabled,
    /// It refuses for another reason.
    Refused,
    /// It would answer.
    Ready,
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NotReady => "not_ready",
            Self::WrongToken => "wrong_token",
            Self::EndpointDisabled => "endpoint_disabled",
            Self::Refused => "refused",
            Self::Ready => "ready",
        }
    }
}

/// How a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// In a word.
    pub state: State,
    /// In a sentence.
    pub message: String,
    /// What of it isn't ready.
    pub failing: Vec<String>,
    /// How long it has been running.
    pub uptime_ms: Option<u64>,
    /// The agents that answer, as a chat's model names them.
    pub models: Vec<String>,
}

impl Status {
    fn new(state: State, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            failing: Vec::new(),
            uptime_ms: None,
            models: Vec::new(),
        }
    }
}

impl Gateway {
    /// Asks how it is. Never an error: that it can't be asked is an answer too.
    pub async fn status(&self) -> Status {
        let mut readiness = match self.readiness().await {
            Ok(readiness) => readiness,
            Err(error) => return Status::new(state_of(&error.fault), error.message),
        };
        if readiness.state != State::Ready {
            return readiness;
        }
        match self.entrance().await {
            Ok(models) => readiness.models = models,
            Err(error) => {
                readiness.state = state_of(&error.fault);
                readiness.message = error.message;
            }
        }
        readiness
    }

    /// What it says of itself, to anybody.
    async fn readiness(&self) -> Result<Status, GatewayError> {
        let body = self.ask(Method::GET, "/readyz").await?;
        let Ok(json) = body.json() else {
            return Err(GatewayError {
                fault: Fault::Protocol,
                ..said_no(&body)
            });
        };
        let failing: Vec<String> = json["failing"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
            .collect();
        let ready = json["ready"].as_bool();
        let status = match (body.status, ready) {
            (StatusCode::OK, Some(true)) => Status::new(State::Ready, "Gateway ready"),
            (_, Some(_)) if failing.is_empty() => Status::new(State::NotReady, "Gateway not ready yet"),
            (_, Some(_)) => Status::new(State::NotReady, format!("Gateway not ready: {}", failing.join(", "))),
            (StatusCode::SERVICE_UNAVAILABLE, None) => Status::new(State::NotReady, said_no(&body).message),
            _ => return Err(said_no(&body)),
        };
        Ok(Status {
            failing,
            uptime_ms: json["uptimeMs"].as_u64(),
            ..status
        })
    }

    /// Whether the token is taken and the endpoint is there. A GET to the endpoint is refused as such where it is there,
    /// and not found where it isn't; it starts nothing.
    async fn entrance(&self) -> Result<Vec<String>, GatewayError> {
        let body = self.ask(Method::GET, MODELS).await?;
        if body.status != StatusCode::OK {
            return Err(said_no(&body));
        }
        let json = body.json()?;
        let endpoint = self.ask(Method::GET, CHAT).await?;
        if !matches!(
            endpoint.status,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::OK | StatusCode::BAD_REQUEST
        ) {
            return Err(said_no(&endpoint));
        }
        let models = json["data"].as_array().into_iter().flatten();
        Ok(models.filter_map(id_of).collect())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Body, GatewayError> {
        let instance = self.instance();
        let sent = self
            .client()?
            .request(method, instance.address.http(path))
            .headers(self.headers()?);
        let patience = instance.idle_timeout.min(super::CONNECT);
        let response = within(patience, sent.send()).await?.map_err(|error| failed(&error))?;
        Body::read(response, instance).await
    }
}

fn id_of(model: &Value) -> Option<String> {
    model["id"].as_str().map(str::to_owned)
}

const fn state_of(fault: &Fault) -> State {
    match fault {
        Fault::Unreachable | Fault::Protocol | Fault::IdleTimeout | Fault::Lost | Fault::TooLarge => State::Unreachable,
        Fault::NotReady => State::NotReady,
        Fault::WrongToken | Fault::Credential => State::WrongToken,
        Fault::EndpointDisabled => State::EndpointDisabled,
        _ => State::Refused,
    }
}
