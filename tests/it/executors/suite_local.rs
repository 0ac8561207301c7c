//! clawhand's own machine keeps the contract.

use std::sync::Arc;

use async_trait::async_trait;
use clawhand::domain::ExecutionId;
use clawhand::domain::target::LocalBlock;
use clawhand::executors::{Executor, Handle, LocalExecutor};

use super::rig::{data_folder, settings};
use super::suite::{System, keeps_the_contract, machine};

struct Local(tempfile::TempDir);

#[async_trait]
impl System for Local {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(LocalExecutor::new(settings(self.0.path()), LocalBlock::default()))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        machine::processes(handle)
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        machine::if_there(&self.0.path().join("runs").join(execution.to_string()))
    }

    async fn in_sight(&self, _: &Handle) -> String {
        machine::in_sight(self.0.path())
    }
}

keeps_the_contract!(async { Some(Local(data_folder())) });
