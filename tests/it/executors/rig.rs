//! A data folder, an executor and one execution, thrown away at the end; fails if a process is left.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawhand::domain::target::LocalBlock;
use clawhand::domain::{AttemptId, Clock, ExecutionId, UnixMs};
use clawhand::executors::{
    AttemptState, Executor, ExecutorError, ExitReport, Handle, Input, LocalExecutor, LocalSettings, ProcessLimits,
    StartAttempt, Workspace,
};

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Rig {
    pub data: tempfile::TempDir,
    pub executor: LocalExecutor,
    pub execution: ExecutionId,
    pub workspace: Workspace,
}

pub fn settings(data: &Path) -> LocalSettings {
    LocalSettings {
        runs: data.join("runs"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_clawhand")),
        path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        now: Clock::new(|| UnixMs(0)),
    }
}

/// A folder that the run user may pass through, as a data folder must be.
pub fn data_folder() -> tempfile::TempDir {
    let data = tempfile::tempdir().expect("makes a folder");
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o711)).expect("sets the mode");
    data
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(LocalBlock::default(), &[]).await
    }

    pub async fn with(block: LocalBlock, inputs: &[Input]) -> Self {
        let data = data_folder();
        let executor = LocalExecutor::new(settings(data.path()), block);
        let execution = ExecutionId::random();
        let workspace = executor.prepare(execution, inputs).await.expect("prepares");
        Self {
            data,
            executor,
            execution,
            workspace,
        }
    }

    pub async fn start(&self, start: &StartAttempt) -> Handle {
        self.executor.start(&self.workspace, start).await.expect("starts")
    }

    /// Runs a shell script to its end.
    pub async fn run(&self, script: &str) -> (Vec<u8>, ExitReport) {
        let handle = self.start(&sh(script)).await;
        self.end_of(&handle).await
    }

    pub async fn end_of(&self, handle: &Handle) -> (Vec<u8>, ExitReport) {
        let (output, state) = follow(&self.executor, handle).await;
        match state {
            AttemptState::Ended(report) => (output, report),
            other => panic!(
                "ended as {other:?}, with the output {:?}",
                String::from_utf8_lossy(&output)
            ),
        }
    }

    pub fn run_folder(&self) -> PathBuf {
        self.data.path().join("runs").join(self.execution.to_string())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let left = processes_of(&self.execution_attempts());
        for pid in &left {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left running: {left:?}");
        }
    }
}

impl Rig {
    fn execution_attempts(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.run_folder().join("attempts"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// Processes marked with one of these attempts.
pub fn processes_of(attempts: &[String]) -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ);
            attempts
                .iter()
                .any(|attempt| environ.contains(&format!("CLAWHAND_ATTEMPT={attempt}")))
        })
        .collect()
}

pub fn attempt(argv: &[&str]) -> StartAttempt {
    StartAttempt {
        attempt: AttemptId::random(),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        call: None,
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout: LONG,
        grace: Duration::from_secs(10),
        max_output_bytes: 1024 * 1024,
        limits: ProcessLimits::default(),
    }
}

pub fn sh(script: &str) -> StartAttempt {
    attempt(&["sh", "-c", script])
}

/// Observes to the end.
pub async fn follow(executor: &dyn Executor, handle: &Handle) -> (Vec<u8>, AttemptState) {
    let mut output = Vec::new();
    loop {
        let seen = executor
            .observe(handle, output.len() as u64, 1 << 20, LONG)
            .await
            .expect("observes");
        let nothing_new = seen.output.is_empty();
        output.extend_from_slice(&seen.output);
        match seen.state {
            AttemptState::Running => assert!(!nothing_new, "nothing happened for a long time"),
            state => return (output, state),
        }
    }
}

/// Observes until the output contains `text`.
pub async fn until_printed(executor: &dyn Executor, handle: &Handle, text: &str) -> String {
    let mut output = Vec::new();
    loop {
        let printed = String::from_utf8_lossy(&output);
        if printed.contains(text) {
            return printed.into_owned();
        }
        let seen = executor
            .observe(handle, output.len() as u64, 1 << 20, LONG)
            .await
            .expect("observes");
        assert_eq!(
            seen.state,
            AttemptState::Running,
            "ended before it printed {text:?}; it printed {printed:?}"
        );
        output.extend_from_slice(&seen.output);
    }
}

/// Observes to the end as the engine does: what can't be reached now is asked again. Returns how often it was.
pub async fn patiently(executor: &dyn Executor, handle: &Handle, output: &mut Vec<u8>) -> (ExitReport, u32) {
    let mut unreached = 0;
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    loop {
        let seen = match executor.observe(handle, output.len() as u64, 1 << 20, LONG).await {
            Ok(seen) => seen,
            Err(ExecutorError::Unreachable(_)) => {
                unreached += 1;
                pause.tick().await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        output.extend_from_slice(&seen.output);
        match seen.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => return (report, unreached),
            other => panic!("ended as {other:?}, after {:?}", String::from_utf8_lossy(output)),
        }
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
