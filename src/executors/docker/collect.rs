//! Bringing files back: the folders that globs can match in, as archives from the volume.
//!
//! The daemon reads the volume itself and would follow a link that the work left, though never out of the container.
//! So each folder on the way to what is asked for is looked at first; the work is over by then, and nothing changes.

use bollard::container::PathStatResponse;
use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder};
use futures_util::TryStreamExt as _;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::DockerExecutor;
use super::container::{WORK, holder_name};
use super::fault::{Fault, Kind};
use super::parcel::{Collector, places};
use super::pool::Client;
use crate::domain::ExecutionId;
use crate::executors::contract::{CollectLimit, Collected};

/// Bits of the mode that the daemon tells: a folder, a link.
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum There {
    Nothing,
    Link,
    Something,
}

impl DockerExecutor {
    pub(super) async fn bring(
        &self,
        execution: ExecutionId,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, Fault> {
        let client = self.client().await?;
        self.learn_of_workspace(&client, execution).await?;
        let holder = holder_name(execution);
        let mut found = Collector::new(globs, limit, &self.scratch).map_err(Fault::from)?;
        let mut todo = places(globs);
        while let Some(place) = todo.pop() {
            match self.way_to(&client, &holder, &place).await? {
                There::Nothing => {}
                There::Link => found.link(&place),
                There::Something => found = self.take(&client, &holder, &place, found).await?,
            }
            // Asked for by itself, such a file comes with its content.
            todo.append(&mut found.linked);
        }
        Ok(found.finish())
    }

    async fn way_to(&self, client: &Client, holder: &str, place: &str) -> Result<There, Fault> {
        if place.is_empty() {
            return Ok(There::Something);
        }
        for (end, _) in place.match_indices('/') {
            let folder = &place[..end];
            match self.mode(client, holder, folder).await? {
                Some(mode) if mode & FOLDER != 0 && mode & LINK == 0 => {}
                // What lies behind a link is not in the workspace.
                _ => return Ok(There::Nothing),
            }
        }
        Ok(match self.mode(client, holder, place).await? {
            None => There::Nothing,
            Some(mode) if mode & LINK != 0 => There::Link,
            Some(_) => There::Something,
        })
    }

    async fn mode(&self, client: &Client, holder: &str, path: &str) -> Result<Option<u32>, Fault> {
        let there = self.at_path(client, holder, &format!("{WORK}/{path}")).await?;
        Ok(there.map(|there| there.file_mode))
    }

    /// What is at a path of the volume.
    pub(super) async fn at_path(
        &self,
        client: &Client,
        holder: &str,
        path: &str,
    ) -> Result<Option<PathStatResponse>, Fault> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        match client.quick.get_container_archive_info(holder, Some(options)).await {
            Ok(there) => Ok(Some(there)),
            // An answer to HEAD has no body, so nothing is known but the number.
            Err(error) => match Fault::of("look into the volume", &error) {
                fault if matches!(fault.kind, Kind::NotFound | Kind::NoImage | Kind::NoShell) => Ok(None),
                fault => Err(self.unanswered(fault)),
            },
        }
    }

    async fn take(&self, client: &Client, holder: &str, place: &str, mut found: Collector) -> Result<Collector, Fault> {
        let full = format!("{WORK}/{place}");
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(full.trim_end_matches('/'))
            .build();
        let docker = client.slow.clone();
        let stream = docker.download_from_container(holder, Some(options));
        let reader = StreamReader::new(Box::pin(stream.map_err(std::io::Error::other)));
        let (bridge, place) = (SyncIoBridge::new(reader), place.to_owned());
        let read = tokio::task::spawn_blocking(move || found.read(bridge, &place).map(|()| found)).await;
        match read {
            Ok(read) => read.map_err(Fault::from),
            Err(error) => Err(Fault::new(
                Kind::Unreachable,
                format!("reading the outputs ended early: {error}"),
            )),
        }
    }
}
