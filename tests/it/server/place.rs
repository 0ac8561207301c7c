//! An installation: data folder, targets, database, and the processes of the program on it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::caller::Caller;
use super::gate::must;
use super::process;
use crate::database::Base;

/// What every step finds in its environment, and no caller may read.
pub const SECRET: &str = "correct-horse-battery-staple";

/// A target whose steps may reach the test's gate.
pub const LAB: &str = r#"
name = "lab"
description = "where stories happen"
intents = ["run", "both", "guarded", "careless"]

[approval]
guarded = "always"

[executor]
kind = "local"
network = true

[environment]
LAB_URL = "https://lab.internal.example:8200"

[secrets]
LAB_TOKEN = { env = "STORY_SECRET" }

[limits]
timeout = "2m"
max_output = "4 MiB"
max_concurrent = 50
"#;

const STORY: &str = r#"
name = "story"
title = "a story"
intents = ["run", "both", "guarded", "careless"]
priority = 1000
outputs = ["out/**"]

[detect]
any_files = ["one.sh"]

[[variants]]
name = "only"

[[variants.steps]]
name = "one"
summary = "do the first part"
argv = ["bash", "one.sh"]
intents = ["run", "both", "guarded"]
effects = ["workspace"]

[[variants.steps]]
name = "again"
summary = "do what may be repeated"
argv = ["bash", "one.sh"]
intents = ["careless"]
effects = ["workspace"]
repeatable = true

[[variants.steps]]
name = "two"
summary = "do the second part"
argv = ["bash", "two.sh"]
intents = ["both"]
effects = ["workspace"]
"#;

const CONFIG: &str = r#"
[worker]
lease = "3s"
grace = "1s"
parallel = 20
"#;

/// What callers saw: every answer and every output of a command.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn add(&self, text: impl Into<String>) {
        self.0.lock().expect("nobody panics with it").push(text.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

/// An installation. Ended with [`Place::end`], which looks at what is left.
pub struct Place {
    dir: TempDir,
    /// The data folder, when it is not in the folder of the place.
    data: PathBuf,
    base: Option<Base>,
    url: String,
    pub seen: Seen,
    host: Option<String>,
}

impl Place {
    /// On an SQLite file in the data folder, as clawhand does it by itself.
    pub fn on_sqlite() -> Self {
        Self::new(None, String::new())
    }

    /// On a PostgreSQL database of its own.
    pub async fn on_postgres(cluster: &str) -> Self {
        let base = Base::postgres(cluster).await;
        let url = base.url().to_owned();
        Self::new(Some(base), url)
    }

    /// On the database at this address, which is somebody else's to remove.
    pub fn on(url: &str) -> Self {
        Self::new(None, url.to_owned())
    }

    fn new(base: Option<Base>, url: String) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Steps of another user work below it.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("sets the mode");
        let place = Self {
            data: dir.path().join("data"),
            dir,
            base,
            url,
            seen: Seen::default(),
            host: None,
        };
        std::fs::create_dir_all(place.targets().join("recipes")).expect("made");
        place.write_target("lab.toml", LAB);
        place.write_target("recipes/story.toml", STORY);
        place.configure("");
        place
    }

    /// Another place for the data folder.
    pub fn put_data(&mut self, data: PathBuf) {
        self.data = data;
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn targets(&self) -> PathBuf {
        self.dir.path().join("targets")
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn write_target(&self, name: &str, text: &str) {
        std::fs::write(self.targets().join(name), text).expect("written");
    }

    /// Adds to the configuration that processes started from now on read.
    pub fn configure(&self, more: &str) {
        let config = if more.contains("[worker]") { "" } else { CONFIG };
        std::fs::write(self.dir.path().join("clawhand.toml"), format!("{config}\n{more}")).expect("written");
    }

    /// From now on its processes live on a host of this name.
    pub fn rename_host(&mut self, name: &str) {
        self.host = Some(name.to_owned());
    }

    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_clawhand");
        let mut command = Command::new(program);
        if let Some(host) = &self.host {
            // Each of the three executes the next, so the process stays the same.
            command = Command::new("/usr/bin/unshare");
            let script = format!("hostname {host} && exec {program} \"$@\"");
            command.args(["--uts", "/bin/sh", "-c", &script, "sh"]);
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("STORY_SECRET", SECRET)
            .env("DATABASE_URL", &self.url)
            .arg("--config")
            .arg(self.dir.path().join("clawhand.toml"))
            .arg("--data")
            .arg(&self.data)
            .arg("--targets")
            .arg(self.targets())
            .kill_on_drop(true);
        command
    }

    /// Starts a server and waits until it listens.
    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, more: &[&str]) -> Server {
        let mut command = self.program();
        command.args(["serve", "--port", "0"]).args(more);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = Log::of(child.stderr.take().expect("piped"));
        let line = log.until("listening on http://").await;
        let (_, rest) = line.split_once("listening on http://").expect("just seen");
        let address = rest.strip_suffix("/mcp").expect("the address ends there").to_owned();
        Server {
            child,
            url: format!("http://{}", address.replace("0.0.0.0", "127.0.0.1")),
            log,
            seen: self.seen.clone(),
        }
    }

    /// Starts a server that is expected to refuse, or anything else that ends by itself.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let output = self.command_unseen(arguments).await;
        self.seen.add(String::from_utf8_lossy(&output.stdout));
        output
    }

    /// The same for what the operator alone sees.
    pub async fn command_unseen(&self, arguments: &[&str]) -> Output {
        let output = self.program().args(arguments).stdin(Stdio::null()).output();
        must("a command ends", output).await.expect("runs")
    }

    /// A command that goes on, with its output piped.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.program()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts")
    }

    /// What a successful command printed.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).await;
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{text}\n{error}",
            output.status
        );
        text
    }

    /// What the files of an execution's only attempt of its step say of its processes.
    pub fn supervisor(&self, execution: &str) -> i32 {
        let attempts = self.data.join("runs").join(execution).join("attempts");
        let mut found = Vec::new();
        for attempt in std::fs::read_dir(&attempts).expect("attempts").flatten() {
            if attempt.path().join("exit.json").exists() {
                continue;
            }
            let text = std::fs::read(attempt.path().join("started")).expect("it has started");
            let started: Value = serde_json::from_slice(&text).expect("JSON");
            found.push(started["supervisor"]["pid"].as_i64().expect("a number"));
        }
        assert_eq!(found.len(), 1, "one attempt runs in {}", attempts.display());
        i32::try_from(found[0]).expect("fits")
    }

    /// Everything that the tables of the PostgreSQL database say; on SQLite they are a file in the data folder.
    pub async fn stored(&self) -> String {
        if self.url.is_empty() {
            return String::new();
        }
        let mut conn = PgConnection::connect(&self.url).await.expect("connects");
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
                .fetch_all(&mut conn)
                .await
                .expect("lists");
        let mut all = String::new();
        for table in tables {
            let rows = sqlx::AssertSqlSafe(format!("SELECT row_to_json(t)::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut conn).await.expect("reads");
            all += &rows.join("\n");
        }
        assert!(all.contains("story"), "there is something in the tables");
        all
    }

    /// How many workers drive executions now.
    pub async fn workers(&self) -> i64 {
        let mut conn = PgConnection::connect(&self.url).await.expect("connects");
        let counted = sqlx::query_scalar("SELECT count(DISTINCT worker) FROM executions WHERE worker IS NOT NULL");
        counted.fetch_one(&mut conn).await.expect("counts")
    }

    /// The run folders that there are.
    pub fn runs(&self) -> Vec<String> {
        let runs = std::fs::read_dir(self.data.join("runs"))
            .into_iter()
            .flatten()
            .flatten();
        runs.map(|run| run.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Ends the installation. Its servers were stopped; nothing of it may be left, and callers saw nothing private.
    pub async fn end(mut self) {
        let data = self.data.display().to_string();
        for (pid, command) in process::carrying(&data) {
            // One that was just starting when its server stopped finds that it isn't wanted any more.
            assert!(command.contains(" supervise "), "left running: {pid} {command}");
            process::ended(pid).await;
        }
        let left = process::carrying(&data);
        assert!(left.is_empty(), "left running: {left:?}");
        assert_eq!(self.runs(), Vec::<String>::new(), "left in runs");
        self.check_privacy();
        if let Some(base) = self.base.take() {
            base.end().await;
        }
    }

    fn check_privacy(&self) {
        let data = self.data.display().to_string();
        let mut private = vec![data.as_str(), SECRET, "lab.internal.example"];
        private.extend(self.host.as_deref());
        for text in self.seen.0.lock().expect("nobody panics with it").iter() {
            for word in &private {
                assert!(!text.contains(word), "a caller saw {word}: {text}");
            }
        }
    }
}

/// Panicking or not, no process of the installation outlives it.
impl Drop for Place {
    fn drop(&mut self) {
        for (pid, _) in process::carrying(&self.dir.path().display().to_string()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    pub url: String,
    pub log: Log,
    seen: Seen,
}

impl Server {
    pub fn pid(&self) -> i32 {
        let pid = self.child.id().expect("it was not waited for");
        i32::try_from(pid).expect("fits")
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// A caller of it without a key.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.url, self.seen.clone())
    }

    /// Ends it with `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Asks it to stop, and waits until it did within its drain time.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.exit().await;
        assert!(status.success(), "{status}\n{}", self.log.text());
    }

    pub async fn exit(&mut self) -> ExitStatus {
        must("the server ends", self.child.wait()).await.expect("waits")
    }
}

/// What a process writes to standard error, for the operator.
#[derive(Debug, Clone)]
pub struct Log(watch::Receiver<Vec<String>>);

impl Log {
    pub fn of(stderr: ChildStderr) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        let mut lines = BufReader::new(stderr).lines();
        // Ends with the process.
        TaskTracker::new().spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|all| all.push(line));
            }
        });
        Self(receiver)
    }

    /// The first line, from the beginning, with this text; waits for it.
    pub async fn until(&self, text: &str) -> String {
        let mut lines = self.0.clone();
        let found = must(
            text,
            lines.wait_for(|lines| lines.iter().any(|line| line.contains(text))),
        )
        .await;
        let Ok(found) = found else {
            panic!("ended without saying {text:?}:\n{}", self.text());
        };
        found
            .iter()
            .find(|line| line.contains(text))
            .expect("just seen")
            .clone()
    }

    /// Waits until so many lines have this text.
    pub async fn until_counted(&self, text: &str, count: usize) {
        let mut lines = self.0.clone();
        let enough = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count() >= count;
        let found = must(text, lines.wait_for(enough)).await.is_ok();
        assert!(found, "ended without saying {text:?} {count} times:\n{}", self.text());
    }

    pub fn text(&self) -> String {
        self.0.borrow().join("\n")
    }
}
