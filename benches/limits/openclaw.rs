//! Beside openclaw-mcp, the peer, in front of a gateway that answers at once: rate, latency, memory, and how soon the first
//! call is answered.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::post;
use clawhand::config::Environment;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::memory::mib;
use crate::program::{Server, apart, clawhand};
use crate::rounds::{Rounds, median, turns};
use crate::site::Folders;
use crate::table::{Goal, Line, Table};
use crate::wire::{self, Before, LEGACY};
use crate::{BARE_RELAY, INSTANT_GATEWAY, bare};

const PEER: &str = "openclaw-mcp 1.7.0";
const ROUNDS: usize = 7;
const STARTS: usize = 9;
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How long each server is asked in a round.
const SPAN: Duration = Duration::from_millis(400);
/// Of the rate and of the latency that 99 of 100 calls keep.
const GOALS: [Goal; 2] = [Goal::AtLeast(5.0, ""), Goal::AtMost(0.2, "")];
/// The scope of the key isn't measured, and neither is the gateway's.
const TOKEN: &str = "a token of the bench";

/// Measures both in front of the same gateway.
pub async fn measure(environment: &Environment) -> anyhow::Result<()> {
    let named = ("CLAWHAND_TEST_OPENCLAW_MCP", "CLAWHAND_TEST_NODE");
    let (Some(script), Some(node)) = (environment.get(named.0), environment.get(named.1)) else {
        println!(
            "left out: openclaw, because {} and {} are not set; see tests/run.sh bench",
            named.0, named.1
        );
        return Ok(());
    };
    let folders = Folders::new()?;
    let mut gateway = apart(std::env::current_exe()?, folders.path());
    let gateway = Server::start(gateway.arg(INSTANT_GATEWAY))?;
    let peer = Peer {
        node,
        script,
        folder: folders.path(),
        gateway: gateway.address,
    };
    calls(&folders, &peer).await?;
    starts(&folders, &peer)
}

struct Peer<'a> {
    node: &'a str,
    script: &'a str,
    folder: &'a Path,
    gateway: SocketAddr,
}

impl Peer<'_> {
    fn command(&self) -> Command {
        let mut command = apart(self.node, self.folder);
        command.arg(self.script);
        self.facing(command)
    }

    /// The same variables that both understand.
    fn facing(&self, mut command: Command) -> Command {
        command.env("OPENCLAW_URL", format!("http://{}", self.gateway));
        command.env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
        command
    }
}

async fn calls(folders: &Folders, peer: &Peer<'_>) -> anyhow::Result<()> {
    let mut command = peer.facing(clawhand(folders, &["serve", "--port", "0"]));
    let ours = Server::start(&mut command)?;
    let mut command = peer.command();
    // It is asked for a port and doesn't tell which one it took.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    command.args([
        "--transport",
        "http",
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
    ]);
    let theirs = Server::start(&mut command)?;
    // What the library of the protocol costs with a tool that does nothing.
    let library = Server::bare(folders)?;
    // What costs a server that does nothing but talk to its client, and to the gateway.
    let mut floor = apart(std::env::current_exe()?, folders.path());
    let floor = Server::start(floor.args([BARE_RELAY, &peer.gateway.to_string()]))?;
    let mut table = Table::beside(
        "OpenClaw tools over HTTP, in front of a gateway that answers at once",
        PEER,
    );
    let tools = [
        ("openclaw_instances", json!({})),
        ("openclaw_chat", json!({"message": "hello"})),
    ];
    for (tool, arguments) in tools {
        // The newest revision that the peer knows, which has sessions with it.
        let request: Arc<[u8]> = wire::request(LEGACY, None, tool, &arguments).into();
        let asked = [
            (Before::Nothing, ours.address),
            (Before::Session, theirs.address),
            (Before::Nothing, library.address),
            (Before::Nothing, floor.address),
        ];
        for clients in CLIENTS {
            let mut rounds: [Rounds; 4] = Default::default();
            for round in 0..ROUNDS {
                for kind in turns(asked.len(), round) {
                    let (before, address) = asked[kind];
                    rounds[kind].add(wire::load_after(before, address, request.clone(), clients, SPAN).await?);
                }
            }
            let [ours, theirs, library, floor] = &rounds;
            add_lines(&mut table, &format!("{tool}, {clients} at once"), (ours, theirs), GOALS);
            for (what, bare) in [("rmcp", library), ("axum and reqwest", floor)] {
                let what = format!("(bare {what} beside it, {clients} at once)");
                add_lines(&mut table, &what, (bare, theirs), [Goal::None; 2]);
            }
        }
    }
    for (what, field) in [
        ("memory after it (VmRSS)", "VmRSS"),
        ("the most it held (VmHWM)", "VmHWM"),
    ] {
        let (ours, theirs) = (mib(ours.pid(), field)?, mib(theirs.pid(), field)?);
        table.add(Line {
            what: what.to_owned(),
            ours: format!("{ours:.1} MiB"),
            bare: format!("{theirs:.1} MiB"),
            ratio: format!("{:.2}", ours / theirs),
            goal: Goal::AtMost(0.2, ""),
            figure: ours / theirs,
        });
    }
    table.print();
    Ok(())
}

fn add_lines(table: &mut Table, what: &str, (ours, theirs): (&Rounds, &Rounds), goals: [Goal; 2]) {
    let rate = ours.rate() / theirs.rate();
    table.add(Line {
        what: format!("{what}: rate"),
        ours: format!("{:.0}/s", ours.rate()),
        bare: format!("{:.0}/s", theirs.rate()),
        ratio: format!("{rate:.1}"),
        goal: goals[0],
        figure: rate,
    });
    let late = ours.latency(0.99) / theirs.latency(0.99);
    let figures = |rounds: &Rounds| {
        let [half, late] = [0.5, 0.99].map(|part| rounds.latency(part) * 1e3);
        format!("p50 {half:.2} ms, p99 {late:.2} ms")
    };
    table.add(Line {
        what: format!("{what}: p99"),
        ours: figures(ours),
        bare: figures(theirs),
        ratio: format!("{late:.2}"),
        goal: goals[1],
        figure: late,
    });
}

/// From exec to the first answered call over standard input and output.
fn starts(folders: &Folders, peer: &Peer<'_>) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let serve = clawhand(folders, &["serve", "--transport", "stdio"]);
        ours.push(until_answered(peer.facing(serve))?);
        theirs.push(until_answered(peer.command())?);
    }
    let mut table = Table::beside("OpenClaw tools over stdio: exec to first answered call", PEER);
    let ratio = median(&ours) / median(&theirs);
    table.add(Line {
        what: "initialize, then openclaw_instances".to_owned(),
        ours: format!("{:.1} ms", median(&ours)),
        bare: format!("{:.1} ms", median(&theirs)),
        ratio: format!("{ratio:.2}"),
        goal: Goal::AtMost(0.1, ""),
        figure: ratio,
    });
    table.print();
    Ok(())
}

fn until_answered(mut command: Command) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let hello =
        json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "limits", "version": "1"}});
    writeln!(
        stdin,
        "{}",
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    )?;
    lines.next().context("it ended")??;
    writeln!(
        stdin,
        "{}",
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
    )?;
    let call = json!({"name": "openclaw_instances", "arguments": {}});
    writeln!(
        stdin,
        "{}",
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
    )?;
    let answer: Value = serde_json::from_str(&lines.next().context("it ended")??)?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    ensure!(answer["result"]["isError"] != true, "answered {answer}");
    drop(stdin);
    child.wait()?;
    Ok(took)
}

/// A gateway that answers each chat at once, streamed to those who want that; a process of its own. Says where it listens
/// in the words of clawhand.
pub async fn instant_gateway() -> anyhow::Result<()> {
    let event = |value: Value| format!("data: {value}\n\n");
    let piece = |delta: Value, reason: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "openclaw",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let stream: Arc<str> = [
        event(piece(json!({"role": "assistant"}), Value::Null)),
        event(piece(json!({"content": "Hello, too."}), Value::Null)),
        event(piece(json!({}), json!("stop"))),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
    .into();
    let whole: Arc<str> = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "openclaw",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello, too."}, "finish_reason": "stop"}]})
    .to_string()
    .into();
    let answer = move |body: axum::Json<Value>| async move {
        match body["stream"] == true {
            true => ([(CONTENT_TYPE, "text/event-stream")], stream.to_string()).into_response(),
            false => ([(CONTENT_TYPE, "application/json")], whole.to_string()).into_response(),
        }
    };
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let mut servers = JoinSet::new();
    let address = bare::serve(router, &mut servers).await?;
    eprintln!("listening on http://{address}");
    match servers.join_next().await {
        Some(ended) => Ok(ended??),
        None => Ok(()),
    }
}
