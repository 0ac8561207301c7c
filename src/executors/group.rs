//! What stands where a group's executor would be: nothing runs on a group itself, only on its members.

use std::time::Duration;

use async_trait::async_trait;

use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use crate::domain::{ExecutionId, Facts};

/// Refuses whatever would run something.
#[derive(Debug, Clone, Copy)]
pub struct GroupExecutor;

fn refused<T>() -> Result<T, ExecutorError> {
    Err(ExecutorError::Refused("nothing runs on a group itself".into()))
}

#[async_trait]
impl Executor for GroupExecutor {
    async fn prepare(&self, _: ExecutionId, _: &[Input]) -> Result<Workspace, ExecutorError> {
        refused()
    }

    async fn start(&self, _: &Workspace, _: &StartAttempt) -> Result<Handle, ExecutorError> {
        refused()
    }

    async fn observe(&self, _: &Handle, _: u64, _: usize, _: Duration) -> Result<Observation, ExecutorError> {
        refused()
    }

    async fn cancel(&self, _: &Handle, _: Duration) -> Result<(), ExecutorError> {
        refused()
    }

    async fn collect(&self, _: &Workspace, _: &[String], _: CollectLimit) -> Result<Collected, ExecutorError> {
        refused()
    }

    async fn clean_up(&self, _: ExecutionId) -> Result<(), ExecutorError> {
        Ok(())
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: String::new(),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        Ok(Vec::new())
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        Err(Trouble::new(
            "a group offers nothing of its own",
            "probe its members; `clawhand targets list` names them",
        ))
    }

    fn private_texts(&self, _: ExecutionId) -> Vec<(String, String)> {
        Vec::new()
    }
}
