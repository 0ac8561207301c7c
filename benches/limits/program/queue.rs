//! Many queued executions and many who wait: what that holds in memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use super::Server;
use crate::memory::mib;
use crate::rounds::slice;
use crate::site::{Folders, text};
use crate::table::{Goal, Line, Table};
use crate::wire::{self, MODERN, Wire};

const QUEUED: usize = 10_000;
const WAITING: usize = 1_000;
const CLIENTS: usize = 16;
/// How long the waiting are left alone before they count as waiting.
const SETTLE: Duration = Duration::from_secs(2);

/// Queues behind one execution that holds its target, waits for many of them, and cancels all.
pub async fn measure() -> anyhow::Result<()> {
    let folders = Folders::new()?;
    let server = Server::clawhand(&folders)?;
    let idle = mib(server.pid(), "VmRSS")?;
    let holding = queue_one(&mut Wire::open(server.address).await?).await?;
    until(&server, &holding, "running").await?;

    let began = Instant::now();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let kept = ids.clone();
    each(&server, QUEUED, move |mut wire, _| {
        let ids = kept.clone();
        async move {
            let id = queue_one(&mut wire).await?;
            ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            Ok(wire)
        }
    })
    .await?;
    let rate = QUEUED as f64 / began.elapsed().as_secs_f64();
    let ids = Arc::new(std::mem::take(&mut *ids.lock().unwrap_or_else(PoisonError::into_inner)));
    let queued = mib(server.pid(), "VmRSS")?;

    let mut waiting = Vec::new();
    for id in ids.iter().take(WAITING) {
        let mut wire = Wire::open(server.address).await?;
        let ask = json!({"execution_id": id, "cursor": "0.queued.0", "wait_ms": 25_000});
        wire.send(&wire::request(MODERN, None, "get_status", &ask)).await?;
        waiting.push(wire);
    }
    std::thread::sleep(SETTLE);
    let answered = waiting.iter().filter(|wire| wire.has_news()).count();
    ensure!(answered == 0, "{answered} of those who wait were answered");
    let all = mib(server.pid(), "VmRSS")?;
    drop(waiting);

    let left = ids.clone();
    each(&server, QUEUED, move |mut wire, at| {
        let ids = left.clone();
        async move {
            wire.call(None, "cancel_execution", &json!({ "execution_id": ids[at] }))
                .await?;
            Ok(wire)
        }
    })
    .await?;
    let most = mib(server.pid(), "VmHWM")?;
    let mut wire = Wire::open(server.address).await?;
    wire.call(None, "cancel_execution", &json!({ "execution_id": holding }))
        .await?;
    until(&server, &holding, "cancelled").await?;

    let mut table = Table::new("10,000 queued executions and 1,000 waiting get_status calls");
    for (what, figure, goal) in [
        ("VmRSS with 10,000 queued", queued, Goal::None),
        ("VmRSS with 1,000 waiting, too", all, Goal::AtMost(200.0, " MiB")),
        ("VmHWM after all were cancelled", most, Goal::AtMost(200.0, " MiB")),
    ] {
        table.add(Line {
            what: what.into(),
            ours: format!("{figure:.1} MiB"),
            bare: format!("{idle:.1} MiB at the start"),
            ratio: format!("+{:.1} MiB", figure - idle),
            goal,
            figure,
        });
    }
    table.print();
    println!("queued over HTTP at {rate:.0} submit + start a second, {CLIENTS} clients");
    Ok(())
}

/// Calls by several clients, each with a connection that it keeps.
async fn each<F, Fut>(server: &Server, calls: usize, call: F) -> anyhow::Result<()>
where
    F: Fn(Wire, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<Wire>> + Send,
{
    let mut wires = Vec::new();
    for _ in 0..CLIENTS {
        wires.push(Some(Wire::open(server.address).await?));
    }
    let wires = Arc::new(Mutex::new(wires));
    slice(CLIENTS, calls, move |client, at| {
        let (wires, call) = (wires.clone(), call.clone());
        async move {
            let wire = wires.lock().unwrap_or_else(PoisonError::into_inner)[client].take();
            let wire = wire.ok_or_else(|| anyhow::anyhow!("the connection was lost"))?;
            let wire = call(wire, at).await?;
            wires.lock().unwrap_or_else(PoisonError::into_inner)[client] = Some(wire);
            Ok(())
        }
    })
    .await
    .map(drop)
}

async fn queue_one(wire: &mut Wire) -> anyhow::Result<String> {
    let task = json!({
        "project_name": "limits", "goal": "see what it costs", "target_ref": "narrow", "execution_intent": "hold",
    });
    let task = text(&wire.call(None, "submit_task", &task).await?, "task_id")?;
    let start = wire.call(None, "start_execution", &json!({ "task_id": task })).await?;
    text(&start, "execution_id")
}

async fn until(server: &Server, execution: &str, wanted: &str) -> anyhow::Result<()> {
    let mut wire = Wire::open(server.address).await?;
    let mut ask = json!({ "execution_id": execution });
    loop {
        let status = wire.call(None, "get_status", &ask).await?;
        if status["state"] == wanted {
            return Ok(());
        }
        ask = json!({
            "execution_id": execution, "cursor": status["log"]["next_cursor"], "wait_ms": 20_000,
        });
    }
}
