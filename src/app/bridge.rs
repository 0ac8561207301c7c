//! `clawhand mcp serve`: conversations of gateways over standard input and output, and nothing else of an installation.

use std::sync::Arc;

use anyhow::Context as _;

use super::{open_gateways, private_texts};
use crate::config::{Config, Environment};
use crate::control::conversations::{Conversations, RulesNow};
use crate::domain::Actor;
use crate::lifecycle::Lifecycle;
use crate::mcp;
use crate::mcp::bridge::{Bridge, ChannelMode};
use crate::redact::{Rules, Vault};

/// What callers read in place of a private text.
const PRIVATE: &str = "[private]";

/// A bridge to the gateways of `config`, whose connections end with `lifecycle`. They are followed from here on.
pub fn open(config: &Config, environment: &Environment, lifecycle: &Lifecycle, mode: ChannelMode) -> Bridge {
    let vault = Vault::new(environment.all().clone());
    // The client's session is this process: cursors begin at 1, as it is used to.
    let gateways = open_gateways(config, &vault, lifecycle, 0);
    for gateway in gateways.list() {
        gateway.feed();
    }
    let private = private_texts(config, &gateways);
    let rules: RulesNow = Arc::new(move || {
        let (_, secrets) = vault.seen();
        let rules = private
            .iter()
            .fold(Rules::builder(), |rules, text| rules.private(text, PRIVATE));
        secrets.iter().fold(rules, |rules, secret| rules.secret(secret)).build()
    });
    Bridge::new(Conversations::new(gateways, rules), Actor::bridged(), mode)
}

/// Serves one client over standard input and output, until it goes.
///
/// # Errors
/// When the operating system refuses the signal handlers.
pub async fn over_stdio(bridge: Bridge, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let (soft, whole) = (lifecycle.soft(), lifecycle.clone());
    lifecycle.spawn("stdio", async move {
        if let Err(error) = mcp::serve_bridge(bridge, soft).await {
            tracing::error!(%error, "MCP over stdio ended");
        }
        whole.stop();
    });
    lifecycle.run().await.context("signals can't be handled")
}
