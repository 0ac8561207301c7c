//! The guard before `/mcp`: turns a bearer key into an [`Actor`], or answers 401.

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Keys;
use super::peer::Peer;
use crate::domain::{Actor, Code, Door, Refusal, Scope};

/// What a proxy adds: who comes through one may come from anywhere, although the connection comes from this machine.
static FORWARDED: [HeaderName; 8] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("true-client-ip"),
];

/// What lets callers in. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    keys: Keys,
    /// Whether callers without a key are the operator's own, which holds only while the server listens on loopback.
    loopback: Loopback,
}

/// Whether the server can be reached from this machine alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loopback {
    /// Only from this machine.
    Only,
    /// From elsewhere too.
    No,
}

impl Guard {
    /// A guard that knows `keys`.
    pub fn new(keys: Keys, loopback: Loopback) -> Self {
        Self { keys, loopback }
    }

    /// Who the caller with these headers is.
    async fn actor(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Actor, Refusal> {
        let header = headers.get(AUTHORIZATION);
        let unavailable = |_| {
            Refusal::new(
                Code::StorageUnavailable,
                "keys can't be checked now",
                "try again in a moment",
            )
        };
        let Some(header) = header else {
            let forwarded = FORWARDED.iter().any(|name| headers.contains_key(name));
            let keyless = self.loopback == Loopback::Only && !self.keys.any().await.map_err(unavailable)?;
            if keyless && !forwarded && peer.is_some_and(Peer::is_own) {
                return Ok(Actor {
                    door: Door::Http,
                    ..Actor::local_model("http")
                });
            }
            return Err(Refusal::new(
                Code::Unauthenticated,
                "a bearer key is needed",
                "send Authorization: Bearer KEY; the operator makes keys with `clawhand keys create`. Without any key \
                 only programs of the user that runs the server are let in, from the same machine",
            ));
        };
        let secret = header.to_str().ok().and_then(|text| {
            let (scheme, secret) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
        });
        let known = match secret {
            Some(secret) => self.keys.authenticate(secret).await.map_err(unavailable)?,
            None => None,
        };
        known.ok_or_else(|| {
            Refusal::new(
                Code::Unauthenticated,
                "this key is not valid",
                "it may be mistyped, revoked or expired; ask the operator for a new one",
            )
        })
    }
}

/// The middleware: puts the [`Actor`] into the request's extensions.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .map(|ConnectInfo(peer)| peer.clone());
    match guard.actor(request.headers(), peer.as_ref()).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refusal) if refusal.code == Code::Unauthenticated => {
            let mut response = (StatusCode::UNAUTHORIZED, Json(refusal)).into_response();
            let challenge = HeaderValue::from_static("Bearer realm=\"clawhand\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, Json(refusal)).into_response(),
    }
}

/// The scopes a key may be given.
pub const KEY_SCOPES: [Scope; 3] = [Scope::Tasks, Scope::Approve, Scope::Openclaw];
