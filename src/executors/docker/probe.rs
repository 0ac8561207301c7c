//! Learning what the image offers: one throw-away execution whose only step asks each tool for its version.
//!
//! The step is run as every other one, so what a probe finds is what a step can use, and what keeps every step from
//! running is what the operator gets to read.

use std::time::Duration;

use super::DockerExecutor;
use super::fault::{Fault, Kind};
use super::observe::Window;
use super::prepare::Purpose;
use crate::domain::{ExecutionId, Facts};
use crate::executors::contract::{AttemptState, Handle};
use crate::executors::posix::{ask_for_tools, told_tools};

/// For all tools together.
const TIMEOUT: Duration = Duration::from_secs(60);

impl DockerExecutor {
    pub(super) async fn look_around(&self) -> Result<Facts, Fault> {
        let execution = ExecutionId::random();
        let asked = self.ask(execution).await;
        // Whatever this leaves bears the mark of a probe, and is removed with the next leftovers.
        let removed = self.take_away(execution).await;
        let text = asked?;
        removed?;
        Ok(Facts {
            isolation: self.isolation(),
            ..told_tools(&text, self.now.now())
        })
    }

    fn isolation(&self) -> Vec<String> {
        let network = ["network_isolation", "network_namespace"];
        let network = network.into_iter().filter(|_| self.block.network.is_none());
        network.chain(["own_user"]).map(str::to_owned).collect()
    }

    async fn ask(&self, execution: ExecutionId) -> Result<String, Fault> {
        self.lay_out(execution, &[], Purpose::Probe).await?;
        let handle = self.start_attempt(execution, &ask_for_tools(TIMEOUT)).await?;
        self.all_of(&handle).await
    }

    async fn all_of(&self, handle: &Handle) -> Result<String, Fault> {
        let mut output = Vec::new();
        loop {
            let window = Window {
                from: output.len() as u64,
                max: usize::MAX,
            };
            let seen = self.follow(handle, window, TIMEOUT).await?;
            output.extend_from_slice(&seen.output);
            match seen.state {
                AttemptState::Running => {}
                AttemptState::Ended(_) => return Ok(String::from_utf8_lossy(&output).into_owned()),
                AttemptState::NeverStarted(why) => return Err(Fault::refused(why)),
                AttemptState::Lost(why) => return Err(Fault::new(Kind::Unreachable, why)),
            }
        }
    }
}
