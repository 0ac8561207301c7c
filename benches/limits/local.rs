//! The local executor beside a bare spawn of the same program.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clawhand::control::Control;
use clawhand::control::contract::GetStatus;
use clawhand::domain::Actor;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{Executor, LocalExecutor};
use clawhand::lifecycle::Lifecycle;
use tokio::process::Command;

use crate::rounds::{Rounds, slice};
use crate::site::{self, Site};
use crate::step;
use crate::table::{Goal, Line, Table};

const ROUNDS: usize = 7;
/// At once, and how many in a round.
const CLIENTS: [(usize, usize); 2] = [(1, 16), (8, 48)];
/// What an execution may cost over the bare spawn, in milliseconds.
const GOAL: Goal = Goal::AtMost(10.0, " ms more");

/// Measures start to end of `true`: bare, through the executor, and as a whole execution on SQLite.
pub async fn measure() -> anyhow::Result<()> {
    let site = Site::open("").await?;
    let lifecycle = Lifecycle::new();
    site.home.start_listening(&lifecycle);
    site.home.start_worker(&lifecycle, None);
    let local = LocalExecutor::new(site::local_settings(&site.folders.data()), LocalBlock::default());
    let executor: Arc<dyn Executor> = Arc::new(local);
    let bench = Arc::new(Bench {
        control: site.control.clone(),
        actor: Actor::local_model("limits"),
    });
    let mut table = Table::new("local executor: one step, `true`");
    for (clients, calls) in CLIENTS {
        let mut rounds: [Rounds; 4] = Default::default();
        for _ in 0..ROUNDS {
            let made = slice_of(clients, calls, |_| spawn()).await?;
            rounds[0].add(made);
            let folder = site.folders.path().to_path_buf();
            rounds[3].add(slice_of(clients, calls, move |_| note(folder.clone())).await?);
            rounds[1].add(step::attempts(&executor, clients, calls).await?);
            let tasks = bench.tasks(calls).await?;
            let shared = bench.clone();
            let made = slice_of(clients, calls, move |at| whole(shared.clone(), tasks[at].clone())).await?;
            rounds[2].add(made);
        }
        add_lines(&mut table, clients, &rounds);
    }
    table.print();
    lifecycle.stop();
    lifecycle.run().await?;
    drop(bench);
    site.close().await;
    Ok(())
}

async fn slice_of<F, Fut>(clients: usize, calls: usize, call: F) -> anyhow::Result<crate::rounds::Slice>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    slice(clients, calls, move |_, at| call(at)).await
}

fn add_lines(table: &mut Table, clients: usize, [spawn, executor, whole, note]: &[Rounds; 4]) {
    let what = "executor: start, observe to the end";
    table.add(step::line(what, clients, [executor, spawn], GOAL));
    table.add(step::line("whole execution", clients, [whole, spawn], GOAL));
    table.add(Line {
        what: format!("(a folder with a file, both on disk, {clients} at once)"),
        ours: step::figures(note),
        bare: step::figures(spawn),
        ratio: String::new(),
        goal: Goal::None,
        figure: 0.0,
    });
}

/// The floor: tokio starts the program and waits for it.
async fn spawn() -> anyhow::Result<()> {
    let mut command = Command::new("true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ensure!(command.status().await?.success(), "true said no");
    Ok(())
}

/// The floor of writing down that something starts: the disk must have it first.
async fn note(folder: PathBuf) -> anyhow::Result<()> {
    let folder = folder.join(format!("note-{}", uuid::Uuid::now_v7()));
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir(&folder)?;
        let mut file = std::fs::File::create(folder.join("started"))?;
        file.write_all(b"{}")?;
        file.sync_all()?;
        std::fs::File::open(&folder)?.sync_all()?;
        anyhow::Ok(())
    })
    .await?
}

struct Bench {
    control: Control,
    actor: Actor,
}

impl Bench {
    async fn tasks(&self, count: usize) -> anyhow::Result<Arc<Vec<String>>> {
        let mut tasks = Vec::with_capacity(count);
        for _ in 0..count {
            tasks.push(site::submit(&self.control, &self.actor, "run").await?);
        }
        Ok(Arc::new(tasks))
    }
}

/// An execution as its caller sees it: from `start_execution` until `get_status` says that it is over.
async fn whole(bench: Arc<Bench>, task: String) -> anyhow::Result<()> {
    let execution = site::start(&bench.control, &bench.actor, task).await?;
    until_ended(&bench.control, &bench.actor, &execution).await
}

/// Follows an execution until it has succeeded.
pub async fn until_ended(control: &Control, actor: &Actor, execution: &str) -> anyhow::Result<()> {
    let mut cursor = None;
    loop {
        let ask = GetStatus {
            execution_id: execution.to_owned(),
            cursor,
            wait_ms: Some(20_000),
            max_bytes: None,
        };
        let status = site::read(control.get_status(actor, ask).await)?;
        match status["state"].as_str().context("a state")? {
            "succeeded" => return Ok(()),
            "queued" | "preparing" | "running" | "collecting" => {}
            other => anyhow::bail!("the execution ended as {other}"),
        }
        cursor = status["log"]["next_cursor"].as_str().map(str::to_owned);
    }
}
