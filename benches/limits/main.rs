//! What clawhand costs over what it stands on: each figure beside a bare limit that is measured in the same minute.
//!
//! ```text
//! tests/run.sh bench                            everything, in less than seven minutes
//! cargo bench --bench limits -- submit status   some parts: submit, status, local, ssh, docker, kubernetes, openclaw, program
//! ```
//!
//! `ssh`, `docker`, `kubernetes` and `openclaw` need the user, the daemon, the cluster and the peer that tests/run.sh
//! brings, or those that CLAWHAND_TEST_* names; without them they are left out and say so.
//!
//! Ours and bare take turns (A, B, A, B, ...) and the median round counts, so that what else runs on the machine hits
//! both. docs/PERFORMANCE.md has recorded figures and what limits them. Start reading at [`submit`].

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod bare;
mod cluster;
mod docker;
mod kubernetes;
mod local;
mod memory;
mod openclaw;
mod program;
mod rounds;
mod site;
mod ssh;
mod status;
mod step;
mod submit;
mod table;
mod wire;

use std::process::ExitCode;

use anyhow::Context as _;
use clawhand::config::Environment;
use serde_json::json;

use crate::cluster::Cluster;

/// Lets this program be the bare server whose start and memory are compared with clawhand's.
const BARE_SERVER: &str = "bare-server";

/// Lets it be the floor under the tools of OpenClaw; the gateway's address comes after it.
const BARE_RELAY: &str = "bare-relay";

/// Lets it be a gateway that answers at once.
const INSTANT_GATEWAY: &str = "instant-gateway";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limits: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // The harness of cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if arguments.iter().any(|argument| argument == BARE_SERVER) {
        return runtime()?.block_on(async { bare::serve_alone(bare::transport(json!({"targets": []}))).await });
    }
    if let Some(at) = arguments.iter().position(|argument| argument == BARE_RELAY) {
        let gateway = arguments.get(at + 1).context("the gateway's address")?.parse()?;
        return runtime()?.block_on(bare::serve_alone(bare::relay(gateway)));
    }
    if arguments.iter().any(|argument| argument == INSTANT_GATEWAY) {
        return runtime()?.block_on(openclaw::instant_gateway());
    }
    // Control and engine log as they do in `clawhand serve`; only the last step, the terminal, is left out.
    tracing_subscriber::fmt()
        .with_env_filter("warn,clawhand=info")
        .with_writer(std::io::sink)
        .init();
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let began = std::time::Instant::now();
    let environment = Environment::capture();
    let cluster = match wanted("submit") || wanted("status") {
        true => Cluster::open(&environment)?,
        false => None,
    };
    println!("{}", table::machine());
    let runtime = runtime()?;
    if wanted("submit") {
        runtime.block_on(submit::measure(cluster.as_ref()))?;
    }
    if wanted("status") {
        runtime.block_on(status::measure(cluster.as_ref()))?;
    }
    if wanted("local") {
        runtime.block_on(local::measure())?;
    }
    if wanted("ssh") {
        runtime.block_on(ssh::measure(&environment))?;
    }
    if wanted("docker") {
        runtime.block_on(docker::measure(&environment))?;
    }
    if wanted("kubernetes") {
        runtime.block_on(kubernetes::measure(&environment))?;
    }
    if wanted("openclaw") {
        runtime.block_on(openclaw::measure(&environment))?;
    }
    if wanted("program") {
        runtime.block_on(program::measure())?;
    }
    println!("load at the end: {}", table::load());
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}
