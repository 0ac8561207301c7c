//! The PostgreSQL server goes away during a run and comes back: callers are told so meanwhile, and nothing is lost.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::caller::Caller;
use super::gate::{Gate, must};
use super::place::{Log, Place};
use super::process;

/// A cluster of the test's own.
struct Cluster {
    programs: PathBuf,
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

/// Where the newest server of this machine has its programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let mut folders: Vec<_> = folders.filter(|folder| folder.join("initdb").exists()).collect();
    folders.sort();
    folders.pop()
}

impl Cluster {
    async fn new() -> Option<Self> {
        let Some(programs) = programs() else {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test is told by its environment what must be there"
            )]
            let must_be_there = std::env::var("CI").is_ok();
            assert!(!must_be_there, "CI is set, but PostgreSQL is not installed");
            eprintln!("left out: no PostgreSQL is installed");
            return None;
        };
        let dir = tempfile::tempdir().expect("a folder");
        if nix::unistd::geteuid().is_root() {
            let postgres = nix::unistd::User::from_name("postgres").expect("looks").expect("there");
            std::os::unix::fs::chown(dir.path(), Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw()))
                .expect("given");
        }
        // Free now; whoever takes it in between makes the start fail, not the test lie.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        let cluster = Self {
            programs,
            dir,
            port,
            server: None,
        };
        let made = cluster
            .program("initdb")
            .args([
                "-D",
                "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .output();
        let made = must("the cluster is made", made).await.expect("runs");
        assert!(made.status.success(), "{made:?}");
        Some(cluster)
    }

    /// The server refuses to be root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    async fn start(&mut self) {
        let mut server = self
            .program("postgres")
            .args([
                "-D",
                "data",
                "-F",
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-k",
            ])
            .arg(self.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = Log::of(server.stderr.take().expect("piped"));
        log.until("database system is ready to accept connections").await;
        self.server = Some(server);
    }

    /// Ends it at once, as a crash does.
    async fn stop(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let pid = i32::try_from(server.id().expect("it was not waited for")).expect("fits");
        process::signal(pid, Signal::SIGQUIT);
        must("the database ends", server.wait()).await.expect("waits");
    }

    fn url(&self) -> String {
        format!("postgres://postgres:hunter2@127.0.0.1:{}/postgres", self.port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_and_comes_back_loses_nothing() {
    let Some(mut cluster) = Cluster::new().await else {
        return;
    };
    cluster.start().await;
    let place = Place::on(&cluster.url());
    let server = place.serve().await;
    let caller = server.caller();
    let gate = Gate::new().await;
    let script = "gate first; seq -f 'line %.0f' 1 5000; gate second; seq -f 'line %.0f' 5001 10000";
    let task = caller.submit("run").await;
    caller.upload(&task, "one.sh", &gate.script(script)).await;
    let execution = caller.start(&task).await;
    let waiting = caller.submit("run").await;
    let first = gate.expect("first").await;

    cluster.stop().await;
    first.open().await;
    let second = gate.expect("second").await;
    every_call_is_refused_for_now(&caller, &waiting, &execution).await;
    for (path, status) in [("healthz", StatusCode::OK), ("readyz", StatusCode::SERVICE_UNAVAILABLE)] {
        let asked = caller.http.get(format!("{}/{path}", server.url));
        assert_eq!(caller.fetched(asked).await.0, status, "{path}");
    }
    let refused = place.command(&["serve", "--port", "0"]).await;
    let reason = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(70), "{reason}");
    assert!(reason.contains("database") && !reason.contains("hunter2"), "{reason}");

    cluster.start().await;
    must("it serves again", async {
        while caller
            .call("get_status", json!({"execution_id": execution}))
            .await
            .is_err()
        {}
    })
    .await;
    second.open().await;
    let (log, result) = caller.followed(&execution).await;
    assert_eq!(result["state"], "succeeded", "{result}");
    let lines: Vec<String> = (1..=10_000).map(|number| format!("line {number}")).collect();
    assert_eq!(
        log,
        format!("== step 1 of 1: one (do the first part)\n{}\n", lines.join("\n"))
    );
    assert!(gate.is_quiet(), "it was started twice");
    caller.upload(&waiting, "one.sh", "echo after").await;
    let after = caller.start(&waiting).await;
    assert_eq!(caller.followed(&after).await.1["state"], "succeeded");
    server.stop().await;
    place.end().await;
    cluster.stop().await;
}

/// While the database is away every call says so, and that it may work later.
async fn every_call_is_refused_for_now(caller: &Caller, waiting: &str, execution: &str) {
    let calls = [
        (
            "submit_task",
            json!({"project_name": "p", "goal": "g", "target_ref": "lab", "execution_intent": "run"}),
        ),
        (
            "upload_artifact",
            json!({"task_id": waiting, "name": "one.sh", "content": "echo x"}),
        ),
        ("start_execution", json!({"task_id": waiting})),
        ("get_status", json!({"execution_id": execution})),
        ("get_status", json!({"execution_id": execution, "wait_ms": 1000})),
        ("get_result", json!({"execution_id": execution})),
        ("list_tasks", json!({})),
        ("cancel_execution", json!({"execution_id": execution})),
    ];
    let refusals = calls.map(|(tool, arguments)| {
        let caller = caller.clone();
        async move { (tool, caller.refused(tool, arguments).await) }
    });
    for (tool, refusal) in join_all(refusals).await {
        assert_eq!(refusal["code"], "storage_unavailable", "{tool}: {refusal}");
        assert_eq!(refusal["retryable"], true, "{tool}: {refusal}");
    }
}
