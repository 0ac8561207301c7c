//! Taking an execution off the daemon, and finding what was left there.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder,
};

use super::DockerExecutor;
use super::container::{ATTEMPT, EXECUTION, PROBE, volume_name};
use super::fault::{Fault, Kind};
use super::pool::Client;
use super::start::Force;
use crate::domain::{AttemptId, ExecutionId};

/// A probe that is older than this was left by a clawhand that is gone.
const PROBE_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a container may be in a state that has no name, and how often is looked meanwhile.
const NAMELESS_MAX: Duration = Duration::from_secs(15);
const NAMELESS_LOOKS: u32 = 150;

impl DockerExecutor {
    /// Ends and removes the containers of an execution, then its volume. All of it is known by its labels.
    pub(super) async fn take_away(&self, execution: ExecutionId) -> Result<(), Fault> {
        let client = self.client().await?;
        for container in self.containers(&client, Some(execution)).await? {
            if let Some(id) = &container.id {
                self.remove(&client, id, Force::Yes).await?;
            }
            let attempt = container.labels.as_ref().and_then(|labels| labels.get(ATTEMPT));
            if let Some(attempt) = attempt.and_then(|attempt| attempt.parse::<AttemptId>().ok()) {
                self.pool.release(attempt);
            }
        }
        self.remove_volume(&client, execution).await?;
        self.pool.learned.forget(execution);
        Ok(())
    }

    pub(super) async fn remove_volume(&self, client: &Client, execution: ExecutionId) -> Result<(), Fault> {
        let name = volume_name(execution);
        let found = client.quick.inspect_volume(&name).await;
        match found.map_err(|error| Fault::of("look at the volume", &error)) {
            Ok(volume) if volume.labels.get(EXECUTION) == Some(&execution.to_string()) => {}
            Ok(_) => return Err(Fault::refused(format!("the volume {name} is not of this execution"))),
            Err(fault) if fault.kind == Kind::NotFound => return Ok(()),
            Err(fault) => return Err(self.unanswered(fault)),
        }
        let options = RemoveVolumeOptionsBuilder::default().build();
        let Err(error) = client.slow.remove_volume(&name, Some(options)).await else {
            return Ok(());
        };
        match Fault::of("remove the volume", &error) {
            fault if fault.kind == Kind::NotFound => Ok(()),
            // A container of it is still on its way out.
            fault if fault.kind == Kind::Conflict => Err(Fault::new(Kind::Unreachable, fault.text)),
            fault => Err(self.unanswered(fault)),
        }
    }

    /// The containers of one execution, or of all.
    pub(super) async fn containers(
        &self,
        client: &Client,
        execution: Option<ExecutionId>,
    ) -> Result<Vec<ContainerSummary>, Fault> {
        let label = match execution {
            Some(execution) => format!("{EXECUTION}={execution}"),
            None => EXECUTION.to_owned(),
        };
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", vec![label])]))
            .build();
        let mut looks = tokio::time::interval(NAMELESS_MAX / NAMELESS_LOOKS);
        for _ in 0..NAMELESS_LOOKS {
            looks.tick().await;
            match client.quick.list_containers(Some(options.clone())).await {
                Err(error) if is_nameless(&error) => {}
                listed => return listed.map_err(|error| self.unanswered(Fault::of("list the containers", &error))),
            }
        }
        Err(Fault::new(
            Kind::Unreachable,
            "a container stays in a state that has no name",
        ))
    }

    /// The executions of which there is a container or a volume. What a probe left is removed on the way.
    pub(super) async fn remains(&self) -> Result<Vec<ExecutionId>, Fault> {
        let client = self.client().await?;
        let options = ListVolumesOptionsBuilder::default()
            .filters(&HashMap::from([("label", vec![EXECUTION.to_owned()])]))
            .build();
        let volumes = client.quick.list_volumes(Some(options)).await;
        let volumes = volumes.map_err(|error| self.unanswered(Fault::of("list the volumes", &error)))?;
        let mut found = BTreeSet::new();
        let mut probes = BTreeSet::new();
        for container in self.containers(&client, None).await? {
            let age = container
                .created
                .map(|created| self.now.now().0 - created.saturating_mul(1000));
            let is_old = age.is_some_and(|age| u128::try_from(age).is_ok_and(|age| age > PROBE_MAX.as_millis()));
            let labels = container.labels.unwrap_or_default();
            match (id_of(&labels), labels.contains_key(PROBE)) {
                (Some(id), true) if is_old => probes.insert(id),
                (Some(id), false) => found.insert(id),
                _ => false,
            };
        }
        for volume in volumes.volumes.unwrap_or_default() {
            if !volume.labels.contains_key(PROBE) {
                found.extend(id_of(&volume.labels));
            }
        }
        for probe in probes {
            if let Err(fault) = self.take_away(probe).await {
                tracing::warn!(error = fault.text, "what is left of a probe can't be removed now");
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// Whether a container is in a state that Docker doesn't know: podman calls a container that ended
/// `stopped` until it has tidied up after it.
pub(super) fn is_nameless(error: &Error) -> bool {
    !matches!(error, Error::DockerResponseServerError { .. }) && error.to_string().contains("unknown variant `stopped`")
}

/// Inspects a container, if need be as soon as podman has tidied up after it.
pub(super) async fn inspect(client: &Client, container: &str) -> Result<ContainerInspectResponse, Error> {
    let look = || {
        client
            .quick
            .inspect_container(container, None::<InspectContainerOptions>)
    };
    let mut looks = tokio::time::interval(NAMELESS_MAX / NAMELESS_LOOKS);
    for _ in 1..NAMELESS_LOOKS {
        looks.tick().await;
        match look().await {
            Err(error) if is_nameless(&error) => {}
            looked => return looked,
        }
    }
    look().await
}

fn id_of(labels: &HashMap<String, String>) -> Option<ExecutionId> {
    labels.get(EXECUTION)?.parse().ok()
}
