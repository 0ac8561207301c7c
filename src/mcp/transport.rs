//! The ways in: Streamable HTTP at `/mcp` and standard input and output.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Json, Router};
use http::StatusCode;
use rmcp::RoleServer;
use rmcp::model::ErrorCode;
use rmcp::service::{RunningService, ServerInitializeError};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{IntoTransport, StreamableHttpServerConfig, StreamableHttpService};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::bridge::Bridge;
use super::direct::{Direct, DirectWay};
use super::handler::{Caller, Handler, unauthenticated};
use crate::control::Control;
use crate::domain::{Actor, Code, Refusal};
use crate::lifecycle::Lifecycle;

/// What a file in one call may have, before base64.
const CONTENT: usize = 4 * 1024 * 1024;

/// What is told of the library's reason to refuse a body, in bytes.
const REASON: usize = 512;

/// How MCP over HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Names by which this server may be called (`Host`), with or without a port. An empty list takes every name.
    pub allowed_hosts: Vec<String>,
    /// Web origins whose pages may call, such as `https://claude.ai:443`; `:*` is any port. A request without an
    /// `Origin` isn't from a page.
    pub allowed_origins: Vec<String>,
    /// The largest request in bytes.
    pub max_body_bytes: usize,
    /// Keep sessions for clients before 2026-07-28. They then stick to one process.
    pub legacy_sessions: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            allowed_origins: ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"]
                .map(str::to_owned)
                .to_vec(),
            max_body_bytes: CONTENT / 3 * 4 + 64 * 1024,
            legacy_sessions: false,
        }
    }
}

/// The route `/mcp`. The layer that puts an [`Actor`] into the request goes around it.
pub fn routes(settings: &HttpSettings, control: Control, lifecycle: &Lifecycle) -> Router {
    let handler = Handler::new(control, Caller::OfRequest);
    #[cfg(feature = "conformance")]
    let handler = super::conformance::Fixtures::beside(handler);
    http_router(settings, lifecycle, handler)
}

/// The route `/mcp` with a handler of which each request gets a clone.
pub fn http_router<H: Direct>(settings: &HttpSettings, lifecycle: &Lifecycle, handler: H) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(settings.legacy_sessions)
        .with_json_response(true)
        .with_allowed_hosts(settings.allowed_hosts.clone())
        .with_allowed_origins(settings.allowed_origins.clone())
        .enforce_origin_validation()
        .with_max_request_body_bytes(settings.max_body_bytes)
        .with_cancellation_token(lifecycle.soft());
    // In a session the calls belong to it.
    let direct = (!settings.legacy_sessions).then(|| DirectWay::new(handler.clone(), settings, lifecycle));
    let direct = Arc::new(direct);
    // Shared: axum clones what serves a route several times for each request.
    let service = Arc::new(StreamableHttpService::new(
        move || Ok(handler.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    ));
    let max = settings.max_body_bytes;
    let answer = any(move |request: Request| {
        let (direct, service) = (direct.clone(), service.clone());
        async move {
            // Nothing of MCP is reached without an actor, not even the handshake.
            if request.extensions().get::<Actor>().is_none() {
                return refuse(StatusCode::UNAUTHORIZED, ErrorCode::INVALID_REQUEST, unauthenticated());
            }
            let request = match &*direct {
                Some(direct) => match direct.answer(request).await {
                    Ok(response) => return response,
                    Err(request) => request,
                },
                None => request,
            };
            let response = service.handle(request).await;
            match response.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(max),
                StatusCode::UNSUPPORTED_MEDIA_TYPE => unread(response.map(Body::new)).await,
                _ => response.map(Body::new),
            }
        }
    });
    Router::new().route("/mcp", answer.clone()).route("/mcp/", answer)
}

fn too_large(max: usize) -> Response {
    refuse(
        StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::INVALID_REQUEST,
        Refusal::new(
            Code::TooLarge,
            format!("the request has more than {max} bytes"),
            "upload in parts (offset, last), or without content to get an upload_url",
        ),
    )
}

/// The library answers 415 for a body that it can't read, too; JSON-RPC 2.0 has errors for that.
async fn unread(response: Response) -> Response {
    // It lies in memory whole, and may repeat a part of the body.
    let why = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let why = String::from_utf8_lossy(&why[..why.len().min(REASON)]).into_owned();
    let (status, code, message) = match why.strip_prefix("fail to deserialize request body ") {
        None => (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::INVALID_REQUEST, why),
        // Where the text itself is wrong, the reason tells the place.
        Some(why) if why.contains(" at line ") => {
            let message = format!("the body isn't JSON: {why}");
            (StatusCode::BAD_REQUEST, ErrorCode::PARSE_ERROR, message)
        }
        Some(why) => {
            let message = format!("the body is no message of JSON-RPC 2.0: {why}");
            (StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, message)
        }
    };
    let hint = "send one message of JSON-RPC 2.0, as Content-Type: application/json";
    refuse(status, code, Refusal::invalid(message, hint))
}

/// A refusal before there is a call to answer: as the error of a JSON-RPC response without an id.
fn refuse(status: StatusCode, code: ErrorCode, refusal: Refusal) -> Response {
    let refusal = answer::own(refusal);
    let error = json!({"code": code, "message": refusal.message, "data": answer::form(&refusal)});
    (status, Json(json!({"jsonrpc": "2.0", "id": null, "error": error}))).into_response()
}

/// Why standard input and output stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The other side spoke something that isn't MCP.
    #[error("failed to begin mcp over stdio: {0}")]
    Handshake(String),
    /// The task that serves it died.
    #[error("failed to serve mcp over stdio: {0}")]
    Died(String),
}

/// Serves one client over standard input and output until it closes them or `stop` is cancelled. Nothing else may
/// write to standard output meanwhile.
///
/// # Errors
/// When the other side doesn't speak MCP.
pub async fn serve_stdio(control: Control, actor: Actor, stop: CancellationToken) -> Result<(), StdioError> {
    let handler = Handler::new(control, Caller::Fixed(actor));
    let Some(running) = served(handler, rmcp::transport::stdio_pipes(), stop).await? else {
        return Ok(());
    };
    running
        .waiting()
        .await
        .map(|_| ())
        .map_err(|error| StdioError::Died(error.to_string()))
}

/// Serves the client of a bridge over standard input and output until it closes them or `stop` is cancelled. Nothing else
/// may write to standard output meanwhile.
///
/// # Errors
/// When the other side doesn't speak MCP.
pub async fn serve_bridge(bridge: Bridge, stop: CancellationToken) -> Result<(), StdioError> {
    bridge.serve(rmcp::transport::stdio_pipes(), stop).await
}

/// Begins with a client; nothing if it went away before it said anything.
pub(super) async fn served<S, T, E, A>(
    handler: S,
    pipes: T,
    stop: CancellationToken,
) -> Result<Option<RunningService<RoleServer, S>>, StdioError>
where
    S: rmcp::Service<RoleServer>,
    T: IntoTransport<RoleServer, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    match rmcp::service::serve_server_with_ct(handler, pipes, stop).await {
        Ok(running) => Ok(Some(running)),
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => Ok(None),
        Err(error) => Err(StdioError::Handshake(error.to_string())),
    }
}
