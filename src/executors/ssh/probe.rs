//! Learning what a host offers, by a step that asks each tool, under the same supervisor as every step.

use std::time::Duration;

use super::SshExecutor;
use crate::domain::{ExecutionId, Facts};
use crate::executors::contract::{AttemptState, Executor as _, ExecutorError, Trouble, Workspace};
use crate::executors::posix::{ask_for_tools, told_tools};

/// For all tools together.
const TIMEOUT: Duration = Duration::from_secs(25);

impl SshExecutor {
    pub(super) async fn learn(&self) -> Result<Facts, Trouble> {
        let execution = ExecutionId::random();
        self.make_folders(execution, "yes").await?;
        let asked = self.ask(&self.workspace_of(execution)).await;
        self.clean_up(execution).await?;
        let facts = told_tools(&asked?, self.now.now());
        if facts.os.is_empty() {
            return Err(Trouble::new(
                format!("{}: the probe said nothing of the system", self.block.host),
                "log in as that user and see whether sh, uname and the disk work",
            ));
        }
        Ok(facts)
    }

    async fn ask(&self, workspace: &Workspace) -> Result<String, ExecutorError> {
        let handle = self.start(workspace, &ask_for_tools(TIMEOUT)).await?;
        let mut output = Vec::new();
        loop {
            let seen = self.observe(&handle, output.len() as u64, 1 << 20, TIMEOUT).await?;
            output.extend_from_slice(&seen.output);
            if seen.state != AttemptState::Running {
                return Ok(String::from_utf8_lossy(&output).into_owned());
            }
        }
    }
}
