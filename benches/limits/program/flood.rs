//! 1 GiB of output through one step: how fast, in what memory, and whether it is all there in order.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clawhand::domain::ExecutionId;
use clawhand::store::{Changes, Store, StoreSettings};
use serde_json::json;

use super::{QUIET, Server};
use crate::memory::{mib, supervisor_below};
use crate::site::{Folders, text};
use crate::table::{Goal, Line, Table};
use crate::wire::Wire;

const BYTES: u64 = 1 << 30;
const MIB: f64 = 1_048_576.0;
/// What the step prints; the recipe has the same.
const SCRIPT: &str = "seq 1 200000000 | head -c 1073741824";
/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a process may hold over its idle memory.
const GOAL: Goal = Goal::AtMost(64.0, " MiB over idle");

/// Runs the step, and the same script with its output into a file.
pub async fn measure() -> anyhow::Result<()> {
    let folders = Folders::new()?;
    let bare = into_a_file(&folders)?;
    let server = Server::clawhand(&folders)?;
    let mut wire = Wire::open(server.address).await?;
    wire.call(None, "list_targets", &json!({})).await?;
    std::thread::sleep(QUIET);
    let idle = mib(server.pid(), "VmRSS")?;
    let began = Instant::now();
    let execution = start(&mut wire).await?;
    let supervisor = follow(&server, &mut wire, &folders, &execution).await?;
    let took = began.elapsed();
    let most = mib(server.pid(), "VmHWM")?;
    drop(server);
    check_order(&folders, execution.parse()?).await?;

    let rate = |took: Duration| BYTES as f64 / MIB / took.as_secs_f64();
    let mut table = Table::new("1 GiB of output through one step (SQLite)");
    table.add(Line {
        what: "start to end, stored in order".into(),
        ours: format!("{:.1} s, {:.0} MiB/s", took.as_secs_f64(), rate(took)),
        bare: format!("{:.1} s, {:.0} MiB/s into a file", bare.as_secs_f64(), rate(bare)),
        ratio: format!("{:.2}", rate(took) / rate(bare)),
        goal: Goal::None,
        figure: 0.0,
    });
    table.add(Line {
        what: "most memory of the server and worker (VmHWM)".into(),
        ours: format!("{most:.1} MiB"),
        bare: format!("{idle:.1} MiB idle"),
        ratio: format!("+{:.1} MiB", most - idle),
        goal: GOAL,
        figure: most - idle,
    });
    table.add(Line {
        what: "most memory of the supervisor (VmHWM)".into(),
        ours: format!("{supervisor:.1} MiB"),
        bare: String::new(),
        ratio: String::new(),
        goal: GOAL,
        figure: supervisor,
    });
    table.print();
    Ok(())
}

fn into_a_file(folders: &Folders) -> anyhow::Result<Duration> {
    let path = folders.path().join("bare.out");
    let began = Instant::now();
    let file = std::fs::File::create(&path)?;
    let status = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(Stdio::null())
        .status()?;
    file.sync_all()?;
    let took = began.elapsed();
    ensure!(
        status.success() && file.metadata()?.len() == BYTES,
        "the script said {status}"
    );
    std::fs::remove_file(path)?;
    Ok(took)
}

async fn start(wire: &mut Wire) -> anyhow::Result<String> {
    let task = json!({
        "project_name": "limits", "goal": "see what it costs", "target_ref": "lab", "execution_intent": "flood",
        "constraints": {"max_output_bytes": 2 * BYTES},
    });
    let task = text(&wire.call(None, "submit_task", &task).await?, "task_id")?;
    let start = wire.call(None, "start_execution", &json!({ "task_id": task })).await?;
    text(&start, "execution_id")
}

/// Looks until it has succeeded; the most memory that its supervisor was seen to have held.
async fn follow(server: &Server, wire: &mut Wire, folders: &Folders, execution: &str) -> anyhow::Result<f64> {
    let (mut most, mut supervisor) = (0.0_f64, None);
    loop {
        if supervisor.is_none() {
            supervisor = supervisor_below(&folders.data()).filter(|pid| *pid != server.pid());
        }
        if let Some(held) = supervisor.and_then(|pid| mib(pid, "VmHWM").ok()) {
            most = most.max(held);
        }
        let ask = json!({ "execution_id": execution, "max_bytes": 1024 });
        let status = wire.call(None, "get_status", &ask).await?;
        match status["state"].as_str().context("a state")? {
            "succeeded" => return Ok(most),
            "queued" | "preparing" | "running" | "collecting" => std::thread::sleep(LOOK),
            other => anyhow::bail!("the flood ended as {other}"),
        }
    }
}

/// Reads the log back: after clawhand's own first line every byte of the script, in order.
async fn check_order(folders: &Folders, execution: ExecutionId) -> anyhow::Result<()> {
    let url = format!("sqlite://{}", folders.data().join("clawhand.db").display());
    let settings = StoreSettings {
        url,
        max_connections: 1,
    };
    let store = Store::open(&settings, Changes::new()).await?;
    let (mut expected, mut number) = (Vec::new(), 0_u64);
    let (mut at, mut checked) = (0, 0_u64);
    loop {
        let (bytes, size) = store.log_read(execution, at, 4 << 20).await?;
        if bytes.is_empty() {
            ensure!(
                at == size && checked == BYTES,
                "{checked} bytes of output in a log of {size}"
            );
            break;
        }
        let output = if at == 0 {
            let header = bytes.iter().position(|byte| *byte == b'\n').context("a first line")?;
            &bytes[header + 1..]
        } else {
            &bytes[..]
        };
        while expected.len() < output.len() {
            number += 1;
            expected.extend_from_slice(number.to_string().as_bytes());
            expected.push(b'\n');
        }
        ensure!(expected.starts_with(output), "the log differs near byte {at}");
        expected.drain(..output.len());
        at += bytes.len() as u64;
        checked += output.len() as u64;
    }
    store.close().await;
    Ok(())
}
