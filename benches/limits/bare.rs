//! What clawhand stands on, without clawhand: an rmcp server that answers a constant, an axum route that answers what
//! it was sent, and single-row commits.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use clawhand::auth::peer::Doorway;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// What the call of a chat has in it.
const CHAT: &[u8] = b"openclaw_chat";

/// A tool that always answers the same.
#[derive(Clone)]
struct Constant(Arc<Value>);

impl ServerHandler for Constant {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::structured(Value::clone(&self.0)).into())
    }
}

/// rmcp's own service with the settings that clawhand has, and nothing around it.
pub fn transport(answer: Value) -> Router {
    let constant = Constant(Arc::new(answer));
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let service = StreamableHttpService::new(
        move || Ok(constant.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    Router::new().nest_service("/mcp", service)
}

/// The floor under every server here: axum, and a body there and back.
pub fn echo() -> Router {
    Router::new().route("/mcp", post(|body: Bytes| async move { body }))
}

/// The floor under the tools of OpenClaw: axum with a body there and back, for a chat after asking the gateway.
pub fn relay(gateway: SocketAddr) -> Router {
    // No certificate is looked at, but the library wants to know who would do it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let ask = json!({"model": "openclaw", "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let ask = Arc::new((format!("http://{gateway}/v1/chat/completions"), ask));
    Router::new().route(
        "/mcp",
        post(move |body: Bytes| async move {
            if body.windows(CHAT.len()).any(|part| part == CHAT) {
                asked(client.post(&ask.0).json(&ask.1))
                    .await
                    .map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
            }
            Ok::<_, (StatusCode, String)>(body)
        }),
    )
}

/// Asks, and reads the answer to its end.
async fn asked(request: reqwest::RequestBuilder) -> reqwest::Result<()> {
    let mut answer = request.send().await?.error_for_status()?;
    while answer.chunk().await?.is_some() {}
    Ok(())
}

/// Serves on a loopback port until the set is dropped.
pub async fn serve(router: Router, servers: &mut JoinSet<std::io::Result<()>>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    servers.spawn(async move { axum::serve(Doorway::new(listener), router).await });
    Ok(address)
}

/// A bare server as a process of its own. Says where it listens in the words of clawhand; ends when it is ended.
pub async fn serve_alone(router: Router) -> anyhow::Result<()> {
    let mut servers = JoinSet::new();
    let address = serve(router, &mut servers).await?;
    eprintln!("listening on http://{address}/mcp");
    match servers.join_next().await {
        Some(ended) => Ok(ended??),
        None => Ok(()),
    }
}

/// Connections that commit one row a transaction, as durably as clawhand's store does.
#[derive(Clone)]
pub enum Commits {
    /// The one writer that SQLite allows.
    Sqlite(Arc<Mutex<SqliteConnection>>),
    /// One a client.
    Postgres(Arc<Vec<Mutex<PgConnection>>>),
}

const TABLE: &str = "CREATE TABLE bare (id TEXT PRIMARY KEY, body TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO bare (id, body) VALUES ($1, $2)";
/// What each row carries; clawhand's rows carry more.
const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Commits {
    pub async fn sqlite(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await?;
        connection.execute(TABLE).await?;
        Ok(Self::Sqlite(Arc::new(Mutex::new(connection))))
    }

    pub async fn postgres(url: &str, clients: usize) -> anyhow::Result<Self> {
        let options: PgConnectOptions = url.parse()?;
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(Mutex::new(options.connect().await?));
        }
        if let Some(first) = connections.first_mut() {
            first.get_mut().execute(TABLE).await?;
        }
        Ok(Self::Postgres(Arc::new(connections)))
    }

    /// One row in a transaction of its own.
    pub async fn commit(&self, client: usize) -> anyhow::Result<()> {
        let id = uuid::Uuid::now_v7().to_string();
        match self {
            Self::Sqlite(connection) => {
                let mut connection = connection.lock().await;
                sqlx::query(INSERT)
                    .bind(id)
                    .bind(BODY)
                    .execute(&mut *connection)
                    .await?;
            }
            Self::Postgres(connections) => {
                let mut connection = connections[client % connections.len()].lock().await;
                sqlx::query(INSERT)
                    .bind(id)
                    .bind(BODY)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }
}
