//! An installation to measure: a data folder, a target and a recipe of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use clawhand::app::{Home, system_clock};
use clawhand::config::{Config, Database, Environment};
use clawhand::control::contract::{StartExecution, SubmitTask, UploadArtifact};
use clawhand::control::{Answer, Control};
use clawhand::domain::Actor;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{LocalExecutor, LocalSettings};
use clawhand::lifecycle::Lifecycle;
use serde_json::Value;
use tempfile::TempDir;

/// The program as it ships.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_clawhand");
/// Where steps and supervisors look for programs.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

const TARGET: &str = r#"
name = "lab"
description = "where things are measured"
intents = ["run", "build", "hold", "flood"]

[labels]
env = "lab"

[executor]
kind = "local"

[limits]
max_output = "2 GiB"
max_concurrent = 64
"#;

/// One execution at a time, so that others queue behind it.
const NARROW: &str = r#"
name = "narrow"
description = "where executions queue"
intents = ["hold"]

[labels]
env = "narrow"

[executor]
kind = "local"

[limits]
max_concurrent = 1
"#;

/// `run` needs no files.
const ANY: &str = r#"
name = "any"
title = "a job that needs no files"
intents = ["run", "hold", "flood"]
priority = 1000

[detect]

[[variants]]
name = "only"

[[variants.steps]]
name = "work"
summary = "do nothing, well"
argv = ["true"]
intents = ["run"]
effects = ["workspace"]

[[variants.steps]]
name = "hold"
summary = "wait"
argv = ["sleep", "600"]
intents = ["hold"]
effects = ["workspace"]

[[variants.steps]]
name = "flood"
summary = "print 1 GiB"
argv = ["sh", "-c", "seq 1 200000000 | head -c 1073741824"]
intents = ["flood"]
effects = ["workspace"]
"#;

/// `build` needs a file.
const FILE: &str = r#"
name = "file"
title = "a job that needs a file"
intents = ["build"]
priority = 1000

[detect]
any_files = ["job.txt"]

[[variants]]
name = "only"

[[variants.steps]]
name = "work"
summary = "do nothing, well"
argv = ["true"]
effects = ["workspace"]
"#;

/// Folders of an installation; removed with this value.
pub struct Folders {
    dir: TempDir,
}

impl Folders {
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
        // The user that steps run as must be able to pass.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
        let recipes = dir.path().join("targets/recipes");
        std::fs::create_dir_all(&recipes)?;
        std::fs::write(dir.path().join("targets/lab.toml"), TARGET)?;
        std::fs::write(dir.path().join("targets/narrow.toml"), NARROW)?;
        std::fs::write(recipes.join("any.toml"), ANY)?;
        std::fs::write(recipes.join("file.toml"), FILE)?;
        Ok(Self { dir })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn targets(&self) -> PathBuf {
        self.path().join("targets")
    }
}

/// An installation in this process.
pub struct Site {
    pub home: Arc<Home>,
    pub control: Control,
    pub folders: Folders,
}

impl Site {
    /// On the database at `url`; empty is SQLite in the data folder.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let folders = Folders::new()?;
        let config = Config {
            data: folders.data(),
            targets: folders.targets(),
            database: Database {
                url: url.to_owned(),
                ..Database::default()
            },
            ..Config::default()
        };
        let environment = Environment::from_iter([("PATH".to_owned(), PATH.to_owned())]);
        let home = Home::open(config, &environment, Lifecycle::new()).await?;
        // The supervisor is clawhand, and this program is not.
        let local = LocalExecutor::new(local_settings(&folders.data()), LocalBlock::default());
        let home = Arc::new(home.with(system_clock(), Arc::new(local)));
        Ok(Self {
            control: home.control(None),
            home,
            folders,
        })
    }

    /// Ends the connections.
    pub async fn close(self) {
        drop(self.control);
        self.home.store.clone().close().await;
    }
}

/// A local executor below a data folder.
pub fn local_settings(data: &Path) -> LocalSettings {
    LocalSettings {
        runs: data.join("runs"),
        program: PathBuf::from(PROGRAM),
        path: PATH.to_owned(),
        now: system_clock(),
    }
}

/// Submits a task; its id.
pub async fn submit(control: &Control, actor: &Actor, intent: &str) -> anyhow::Result<String> {
    let task = SubmitTask {
        project_name: "limits".into(),
        goal: "see what it costs".into(),
        target_ref: "lab".into(),
        execution_intent: intent.into(),
        ..SubmitTask::default()
    };
    text(&read(control.submit_task(actor, task).await)?, "task_id")
}

/// Attaches the file that `build` needs.
pub async fn upload(control: &Control, actor: &Actor, task_id: String) -> anyhow::Result<()> {
    let file = UploadArtifact {
        task_id,
        name: "job.txt".into(),
        // Different each time, so that the artifact store has something to do.
        content: Some(format!("do it {}", uuid::Uuid::now_v7())),
        ..UploadArtifact::default()
    };
    read(control.upload_artifact(actor, file).await).map(drop)
}

/// Starts an execution; its id.
pub async fn start(control: &Control, actor: &Actor, task_id: String) -> anyhow::Result<String> {
    let start = StartExecution {
        task_id,
        idempotency_key: None,
    };
    text(&read(control.start_execution(actor, start).await)?, "execution_id")
}

/// What was answered, which must not be a refusal.
pub fn read(answer: Answer) -> anyhow::Result<Value> {
    match answer {
        Ok(value) => Ok(value.into_inner()),
        Err(refusal) => Err(anyhow!("refused: {refusal:?}")),
    }
}

/// A text of an answer.
pub fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let text = value[name].as_str();
    text.map(str::to_owned).ok_or_else(|| anyhow!("no {name} in {value}"))
}
