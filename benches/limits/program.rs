//! The program as it ships, as a process: how soon it answers, what it holds in memory, and 1 GiB of output.

mod flood;
mod queue;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::BARE_SERVER;
use crate::memory::mib;
use crate::rounds::median;
use crate::site::{Folders, PATH, PROGRAM};
use crate::table::{Goal, Line, Table};
use crate::wire::Wire;

const ROUNDS: usize = 9;
/// How long a process is left alone before it counts as idle.
const QUIET: Duration = Duration::from_secs(3);

/// Measures the start, idle memory, a long queue with many who wait, and a flood of output.
pub async fn measure() -> anyhow::Result<()> {
    let folders = Folders::new()?;
    let mut table = Table::new("the program: start and memory");
    start_up(&folders, &mut table).await?;
    idle(&folders, &mut table).await?;
    table.print();
    queue::measure().await?;
    flood::measure().await
}

/// A server process; asked to end, and waited for, with this value.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// `clawhand serve` on an installation.
    pub fn clawhand(folders: &Folders) -> anyhow::Result<Self> {
        let mut command = clawhand(folders, &["serve", "--port", "0"]);
        Self::start(&mut command)
    }

    /// The bare transport.
    pub fn bare(folders: &Folders) -> anyhow::Result<Self> {
        let mut command = apart(std::env::current_exe()?, folders.path());
        Self::start(command.arg(BARE_SERVER))
    }

    /// Starts a program and waits until it says where it listens.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("a pipe")?).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next().transpose()? else {
                let _ = child.wait();
                anyhow::bail!("the server ended: {said}");
            };
            if let Some((_, place)) = line.split_once("listening on ") {
                let place = place.trim_start_matches("http://").trim_end_matches("/mcp");
                break place.parse()?;
            }
            said += &line;
        };
        // Read on, or the server would wait for its log to be read.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// `clawhand` on an installation.
pub fn clawhand(folders: &Folders, arguments: &[&str]) -> Command {
    let mut command = apart(PROGRAM, folders.path());
    command.args(arguments);
    command.arg("--data").arg(folders.data());
    command.arg("--targets").arg(folders.targets());
    command
}

/// A program that inherits nothing.
pub fn apart(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).current_dir(folder);
    command
}

/// From exec to the first answered call.
async fn start_up(folders: &Folders, table: &mut Table) -> anyhow::Result<()> {
    let first = until_answered(|| Server::clawhand(folders)).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(until_answered(|| Server::bare(folders)).await?);
        ours.push(until_answered(|| Server::clawhand(folders)).await?);
    }
    for (what, ours) in [("again", median(&ours)), ("on an empty data folder", first)] {
        table.add(Line {
            what: format!("exec to first answered call, {what}"),
            ours: format!("{ours:.1} ms"),
            bare: format!("{:.1} ms", median(&bare)),
            ratio: format!("+{:.1} ms", ours - median(&bare)),
            goal: Goal::AtMost(50.0, " ms"),
            figure: ours,
        });
    }
    Ok(())
}

async fn until_answered(start: impl Fn() -> anyhow::Result<Server>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let server = start()?;
    let mut wire = Wire::open(server.address).await?;
    wire.call(None, "list_targets", &json!({})).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

async fn idle(folders: &Folders, table: &mut Table) -> anyhow::Result<()> {
    let (ours, bare) = (Server::clawhand(folders)?, Server::bare(folders)?);
    for server in [&ours, &bare] {
        let mut wire = Wire::open(server.address).await?;
        wire.call(None, "list_targets", &json!({})).await?;
    }
    std::thread::sleep(QUIET);
    let (ours, bare) = (mib(ours.pid(), "VmRSS")?, mib(bare.pid(), "VmRSS")?);
    table.add(Line {
        what: "idle memory (VmRSS)".into(),
        ours: format!("{ours:.1} MiB"),
        bare: format!("{bare:.1} MiB"),
        ratio: format!("+{:.1} MiB", ours - bare),
        goal: Goal::AtMost(30.0, " MiB"),
        figure: ours,
    });
    Ok(())
}
