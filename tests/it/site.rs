//! An installation for stories about control and the engine: a real database, real artifacts, targets of its own, a
//! clock that the test moves, and an executor that does what the test says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use clawhand::app::Home;
use clawhand::config::{Config, Environment};
use clawhand::control::contract::{GetStatus, StartExecution, SubmitTask, UploadArtifact};
use clawhand::control::{Answer, Control};
use clawhand::domain::{Actor, Clock, Door, Scope, UnixMs};
use clawhand::executors::Scripted;
use clawhand::lifecycle::Lifecycle;
use serde_json::Value;
use tempfile::TempDir;

use crate::database::Base;

/// What every step of the target `lab` finds in its environment, and no caller may read.
pub const SECRET: &str = "correct-horse-battery-staple";

pub const LAB: &str = r#"
name = "lab"
description = "where stories happen"
aliases = ["the lab"]
intents = ["run", "deploy", "retry", "test"]
approval_expires = "10m"

[labels]
env = "test"

[approval]
deploy = "always"

[executor]
kind = "local"

[environment]
LAB_URL = "https://lab.internal.example:8200"

[secrets]
LAB_TOKEN = { env = "SITE_SECRET" }
"#;

const JOB: &str = r#"
name = "job"
title = "a job of the stories"
intents = ["run", "deploy", "retry", "test"]
priority = 1000
outputs = ["out/**"]

[detect]
any_files = ["job.txt"]

[[variants]]
name = "only"

[[variants.steps]]
name = "work"
summary = "do the job"
argv = ["true"]
intents = ["run", "deploy"]
effects = ["workspace"]

[[variants.steps]]
name = "again"
summary = "do the job that may be repeated"
argv = ["true"]
intents = ["retry"]
effects = ["workspace"]
repeatable = true

[[variants.steps]]
name = "test"
summary = "test the job"
argv = ["true"]
intents = ["test"]
reader = "junit"
reports = ["out/junit.xml"]
effects = ["workspace"]
"#;

/// An installation.
pub struct Site {
    pub control: Control,
    pub scripted: Scripted,
    pub home: Arc<Home>,
    now: Arc<AtomicI64>,
    base: Base,
    dir: TempDir,
}

impl Site {
    /// One on `base`, with nothing in it.
    pub async fn new(base: Base) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        write_targets(&dir.path().join("targets"));
        let now = Arc::new(AtomicI64::new(1_795_000_000_000));
        let scripted = Scripted::new();
        let home = Arc::new(open(dir.path(), &base, &now, &scripted).await);
        let control = home.control(Some("http://clawhand.test".into()));
        Self {
            control,
            scripted,
            home,
            now,
            base,
            dir,
        }
    }

    /// The same installation in another process: the same database, artifacts and clock, nothing else shared.
    pub async fn another(&self) -> Arc<Home> {
        Arc::new(open(self.dir.path(), &self.base, &self.now, &self.scripted).await)
    }

    /// Writes a target or, below `recipes/`, a recipe; processes that open the installation from now on see it.
    pub fn write_target(&self, name: &str, toml: &str) {
        std::fs::write(self.dir.path().join("targets").join(name), toml).expect("written");
    }

    /// Takes a target away in the same manner.
    pub fn remove_target(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join("targets").join(name)).expect("removed");
    }

    /// Moves the clock.
    pub fn later(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    /// A worker in this process.
    pub fn work(&self) -> Worker {
        Worker::start(&self.home)
    }

    /// A task of `actor` whose files are there.
    pub async fn task(&self, actor: &Actor, intent: &str) -> String {
        let task = ok(self.control.submit_task(actor, submit(intent)).await);
        let id = text(&task, "/task_id");
        let uploaded = ok(self.control.upload_artifact(actor, file(&id, "job.txt", "do it")).await);
        assert_eq!(uploaded["needs"], serde_json::json!([]), "{uploaded}");
        id
    }

    /// An execution of a new task of `actor`.
    pub async fn started(&self, actor: &Actor, intent: &str) -> Value {
        let task_id = self.task(actor, intent).await;
        ok(self
            .control
            .start_execution(
                actor,
                StartExecution {
                    task_id,
                    idempotency_key: None,
                },
            )
            .await)
    }

    /// Follows an execution to its end: the whole log and the last status.
    pub async fn followed(&self, actor: &Actor, id: &str) -> (String, Value) {
        let (mut log, mut cursor) = (String::new(), None);
        loop {
            let ask = GetStatus {
                execution_id: id.to_owned(),
                cursor,
                wait_ms: Some(20_000),
                max_bytes: None,
            };
            let status = ok(self.control.get_status(actor, ask).await);
            log += status["log"]["text"].as_str().expect("text");
            if status["log"]["done"] == true {
                return (log, status);
            }
            cursor = Some(text(&status, "/log/next_cursor"));
        }
    }

    /// Ends it; a database that was made for it goes.
    pub async fn end(self) {
        let Self {
            home, control, base, ..
        } = self;
        drop(control);
        home.store.clone().close().await;
        base.end().await;
    }
}

/// A worker with the tasks around it, as a process has them.
pub struct Worker {
    lifecycle: Lifecycle,
    stopped: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Worker {
    pub fn start(home: &Arc<Home>) -> Self {
        let lifecycle = Lifecycle::new();
        home.start_listening(&lifecycle);
        home.start_worker(&lifecycle, None);
        let run = lifecycle.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the test owns this task and waits for it in `stop`"
        )]
        let stopped = tokio::spawn(async move { run.run().await });
        Self { lifecycle, stopped }
    }

    /// Stops as on SIGTERM, and waits until everything has ended.
    pub async fn stop(self) {
        self.lifecycle.stop();
        self.stopped.await.expect("ends").expect("signals");
    }
}

async fn open(dir: &Path, base: &Base, now: &Arc<AtomicI64>, scripted: &Scripted) -> Home {
    let config = Config {
        data: dir.join("data"),
        targets: dir.join("targets"),
        database: clawhand::config::Database {
            url: base.url().to_owned(),
            max_connections: 5,
        },
        ..Config::default()
    };
    let environment = Environment::from_iter([
        ("SITE_SECRET".to_owned(), SECRET.to_owned()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
    ]);
    let now = now.clone();
    let clock = Clock::new(move || UnixMs(now.load(Ordering::SeqCst)));
    let home = Home::open(config, &environment, Lifecycle::new()).await.expect("opens");
    home.with(clock, Arc::new(scripted.clone()))
}

fn write_targets(folder: &Path) {
    std::fs::create_dir_all(folder.join("recipes")).expect("made");
    std::fs::write(folder.join("lab.toml"), LAB).expect("written");
    std::fs::write(folder.join("recipes/job.toml"), JOB).expect("written");
}

/// A caller with a key.
pub fn caller(name: &str, scopes: &[Scope]) -> Actor {
    Actor {
        subject: format!("key:{name}"),
        client: name.into(),
        door: Door::Http,
        scopes: scopes.to_vec(),
    }
}

/// A caller that works with tasks.
pub fn alice() -> Actor {
    caller("alice", &[Scope::Tasks])
}

/// What `submit_task` takes.
pub fn submit(intent: &str) -> SubmitTask {
    SubmitTask {
        project_name: "story".into(),
        goal: "see what happens".into(),
        target_ref: "lab".into(),
        execution_intent: intent.into(),
        ..SubmitTask::default()
    }
}

/// What `upload_artifact` takes for a text.
pub fn file(task_id: &str, name: &str, content: &str) -> UploadArtifact {
    UploadArtifact {
        task_id: task_id.into(),
        name: name.into(),
        content: Some(content.into()),
        ..UploadArtifact::default()
    }
}

/// The answer, which must not be a refusal.
pub fn ok(answer: Answer) -> Value {
    match answer {
        Ok(value) => value.into_inner(),
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// The code of the refusal, which the answer must be.
pub fn refused(answer: Answer) -> &'static str {
    match answer {
        Ok(value) => panic!("not refused: {value:?}"),
        Err(refusal) => {
            assert!(!refusal.message.is_empty() && !refusal.hint.is_empty(), "{refusal:?}");
            refusal.code.as_str()
        }
    }
}

/// The text at `pointer`.
pub fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found
        .unwrap_or_else(|| panic!("no text at {pointer} in {value}"))
        .to_owned()
}

/// Makes of `async fn name(site: &Site)` a test on each database.
macro_rules! on_both_sites {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let site = $crate::site::Site::new($crate::database::Base::sqlite()).await;
                super::$name(&site).await;
                site.end().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(cluster) = $crate::database::cluster() else { return };
                let site = $crate::site::Site::new($crate::database::Base::postgres(&cluster).await).await;
                super::$name(&site).await;
                site.end().await;
            })*
        }
    };
}
pub(crate) use on_both_sites;
