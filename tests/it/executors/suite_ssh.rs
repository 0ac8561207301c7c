//! A host over SSH keeps the contract, whichever of the shells it has.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clawhand::domain::ExecutionId;
use clawhand::domain::target::SshBlock;
use clawhand::executors::{Executor, Handle};

use super::ssh_rig::Sshd;
use super::suite::{System, keeps_the_contract, machine};

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
        machine::processes(handle)
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        machine::if_there(&Path::new(&self.block.root).join(execution.to_string()))
    }

    async fn in_sight(&self, _: &Handle) -> String {
        machine::in_sight(Path::new(&self.block.root))
    }
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
