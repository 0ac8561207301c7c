//! `get_status` over HTTP, beside the bare transport: the same rmcp service with a tool that answers a constant of the
//! same size, and below it axum alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::middleware::from_fn_with_state;
use clawhand::auth::guard::{Guard, Loopback, guard};
use clawhand::domain::{Actor, Scope};
use clawhand::lifecycle::Lifecycle;
use clawhand::mcp::{self, HttpSettings};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;

use crate::bare;
use crate::cluster::Cluster;
use crate::rounds::{Rounds, turns};
use crate::site::{self, Site};
use crate::table::{Goal, Line, Table};
use crate::wire::{self, LEGACY, MODERN, Wire};

const ROUNDS: usize = 7;
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How long each server is asked in a round.
const SPAN: Duration = Duration::from_millis(150);
/// What a call may cost over the bare transport, in microseconds.
const GOAL: Goal = Goal::AtMost(100.0, " us more");

/// Measures on SQLite with a new and an old revision, and on PostgreSQL if there is one.
pub async fn measure(cluster: Option<&Cluster>) -> anyhow::Result<()> {
    let site = Site::open("").await?;
    compare("SQLite, stateless 2026-07-28", &site, MODERN).await?;
    compare("SQLite, stateless 2025-11-25", &site, LEGACY).await?;
    site.close().await;
    if let Some(cluster) = cluster {
        let site = Site::open(&cluster.database("status").await?).await?;
        compare("PostgreSQL, stateless 2026-07-28", &site, MODERN).await?;
        site.close().await;
        cluster.drop_database("status").await?;
    }
    Ok(())
}

async fn compare(name: &str, site: &Site, revision: &str) -> anyhow::Result<()> {
    let mut table = Table::new(format!("get_status over HTTP: {name}"));
    let mut servers = JoinSet::new();
    let key = site
        .home
        .keys()
        .create("limits", vec![Scope::Tasks], None)
        .await?
        .secret;
    let actor = site.home.keys().authenticate(&key).await?.context("the key is known")?;
    let execution = ended_execution(site, &actor).await?;

    let ours = bare::serve(doors(site), &mut servers).await?;
    let ask = |arguments: Value| wire::request(revision, Some(&key), "get_status", &arguments);
    let whole = ask(json!({ "execution_id": execution }));
    let answer: Value = serde_json::from_slice(Wire::open(ours).await?.ask(&whole).await?)?;
    let answer = answer["result"]["structuredContent"].clone();
    let cursor = answer["log"]["next_cursor"].as_str().context("a cursor")?;
    let news = ask(json!({ "execution_id": execution, "cursor": cursor }));

    let transport = bare::serve(bare::transport(answer.clone()), &mut servers).await?;
    let echo = bare::serve(bare::echo(), &mut servers).await?;
    let asked: [(SocketAddr, Arc<[u8]>); 4] = [
        (echo, whole.clone().into()),
        (transport, whole.clone().into()),
        (ours, whole.into()),
        (ours, news.into()),
    ];
    for clients in CLIENTS {
        let mut rounds: [Rounds; 4] = Default::default();
        for round in 0..ROUNDS {
            for kind in turns(asked.len(), round) {
                let (address, request) = &asked[kind];
                rounds[kind].add(wire::load(*address, request.clone(), clients, SPAN).await?);
            }
        }
        add_lines(&mut table, clients, &rounds);
    }
    table.print();
    Ok(())
}

fn add_lines(table: &mut Table, clients: usize, [echo, transport, whole, news]: &[Rounds; 4]) {
    let figures = |rounds: &Rounds| {
        let (p50, p99) = (rounds.latency(0.5) * 1e6, rounds.latency(0.99) * 1e6);
        format!("{:.0}/s, p50 {p50:.0} us, p99 {p99:.0} us", rounds.rate())
    };
    let mut add = |what: &str, ours: &Rounds, bare: &Rounds, goal: Goal| {
        // With one client a call's time is its cost; with more than the machine has cores, the time between answers is.
        let more = if clients == 1 {
            (ours.latency(0.5) - bare.latency(0.5)) * 1e6
        } else {
            1e6 / ours.rate() - 1e6 / bare.rate()
        };
        table.add(Line {
            what: format!("{what}, {clients} at once"),
            ours: figures(ours),
            bare: figures(bare),
            ratio: format!("{:.2}, +{more:.0} us", ours.rate() / bare.rate()),
            goal,
            figure: more,
        });
    };
    add("with a page of log", whole, transport, GOAL);
    add("with a cursor, no news", news, transport, GOAL);
    add("(bare transport beside bare axum)", transport, echo, Goal::None);
}

/// The doors as `clawhand serve` opens them.
fn doors(site: &Site) -> Router {
    let guarded = from_fn_with_state(Guard::new(site.home.keys(), Loopback::Only), guard);
    mcp::routes(&HttpSettings::default(), site.control.clone(), &Lifecycle::new())
        .layer(guarded)
        .merge(clawhand::http::router(site.control.clone(), site.home.store.clone()))
        .layer(CatchPanicLayer::new())
}

/// An execution that a worker has run, with a short log.
async fn ended_execution(site: &Site, actor: &Actor) -> anyhow::Result<String> {
    let lifecycle = Lifecycle::new();
    site.home.start_listening(&lifecycle);
    site.home.start_worker(&lifecycle, None);
    let task = site::submit(&site.control, actor, "run").await?;
    let execution = site::start(&site.control, actor, task).await?;
    crate::local::until_ended(&site.control, actor, &execution).await?;
    lifecycle.stop();
    lifecycle.run().await?;
    Ok(execution)
}
