//! `clawhand serve` and `clawhand worker`.

use clap::{Args, ValueEnum};

use super::exit;
use crate::app::{Home, server};

/// How MCP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Transport {
    /// Streamable HTTP at /mcp.
    #[default]
    Http,
    /// Standard input and output, for one client that starts clawhand itself.
    Stdio,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// How MCP is spoken.
    #[arg(long, value_enum, default_value_t)]
    pub transport: Transport,
    /// The address to listen on instead of http.host.
    #[arg(long)]
    pub host: Option<String>,
    /// The port to listen on instead of http.port; 0 lets the system choose.
    #[arg(long)]
    pub port: Option<u16>,
    /// Keep sessions for clients of 2025-11-25 and older.
    #[arg(long)]
    pub legacy_sessions: bool,
}

pub(super) async fn execute(arguments: &ServeArguments, mut home: Home) -> anyhow::Result<u8> {
    if let Some(host) = &arguments.host {
        home.config.http.host.clone_from(host);
    }
    if let Some(port) = arguments.port {
        home.config.http.port = port;
    }
    home.config.http.legacy_sessions |= arguments.legacy_sessions;
    match arguments.transport {
        Transport::Http => server::over_http(&home, &home.lifecycle).await?,
        Transport::Stdio => server::over_stdio(&home, &home.lifecycle).await?,
    }
    Ok(exit::SUCCEEDED)
}

pub(super) async fn worker(home: &Home) -> anyhow::Result<u8> {
    home.start_listening(&home.lifecycle);
    home.start_worker(&home.lifecycle, None);
    home.lifecycle.run().await?;
    Ok(exit::SUCCEEDED)
}
