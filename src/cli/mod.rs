//! The command line: a file per command. Results go to standard output, progress and logs to standard error; `--json`
//! gives scripts the same JSON that models get.
//!
//! Top floor. Commands hold no rules: they translate to control, as every door does. Start reading at [`Command`].

mod approvals;
mod artifacts;
mod config;
mod doctor;
mod executions;
pub mod exit;
mod keys;
mod mcp;
mod output;
mod pack;
mod run;
mod serve;
mod targets;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{Home, Refused};
use crate::config::{Config, Environment};
use crate::lifecycle::Lifecycle;
use crate::telemetry;

/// The hand of a language model: intents come in over MCP, real work is done, structured results come back.
#[derive(Debug, Parser)]
#[command(name = "clawhand", version, propagate_version = true, max_term_width = 100, after_help = exit::HELP)]
pub struct Arguments {
    /// The configuration file; without it CLAWHAND_CONFIG or ./clawhand.toml, if there is one.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder with targets and recipes.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub targets: Option<PathBuf>,
    /// The data folder.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the project in a folder on a target and wait for the result.
    Run(run::RunArguments),
    /// Serve MCP over HTTP, or over standard input and output.
    Serve(serve::ServeArguments),
    /// Do queued work without serving anything.
    Worker,
    /// Look at targets.
    #[command(subcommand)]
    Targets(targets::TargetsCommand),
    /// List tasks.
    Tasks(tasks::TasksArguments),
    /// Look at executions, follow their logs, cancel them.
    #[command(subcommand)]
    Executions(executions::ExecutionsCommand),
    /// List and answer the questions that wait for a person.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// List and fetch the artifacts of an execution.
    #[command(subcommand)]
    Artifacts(artifacts::ArtifactsCommand),
    /// Make, list and revoke the keys by which callers over HTTP are known.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The bridge to the conversations of OpenClaw.
    #[command(subcommand)]
    Mcp(mcp::McpCommand),
    /// Check that everything works that this installation needs.
    Doctor(doctor::DoctorArguments),
    /// Check, show or print the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Bring the database up to date and say which version it has.
    Migrate,
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// The supervisor of one step; started by clawhand itself.
    #[command(hide = true)]
    Supervise {
        /// The attempt's folder.
        folder: PathBuf,
    },
}

/// Runs the command and gives the code to exit with.
pub async fn execute(arguments: Arguments, environment: Environment) -> ExitCode {
    // One TLS provider for the whole program; a second installation would be refused, and is never tried.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = match dispatch(arguments, &environment).await {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            if error.is::<Refused>() {
                exit::REFUSED
            } else {
                exit::INTERNAL
            }
        }
    };
    ExitCode::from(code)
}

async fn dispatch(arguments: Arguments, environment: &Environment) -> anyhow::Result<u8> {
    if let Command::Completions { shell } = arguments.command {
        let mut command = <Arguments as clap::CommandFactory>::command();
        // Into memory first: a reader that goes away ends nothing.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "clawhand", &mut script);
        output::text(&String::from_utf8_lossy(&script));
        return Ok(exit::SUCCEEDED);
    }
    if matches!(arguments.command, Command::Config(config::ConfigCommand::Default)) {
        output::text(crate::config::DEFAULT);
        return Ok(exit::SUCCEEDED);
    }
    if let Command::Mcp(command) = &arguments.command {
        return mcp::execute(command, arguments.config.as_deref(), arguments.data, environment).await;
    }
    let mut config = match Config::load(arguments.config.as_deref(), environment) {
        Ok(config) => config,
        Err(error) => {
            output::error(&error);
            return Ok(exit::REFUSED);
        }
    };
    if let Some(folder) = arguments.targets {
        config.targets = std::path::absolute(folder)?;
    }
    if let Some(folder) = arguments.data {
        config.data = std::path::absolute(folder)?;
    }
    telemetry::start(&quieter(&config.log, &arguments.command))?;
    match arguments.command {
        Command::Config(command) => config::execute(&command, &config),
        Command::Targets(targets::TargetsCommand::Check) => Ok(targets::check(&config)),
        Command::Doctor(arguments) => doctor::execute(&arguments, config, environment).await,
        command => {
            let home = Home::open(config, environment, Lifecycle::new()).await?;
            with_home(command, home).await
        }
    }
}

async fn with_home(command: Command, home: Home) -> anyhow::Result<u8> {
    match command {
        Command::Run(arguments) => run::execute(arguments, &home).await,
        Command::Serve(arguments) => serve::execute(&arguments, home).await,
        Command::Worker => serve::worker(&home).await,
        Command::Targets(command) => targets::execute(command, &home).await,
        Command::Tasks(arguments) => tasks::execute(arguments, &home).await,
        Command::Executions(command) => executions::execute(command, &home).await,
        Command::Approvals(command) => approvals::execute(command, &home).await,
        Command::Artifacts(command) => artifacts::execute(command, &home).await,
        Command::Keys(command) => keys::execute(command, &home).await,
        Command::Migrate => {
            // Opening the installation has done it.
            let version = home.store.schema_version().await?.unwrap_or(0);
            output::text(&format!("the database is at version {version}\n"));
            Ok(exit::SUCCEEDED)
        }
        Command::Doctor(_)
        | Command::Config(_)
        | Command::Mcp(_)
        | Command::Completions { .. }
        | Command::Supervise { .. } => {
            anyhow::bail!("this command was to be carried out before the installation is opened")
        }
    }
}

/// Commands for people say what matters themselves; the log of their inner life would only be in the way.
fn quieter(settings: &telemetry::Settings, command: &Command) -> telemetry::Settings {
    let serves = matches!(command, Command::Serve(_) | Command::Worker);
    if serves || settings.filter != telemetry::Settings::default().filter {
        return settings.clone();
    }
    telemetry::Settings {
        filter: "error,clawhand=warn".into(),
        ..settings.clone()
    }
}
