//! clawhand's own machine keeps the contract.

use std::sync::Arc;

use async_trait::async_trait;
use clawhand::domain::ExecutionId;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{Executor, Handle, LocalExecutor};

use super::rig::{data_folder, processes_of, settings};
use super::suite::{System, keeps_the_contract};

struct Local(tempfile::TempDir);

#[async_trait]
impl System for Local {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(LocalExecutor::new(settings(self.0.path()), LocalBlock::default()))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let found = processes_of(&[handle.attempt.to_string()]);
        found
            .iter()
            .map(|pid| format!("{pid} {}", command_line(&pid.to_string())))
            .collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        let folder = self.0.path().join("runs").join(execution.to_string());
        folder
            .exists()
            .then(|| folder.display().to_string())
            .into_iter()
            .collect()
    }

    async fn in_sight(&self, _: &Handle) -> String {
        let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
        let names = numbers.filter_map(|entry| entry.file_name().into_string().ok());
        let lines: Vec<String> = names.map(|name| command_line(&name)).collect();
        let files = std::process::Command::new("grep")
            .args(["-r", "", "."])
            .current_dir(self.0.path())
            .output();
        format!(
            "{}\n{}",
            lines.join("\n"),
            String::from_utf8_lossy(&files.expect("greps").stdout)
        )
    }
}

fn command_line(pid: &str) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

keeps_the_contract!(async { Some(Local(data_folder())) });
