//! A host over SSH keeps the contract, whichever of the shells it has.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clawhand::domain::ExecutionId;
use clawhand::domain::target::SshBlock;
use clawhand::executors::{Executor, Handle};

use super::rig::processes_of;
use super::ssh_rig::Sshd;
use super::suite::{System, keeps_the_contract};

struct Ssh {
    sshd: Sshd,
    block: SshBlock,
}

impl Ssh {
    fn with(shell: &str) -> Option<Self> {
        let sshd = Sshd::start()?;
        let block = sshd.block(shell);
        Some(Self { sshd, block })
    }
}

#[async_trait]
impl System for Ssh {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.sshd.executor(&self.block))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let found = processes_of(&[handle.attempt.to_string()]);
        found
            .iter()
            .map(|pid| format!("{pid} {}", command_line(&pid.to_string())))
            .collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        let folder = Path::new(&self.block.root).join(execution.to_string());
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
            .args(["-r", "-D", "skip", "", &self.block.root])
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

mod dash {
    use super::*;
    keeps_the_contract!(async { Ssh::with("dash") });
}

mod bash {
    use super::*;
    keeps_the_contract!(async { Ssh::with("bash") });
}

mod busybox {
    use super::*;
    keeps_the_contract!(async { Ssh::with("busybox") });
}
