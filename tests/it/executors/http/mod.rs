//! The http executor against an API of the tests' own.

pub mod api;
mod crash;
mod reach;
mod stories;
mod templates;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use clawhand::domain::plan::Call;
use clawhand::domain::target::{ExecutorBlock, HttpBlock, SecretRef};
use clawhand::domain::{AttemptId, Clock, ExecutionId, UnixMs};
use clawhand::executors::{
    AttemptState, CollectLimit, Executor, ExitReport, Handle, HttpExecutor, HttpPool, HttpSettings, ProcessLimits,
    StartAttempt, Workspace,
};
use serde_json::Value;

pub use super::rig::LONG;
use super::rig::follow;

/// Once for the process.
pub fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The block of a target file that has these operations, checked like any other.
pub fn block(executor: &str, operations: &str) -> HttpBlock {
    let intents = r#"["check", "deploy", "run"]"#;
    let fill = "[executor.operations.fill]\nintents = [\"check\", \"deploy\", \"run\"]\nsummary = \"s\"\nmethod = \"GET\"\npath = \"/fill\"\n";
    let text = format!(
        "name = \"api\"\ndescription = \"An API\"\nintents = {intents}\n[executor]\nkind = \"http\"\n{executor}\n{operations}\n{fill}"
    );
    let snapshot =
        crate::recipes::loaded(&[("api.toml", &text)]).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    match &snapshot.targets[0].executor {
        ExecutorBlock::Http(block) => (**block).clone(),
        other => panic!("{other:?}"),
    }
}

/// A folder, and the execution in it.
pub struct Rig {
    data: tempfile::TempDir,
    pub book: api::Book,
    pub execution: ExecutionId,
    secrets: Arc<std::sync::Mutex<BTreeMap<String, String>>>,
}

impl Rig {
    pub fn new() -> Self {
        crypto();
        Self {
            data: tempfile::tempdir().expect("a folder"),
            book: api::Book::default(),
            execution: ExecutionId::random(),
            secrets: Arc::default(),
        }
    }

    pub fn secret(&self, name: &str, value: &str) {
        let mut secrets = self.secrets.lock().expect("no panic");
        secrets.insert(name.to_owned(), value.to_owned());
    }

    /// An executor of its own, as another process would have it.
    pub fn executor(&self, block: &HttpBlock) -> HttpExecutor {
        self.executor_at(block, 0)
    }

    /// The same at another time.
    pub fn executor_at(&self, block: &HttpBlock, now_ms: i64) -> HttpExecutor {
        let secrets = self.secrets.clone();
        let settings = HttpSettings {
            folder: self.data.path().join("http"),
            secrets: Arc::new(move |reference| {
                let SecretRef::Env(name) = reference else {
                    return match reference {
                        SecretRef::File(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
                        SecretRef::Env(_) => unreachable!(),
                    };
                };
                let found = secrets.lock().expect("no panic").get(name).cloned();
                found.ok_or_else(|| format!("{name} is not set"))
            }),
            now: Clock::new(move || UnixMs(now_ms)),
            names: self.book.names(),
            backoff: Duration::from_millis(10),
        };
        HttpExecutor::new(HttpPool::new(settings), block.clone())
    }

    pub async fn start(&self, executor: &HttpExecutor, start: &StartAttempt) -> Handle {
        let workspace = executor.prepare(self.execution, &[]).await.expect("prepares");
        executor.start(&workspace, start).await.expect("starts")
    }

    /// Asks one operation to its end.
    pub async fn run(&self, block: &HttpBlock, operation: &str, parameters: Value) -> (String, AttemptState) {
        let executor = self.executor(block);
        let handle = self.start(&executor, &call(operation, parameters)).await;
        end_of(&executor, &handle).await
    }

    /// The files that came of it, by name.
    pub async fn files(&self, executor: &HttpExecutor) -> BTreeMap<String, Vec<u8>> {
        let limit = CollectLimit {
            files: 100,
            bytes: 1 << 30,
        };
        let workspace: Workspace = executor.workspace(self.execution);
        let found = executor
            .collect(&workspace, &["**".to_owned()], limit)
            .await
            .expect("collects");
        assert!(found.left_out.is_empty(), "{:?}", found.left_out);
        let read = |mut file: clawhand::executors::CollectedFile| {
            let mut bytes = Vec::new();
            file.file.read_to_end(&mut bytes).expect("reads");
            (file.name, bytes)
        };
        found.files.into_iter().map(read).collect()
    }

    /// Where the notes of an execution are.
    pub fn folder_of(&self, execution: ExecutionId) -> std::path::PathBuf {
        self.data.path().join("http").join(execution.to_string())
    }

    /// The names and all bytes of all files below the folder.
    pub fn everything(&self) -> String {
        everything(self.data.path())
    }
}

/// The names and all bytes of all files below a folder.
pub fn everything(folder: &std::path::Path) -> String {
    let mut all = String::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            all.push_str(&path.to_string_lossy());
            match path.is_dir() {
                true => folders.push(path),
                false => all.push_str(&String::from_utf8_lossy(&std::fs::read(path).expect("reads"))),
            }
        }
    }
    all
}

pub fn call(operation: &str, parameters: Value) -> StartAttempt {
    StartAttempt {
        attempt: AttemptId::random(),
        argv: Vec::new(),
        call: Some(Call {
            operation: operation.to_owned(),
            parameters: serde_json::from_value(parameters).expect("an object"),
        }),
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout: LONG,
        grace: Duration::from_secs(1),
        max_output_bytes: 1024 * 1024,
        limits: ProcessLimits::default(),
    }
}

pub async fn end_of(executor: &HttpExecutor, handle: &Handle) -> (String, AttemptState) {
    let (output, state) = follow(executor, handle).await;
    (String::from_utf8_lossy(&output).into_owned(), state)
}

pub fn report(state: &AttemptState) -> ExitReport {
    match state {
        AttemptState::Ended(report) => report.clone(),
        other => panic!("ended as {other:?}"),
    }
}
