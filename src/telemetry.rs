//! Logs: to standard error, never to standard output, which belongs to results and to MCP over stdio.
//!
//! Field names are fixed: `execution.id`, `task.id`, `step.name`, `attempt.id`, `target.name`, `actor.subject`,
//! `duration_ms`. An error is logged once, where it is handled. Logs are for the operator: they may name targets'
//! connections, but never a secret's value.

use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A filter as of the crate tracing-subscriber: `info`, `clawhand=debug,info`.
    pub filter: String,
    /// Lines or JSON.
    pub format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: "warn,clawhand=info".into(),
            format: LogFormat::Text,
        }
    }
}

/// Starts logging. A second call changes nothing.
///
/// # Errors
/// When the filter can't be read.
pub fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|error| anyhow::anyhow!("log.filter {:?} can't be read: {error}", settings.filter))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start (in tests) keeps the first subscriber.
    let _ = match settings.format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    Ok(())
}
