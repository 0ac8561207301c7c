//! What the daemon calls what is of an execution: ids, addresses and places on its disk. A step finds most of them in
//! /proc, and callers must not.

use bollard::models::ContainerInspectResponse;

use super::DockerExecutor;
use super::container::{attempt_name, holder_name};
use super::fault::{Fault, Kind};
use super::pool::Client;
use super::remove::inspect;
use crate::domain::{AttemptId, ExecutionId};

impl DockerExecutor {
    /// Learns all that there is to know before an attempt's output is shown.
    pub(super) async fn learn_of_attempt(
        &self,
        client: &Client,
        execution: ExecutionId,
        attempt: AttemptId,
    ) -> Result<(), Fault> {
        self.learn_until(client, execution, &attempt_name(attempt)).await
    }

    /// The same before files are.
    pub(super) async fn learn_of_workspace(&self, client: &Client, execution: ExecutionId) -> Result<(), Fault> {
        self.learn_until(client, execution, &holder_name(execution)).await
    }

    /// Looks at the containers of an execution, unless that was done since there is one of this name.
    async fn learn_until(&self, client: &Client, execution: ExecutionId, name: &str) -> Result<(), Fault> {
        let learned = &self.pool.learned;
        if learned.knows(execution, name) {
            return Ok(());
        }
        let info = client.quick.info().await;
        let info = info.map_err(|error| self.unanswered(Fault::of("ask the daemon about itself", &error)))?;
        for container in self.containers(client, Some(execution)).await? {
            let Some(id) = container.id.filter(|id| !learned.knows(execution, id)) else {
                continue;
            };
            match inspect(client, &id).await {
                Ok(found) => self.learn(execution, &found),
                Err(error) => match Fault::of("look at the container", &error) {
                    fault if fault.kind == Kind::NotFound => {}
                    fault => return Err(self.unanswered(fault)),
                },
            }
        }
        if let Some(root) = info.docker_root_dir {
            learned.add(execution, &root, "[private]");
        }
        learned.add(execution, name, "[container]");
        Ok(())
    }

    fn learn(&self, execution: ExecutionId, found: &ContainerInspectResponse) {
        let learned = &self.pool.learned;
        if let Some(name) = &found.name {
            learned.add(execution, name.trim_start_matches('/'), "[container]");
        }
        learned.add_id(execution, found.id.as_deref().unwrap_or_default(), "[container]");
        learned.add_id(execution, found.image.as_deref().unwrap_or_default(), "[image]");
        let layers = found.graph_driver.iter().flat_map(|driver| driver.data.values());
        for folder in layers.flat_map(|paths| paths.split(':')) {
            // LAYER/diff and the like.
            let layer = folder.rsplit('/').nth(1).unwrap_or_default();
            learned.add_id(execution, layer.trim_end_matches("-init"), "[layer]");
        }
        let networks = found
            .network_settings
            .iter()
            .flat_map(|all| all.networks.iter().flatten());
        for (_, network) in networks {
            let addresses = [&network.ip_address, &network.gateway, &network.global_ipv6_address];
            for address in addresses.into_iter().flatten() {
                learned.add(execution, address, "[address]");
            }
            learned.add_id(
                execution,
                network.network_id.as_deref().unwrap_or_default(),
                "[network]",
            );
        }
    }
}
