//! `clawhand keys`: create, list, revoke.

use clap::{Subcommand, ValueEnum};

use super::exit;
use super::output::{self, Form};
use crate::app::Home;
use crate::domain::units::Span;
use crate::domain::{KeyId, Scope};

/// A scope that a key can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyScope {
    /// Submit tasks and follow its own.
    Tasks,
    /// See and answer the approvals of others.
    Approve,
    /// Talk to OpenClaw gateways.
    Openclaw,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is shown this once.
    Create {
        /// For whom or what it is.
        #[arg(long)]
        name: String,
        /// What it may do.
        #[arg(long = "scope", value_enum, default_values_t = [KeyScope::Tasks])]
        scopes: Vec<KeyScope>,
        /// When it stops working, such as 30d.
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// List keys; never the keys themselves.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key invalid.
    Revoke {
        /// Its id.
        id: KeyId,
    },
}

pub(super) async fn execute(command: KeysCommand, home: &Home) -> anyhow::Result<u8> {
    let keys = home.keys();
    match command {
        KeysCommand::Create {
            name,
            scopes,
            expires,
            json,
        } => {
            let scopes = scopes.into_iter().map(|scope| match scope {
                KeyScope::Tasks => Scope::Tasks,
                KeyScope::Approve => Scope::Approve,
                KeyScope::Openclaw => Scope::Openclaw,
            });
            let made = keys.create(&name, scopes.collect(), expires.map(|span| span.0)).await?;
            if json {
                output::json(&serde_json::json!({ "key_id": made.key.id, "key": made.secret }))?;
            } else {
                output::text(&format!("{}\n", made.secret));
                output::note(&format!("this is shown once; its id is {}", made.key.id));
            }
            Ok(exit::SUCCEEDED)
        }
        KeysCommand::List { json } => list(home, Form::of(json)).await,
        KeysCommand::Revoke { id } => {
            if keys.revoke(id).await? {
                output::note("revoked");
                return Ok(exit::SUCCEEDED);
            }
            output::note("there is no such key, or it was revoked before");
            Ok(exit::REFUSED)
        }
    }
}

async fn list(home: &Home, form: Form) -> anyhow::Result<u8> {
    let keys = home.keys().list().await?;
    if form == Form::Json {
        let rows: Vec<_> = keys
            .iter()
            .map(|key| {
                serde_json::json!({
                    "key_id": key.id, "name": key.name, "prefix": key.prefix, "scopes": key.scopes,
                    "created_at": key.created_at, "expires_at": key.expires_at,
                    "revoked_at": key.revoked_at, "last_used_at": key.last_used_at,
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(exit::SUCCEEDED);
    }
    let now = home.clock.now();
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            let state = match (key.revoked_at, key.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(at)) if at <= now => "expired",
                _ => "valid",
            };
            let used = key.last_used_at.map_or_else(|| "never".into(), |at| at.to_string());
            vec![
                key.id.to_string(),
                format!("{}…", key.prefix),
                state.into(),
                scopes.join(","),
                used,
                key.name.clone(),
            ]
        })
        .collect();
    output::table(&["KEY", "BEGINS WITH", "STATE", "SCOPES", "LAST USED", "NAME"], &rows);
    Ok(exit::SUCCEEDED)
}
