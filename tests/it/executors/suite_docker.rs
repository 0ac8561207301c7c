//! A Docker daemon keeps the contract. The daemon is the one of `tests/run.sh`, with images that were made for it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use clawhand::domain::target::{DockerBlock, PullPolicy};
use clawhand::domain::{Clock, ExecutionId, UnixMs};
use clawhand::executors::{DockerExecutor, Executor, Handle};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::rig::processes_of;
use super::suite::{System, keeps_the_contract};

/// Held by whoever needs the daemon, and alone by who takes it away for a while.
static AWAY: RwLock<()> = RwLock::const_new(());

/// The daemon of this test run.
pub struct Daemon {
    pub docker: Docker,
    pub endpoint: String,
    scratch: tempfile::TempDir,
    _shared: Option<RwLockReadGuard<'static, ()>>,
    _alone: Option<RwLockWriteGuard<'static, ()>>,
}

impl Daemon {
    /// Nothing where there is none; in CI that is a failure.
    pub async fn find() -> Option<Self> {
        Some(Self {
            _shared: Some(AWAY.read().await),
            ..Self::connect()?
        })
    }

    /// The same, with nobody else at it.
    pub async fn find_alone() -> Option<Self> {
        Some(Self {
            _alone: Some(AWAY.write().await),
            ..Self::connect()?
        })
    }

    /// The podman that is there beside it.
    pub async fn find_podman() -> Option<Self> {
        Self::connect_to("CLAWHAND_TEST_PODMAN")
    }

    fn connect() -> Option<Self> {
        Self::connect_to("CLAWHAND_TEST_DOCKER")
    }

    fn connect_to(variable: &str) -> Option<Self> {
        let Some(endpoint) = said(variable) else {
            assert!(said("CI").is_none(), "{variable} is not set");
            eprintln!("left out: {variable} is not set; tests/run.sh starts a daemon");
            return None;
        };
        let path = endpoint.strip_prefix("unix://").expect("a socket");
        Some(Self {
            docker: Docker::connect_with_unix(
                path,
                120,
                &bollard::ClientVersion {
                    major_version: 1,
                    minor_version: 41,
                },
            )
            .expect("connects"),
            endpoint,
            scratch: tempfile::tempdir().expect("makes a folder"),
            _shared: None,
            _alone: None,
        })
    }

    /// With the small image.
    pub fn block(&self) -> DockerBlock {
        let image = said("CLAWHAND_TEST_IMAGE").unwrap_or_else(|| "clawhand-test/busybox:1".to_owned());
        DockerBlock {
            endpoint: self.endpoint.clone(),
            pull: PullPolicy::Never,
            ..DockerBlock::of_image(image)
        }
    }

    /// An executor that shares nothing with another one.
    pub fn with(&self, block: DockerBlock) -> DockerExecutor {
        let now = Clock::new(|| UnixMs(0));
        DockerExecutor::new(Arc::default(), self.scratch.path().to_path_buf(), now, block)
    }

    pub async fn containers(&self, execution: ExecutionId) -> Vec<String> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&label(execution))
            .build();
        let found = self.docker.list_containers(Some(options)).await.expect("lists");
        found.into_iter().filter_map(|one| one.id).collect()
    }
}

fn label(execution: ExecutionId) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("io.clawhand.execution={execution}")])])
}

/// What whoever started the tests says.
pub fn said(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// The container of an attempt.
pub fn container(handle: &Handle) -> String {
    format!("clawhand-{}", handle.attempt)
}

#[async_trait]
impl System for Daemon {
    fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.with(self.block()))
    }

    async fn processes(&self, handle: &Handle) -> Vec<String> {
        let found = processes_of(&[handle.attempt.to_string()]);
        found.iter().map(i32::to_string).collect()
    }

    async fn remains(&self, execution: ExecutionId) -> Vec<String> {
        let options = ListVolumesOptionsBuilder::default().filters(&label(execution)).build();
        let volumes = self.docker.list_volumes(Some(options)).await.expect("lists");
        let volumes = volumes.volumes.into_iter().flatten().map(|volume| volume.name);
        self.containers(execution).await.into_iter().chain(volumes).collect()
    }

    async fn in_sight(&self, handle: &Handle) -> String {
        let name = container(handle);
        let spec = self
            .docker
            .inspect_container(&name, None::<InspectContainerOptions>)
            .await;
        let volume = self.docker.inspect_volume(&handle.place).await.expect("looks");
        let files = std::process::Command::new("grep")
            .args(["-r", "--devices=skip", "", &volume.mountpoint])
            .output();
        let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
        let lines = numbers.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        let lines: Vec<u8> = lines.flatten().collect();
        [
            format!("{:?}", spec.expect("looks")),
            String::from_utf8_lossy(&files.expect("greps").stdout).into_owned(),
            String::from_utf8_lossy(&lines).into_owned(),
        ]
        .join("\n")
    }
}

keeps_the_contract!(async { Daemon::find().await });

/// The same API, made of other parts.
mod podman {
    use super::*;

    keeps_the_contract!(async { Daemon::find_podman().await });
}
