//! `clawhand config`: check, show, default.

use clap::Subcommand;

use super::{exit, output};
use crate::config::Config;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration that would be used.
    Check,
    /// Show the configuration that would be used, with everything filled in.
    Show,
    /// Print the annotated default configuration.
    Default,
}

pub(super) fn execute(command: &ConfigCommand, config: &Config) -> anyhow::Result<u8> {
    match command {
        // Loading it was the check.
        ConfigCommand::Check => output::note("the configuration can be used"),
        ConfigCommand::Show => output::text(&config.show()?),
        ConfigCommand::Default => output::text(crate::config::DEFAULT),
    }
    Ok(exit::SUCCEEDED)
}
