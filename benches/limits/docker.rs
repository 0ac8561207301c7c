//! The docker executor beside the four calls of the API that a container of the same image takes.

use std::sync::Arc;

use anyhow::Context as _;
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use clawhand::app::system_clock;
use clawhand::config::Environment;
use clawhand::domain::target::{DockerBlock, PullPolicy};
use clawhand::executors::{DockerExecutor, Executor};
use futures_util::TryStreamExt as _;

use crate::step::{self, Part};
use crate::table::Goal;

const ROUNDS: usize = 5;
/// At once, and how many in a round.
const CLIENTS: [(usize, usize); 2] = [(1, 6), (8, 16)];
/// What an attempt may cost over the calls, in milliseconds.
const GOAL: Goal = Goal::AtMost(30.0, " ms more");

/// Measures `true` in a container: by bare calls, as an attempt, and as an execution with all around it.
pub async fn measure(environment: &Environment) -> anyhow::Result<()> {
    let named = ("CLAWHAND_TEST_DOCKER", "CLAWHAND_TEST_IMAGE");
    let (Some(endpoint), Some(image)) = (environment.get(named.0), environment.get(named.1)) else {
        println!(
            "left out: docker, because {} and {} are not set; see tests/run.sh bench",
            named.0, named.1
        );
        return Ok(());
    };
    let socket = endpoint
        .strip_prefix("unix://")
        .context("CLAWHAND_TEST_DOCKER is no socket")?;
    let docker = Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    let block = DockerBlock {
        endpoint: endpoint.to_owned(),
        pull: PullPolicy::Never,
        ..DockerBlock::of_image(image)
    };
    let scratch = tempfile::Builder::new().prefix("clawhand-limits-").tempdir()?;
    let executor = DockerExecutor::new(Arc::default(), scratch.path().to_owned(), system_clock(), block);
    let executor: Arc<dyn Executor> = Arc::new(executor);
    let of_part = Part {
        title: "docker executor: one step, `true`",
        rounds: ROUNDS,
        clients: &CLIENTS,
        goal: GOAL,
    };
    let image = image.to_owned();
    step::compare(&of_part, &executor, move || container(docker.clone(), image.clone())).await
}

/// The floor: create, start, wait, remove.
async fn container(docker: Docker, image: String) -> anyhow::Result<()> {
    let body = ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec!["true".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let made = docker.create_container(None::<CreateContainerOptions>, body).await?;
    docker.start_container(&made.id, None::<StartContainerOptions>).await?;
    let ends: Vec<_> = docker
        .wait_container(&made.id, None::<WaitContainerOptions>)
        .try_collect()
        .await?;
    anyhow::ensure!(ends.iter().all(|end| end.status_code == 0), "true said no");
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    Ok(docker.remove_container(&made.id, Some(force)).await?)
}
