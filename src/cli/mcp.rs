//! `clawhand mcp`: what other programs offer under this name.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{exit, output};
use crate::app::bridge;
use crate::config::{Config, Environment, GatewayOptions, GivenCredential};
use crate::lifecycle::Lifecycle;
use crate::mcp::bridge::ChannelMode;
use crate::telemetry;

/// What there is below `mcp`.
#[derive(Debug, Subcommand)]
pub enum McpCommand {
    /// Serve the conversations of OpenClaw over standard input and output, without a database.
    ///
    /// Takes the options of `openclaw mcp serve`. Without --url and without a credential the gateways are those of the
    /// configuration and of the environment (OPENCLAW_URL, OPENCLAW_GATEWAY_TOKEN and the others), or the one at
    /// 127.0.0.1:18789.
    Serve(BridgeArguments),
}

/// Arguments of `mcp serve`.
#[derive(Debug, Args)]
pub struct BridgeArguments {
    /// Where the gateway is: ws://, wss://, http:// or https://.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    credential: CredentialArguments,
    /// Trust exactly the certificate with this SHA-256 digest.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// Ask the gateway for operator.admin, without which it doesn't show approvals that others asked for.
    #[arg(long)]
    admin: bool,
    /// Let the client answer approvals. Whoever started a run by a message could then allow what it wants to do.
    #[arg(long)]
    self_approval: bool,
    /// Whether the client is told what is said without asking: Claude's channel mode. auto is on.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    claude_channel_mode: Mode,
    /// Say more on standard error.
    #[arg(long, short)]
    verbose: bool,
}

/// One of the ways to be let in.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct CredentialArguments {
    /// The gateway's token. Other users of this machine can see it: better a file, or OPENCLAW_GATEWAY_TOKEN.
    #[arg(long)]
    token: Option<String>,
    /// The file with the gateway's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The gateway's password. Other users of this machine can see it: better a file, or OPENCLAW_GATEWAY_PASSWORD.
    #[arg(long)]
    password: Option<String>,
    /// The file with the gateway's password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// As it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Mode {
    #[default]
    Auto,
    On,
    Off,
}

impl CredentialArguments {
    fn given(&self) -> Option<GivenCredential> {
        let token = self.token.clone().map(GivenCredential::Token);
        let token_file = self.token_file.clone().map(GivenCredential::TokenFile);
        let password = self.password.clone().map(GivenCredential::Password);
        let password_file = self.password_file.clone().map(GivenCredential::PasswordFile);
        token.or(token_file).or(password).or(password_file)
    }

    /// What should rather not be on a command line.
    fn visible(&self) -> Option<&'static str> {
        match (&self.token, &self.password) {
            (Some(_), _) => Some("--token is seen by other users of this machine: use --token-file"),
            (None, Some(_)) => Some("--password is seen by other users of this machine: use --password-file"),
            (None, None) => None,
        }
    }
}

/// Serves until the client goes.
pub(super) async fn execute(
    command: &McpCommand,
    named: Option<&Path>,
    data: Option<PathBuf>,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let McpCommand::Serve(arguments) = command;
    let options = GatewayOptions {
        url: arguments.url.clone(),
        credential: arguments.credential.given(),
        fingerprint: arguments.fingerprint.clone(),
        admin: arguments.admin,
        self_approval: arguments.self_approval,
    };
    let mut config = match Config::load_bridge(named, environment, &options) {
        Ok(config) => config,
        Err(error) => {
            output::error(&error);
            return Ok(exit::REFUSED);
        }
    };
    if let Some(folder) = data {
        config.data = std::path::absolute(folder)?;
    }
    if arguments.verbose {
        "info,clawhand=debug".clone_into(&mut config.log.filter);
    }
    telemetry::start(&config.log)?;
    if let Some(warning) = arguments.credential.visible() {
        output::note(warning);
    }
    let mode = match arguments.claude_channel_mode {
        Mode::Auto | Mode::On => ChannelMode::On,
        Mode::Off => ChannelMode::Off,
    };
    let lifecycle = Lifecycle::new();
    let bridge = bridge::open(&config, environment, &lifecycle, mode);
    bridge::over_stdio(bridge, &lifecycle).await?;
    Ok(exit::SUCCEEDED)
}
