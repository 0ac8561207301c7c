//! Submitting and starting, acknowledged durably, beside bare commits of one row on the same database.
//!
//! `submit_task` and `start_execution` are one commit each, so a pair of them is compared as two commits, and
//! `upload_artifact` as one more; it also makes a file durable in the artifact store.

use std::sync::Arc;

use clawhand::domain::Actor;

use crate::bare::Commits;
use crate::cluster::Cluster;
use crate::rounds::{Rounds, slice, turns};
use crate::site::{self, Site};
use crate::table::{Goal, Line, Table};

const ROUNDS: usize = 5;
/// Clients at once, and how many times each kind is done in a round.
const CLIENTS: [(usize, usize); 2] = [(1, 80), (16, 320)];
const GOAL: Goal = Goal::AtLeast(0.5, "");

/// What is measured: its name, how many commits one of it is, and what it should reach.
const KINDS: [(&str, f64, Goal); 5] = [
    ("bare commits", 1.0, Goal::None),
    ("submit", 1.0, GOAL),
    ("start, inputs are there", 1.0, GOAL),
    ("submit + start, no inputs", 2.0, GOAL),
    ("submit + upload + start", 3.0, Goal::None),
];

/// Measures on SQLite, and on PostgreSQL if there is one.
pub async fn measure(cluster: Option<&Cluster>) -> anyhow::Result<()> {
    let site = Site::open("").await?;
    let commits = Commits::sqlite(&site.folders.path().join("bare.db")).await?;
    on("SQLite, WAL, synchronous=FULL", site, commits).await?;
    if let Some(cluster) = cluster {
        let url = cluster.database("submit").await?;
        let site = Site::open(&url).await?;
        let commits = Commits::postgres(&url, 16).await?;
        on(&format!("PostgreSQL, {}", cluster.durability().await?), site, commits).await?;
        cluster.drop_database("submit").await?;
    }
    Ok(())
}

async fn on(database: &str, site: Site, commits: Commits) -> anyhow::Result<()> {
    let mut table = Table::new(format!("submit and start: {database}"));
    let bench = Arc::new(Bench {
        actor: Actor::local_model("limits"),
        site,
        commits,
    });
    // The facts of the target are learned once.
    bench.pair().await?;
    for (clients, calls) in CLIENTS {
        let mut rounds: [Rounds; KINDS.len()] = Default::default();
        for round in 0..ROUNDS {
            let tasks = bench.tasks(clients, calls).await?;
            for kind in turns(KINDS.len(), round) {
                let (bench, tasks) = (bench.clone(), tasks.clone());
                let call = move |client, at: usize| {
                    let (bench, task) = (bench.clone(), tasks[at].clone());
                    async move { bench.call(kind, client, task).await }
                };
                rounds[kind].add(slice(clients, calls, call).await?);
            }
        }
        add_lines(&mut table, clients, &rounds);
    }
    table.print();
    if let Ok(bench) = Arc::try_unwrap(bench) {
        bench.site.close().await;
    }
    Ok(())
}

fn add_lines(table: &mut Table, clients: usize, rounds: &[Rounds]) {
    let (bare, bare_p50) = (rounds[0].rate(), rounds[0].latency(0.5) * 1e3);
    for ((name, commits, goal), rounds) in KINDS.iter().zip(rounds).skip(1) {
        let rate = rounds.rate() * commits;
        let each = if *commits > 1.0 {
            format!(" ({:.0} rounds/s)", rounds.rate())
        } else {
            String::new()
        };
        table.add(Line {
            what: format!("{name}, {clients} at once"),
            ours: format!("{rate:.0} calls/s{each}, p50 {:.2} ms", rounds.latency(0.5) * 1e3),
            bare: format!("{bare:.0} commits/s, p50 {bare_p50:.2} ms"),
            ratio: format!("{:.2}", rate / bare),
            goal: *goal,
            figure: rate / bare,
        });
    }
}

struct Bench {
    site: Site,
    commits: Commits,
    actor: Actor,
}

impl Bench {
    /// One of a kind, by its place in [`KINDS`].
    async fn call(&self, kind: usize, client: usize, task: String) -> anyhow::Result<()> {
        let (control, actor) = (&self.site.control, &self.actor);
        match kind {
            0 => self.commits.commit(client).await,
            1 => site::submit(control, actor, "run").await.map(drop),
            2 => site::start(control, actor, task).await.map(drop),
            3 => self.pair().await,
            _ => {
                let task = site::submit(control, actor, "build").await?;
                site::upload(control, actor, task.clone()).await?;
                site::start(control, actor, task).await.map(drop)
            }
        }
    }

    async fn pair(&self) -> anyhow::Result<()> {
        let task = site::submit(&self.site.control, &self.actor, "run").await?;
        site::start(&self.site.control, &self.actor, task).await.map(drop)
    }

    /// Tasks whose files are there.
    async fn tasks(self: &Arc<Self>, clients: usize, count: usize) -> anyhow::Result<Arc<Vec<String>>> {
        let made = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (bench, all) = (self.clone(), made.clone());
        slice(clients, count, move |_, _| {
            let (bench, all) = (bench.clone(), all.clone());
            async move {
                let (control, actor) = (&bench.site.control, &bench.actor);
                let task = site::submit(control, actor, "build").await?;
                site::upload(control, actor, task.clone()).await?;
                all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
                Ok(())
            }
        })
        .await?;
        let tasks = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(Arc::new(tasks))
    }
}
