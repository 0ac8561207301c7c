//! Making the volume of an execution and laying its inputs there.

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio_util::io::ReaderStream;

use super::DockerExecutor;
use super::container::{self, ATTEMPT, PROBE, ROOT, holder_name, labels, volume_name};
use super::fault::{Fault, Kind};
use super::parcel;
use super::pool::Client;
use super::start::Force;
use crate::domain::ExecutionId;
use crate::domain::target::PullPolicy;
use crate::executors::contract::Input;

/// What a workspace is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Execution,
    Probe,
}

impl DockerExecutor {
    /// Makes the volume and its holder. Before the first attempt was started it begins from nothing each time; after
    /// that the workspace holds work, and is found rather than made.
    pub(super) async fn lay_out(
        &self,
        execution: ExecutionId,
        inputs: &[Input],
        purpose: Purpose,
    ) -> Result<(), Fault> {
        let client = self.client().await?;
        if self.has_work(&client, execution).await? {
            return Ok(());
        }
        self.ensure_image(&client).await?;
        let packed = self.pack(inputs).await?;
        let mut marks = labels(execution, &[]);
        if purpose == Purpose::Probe {
            marks.insert(PROBE.to_owned(), "1".to_owned());
        }
        let volume = VolumeCreateRequest {
            name: Some(volume_name(execution)),
            labels: Some(marks.clone()),
            ..VolumeCreateRequest::default()
        };
        let made = client.slow.create_volume(volume).await;
        made.map_err(|error| self.unanswered(Fault::of("make the volume", &error)))?;
        let options = CreateContainerOptionsBuilder::default()
            .name(&holder_name(execution))
            .build();
        let body = container::holder(&self.block, execution, marks);
        let made = client.slow.create_container(Some(options), body).await;
        let made = made.map_err(|error| self.unanswered(Fault::of("make the holder of the volume", &error)))?;
        let options = UploadToContainerOptionsBuilder::default().path(ROOT).build();
        let body = bollard::body_try_stream(ReaderStream::new(packed));
        let laid = client.slow.upload_to_container(&made.id, Some(options), body).await;
        laid.map_err(|error| self.unanswered(Fault::of("lay the inputs into the volume", &error)))
    }

    /// Whether an attempt was started in the volume. If none was, what is there of the execution is removed.
    async fn has_work(&self, client: &Client, execution: ExecutionId) -> Result<bool, Fault> {
        let containers = self.containers(client, Some(execution)).await?;
        for container in &containers {
            let is_attempt = container
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(ATTEMPT));
            let is_created = container.state == Some(bollard::models::ContainerSummaryStateEnum::CREATED);
            if is_attempt && !is_created {
                return Ok(true);
            }
        }
        for container in &containers {
            if let Some(id) = &container.id {
                self.remove(client, id, Force::No).await?;
            }
        }
        self.remove_volume(client, execution).await?;
        Ok(false)
    }

    /// Lays the inputs out on clawhand's machine, and packs them with the run user as their owner.
    async fn pack(&self, inputs: &[Input]) -> Result<tokio::fs::File, Fault> {
        let (inputs, scratch, owner) = (inputs.to_vec(), self.scratch.clone(), self.block.user);
        let packed = tokio::task::spawn_blocking(move || parcel::packed(&inputs, &scratch, owner)).await;
        match packed {
            Ok(packed) => Ok(tokio::fs::File::from_std(packed?)),
            Err(error) => Err(Fault::new(
                Kind::Unreachable,
                format!("packing the inputs ended early: {error}"),
            )),
        }
    }

    /// Sees that the image is there, as the target's rule for it says.
    async fn ensure_image(&self, client: &Client) -> Result<(), Fault> {
        let name = &self.block.image;
        if self.block.pull != PullPolicy::Always {
            match client.quick.inspect_image(name).await {
                Ok(_) => return Ok(()),
                Err(error) => match Fault::of("look at the image", &error) {
                    fault if fault.kind == Kind::NoImage && self.block.pull == PullPolicy::Missing => {}
                    fault => return Err(self.unanswered(fault)),
                },
            }
        }
        // Without a tag the daemon would fetch all of them.
        let has_tag = name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let tag = if has_tag { "" } else { "latest" };
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        let mut pulling = Box::pin(client.slow.create_image(Some(options), None, None));
        while let Some(progress) = pulling.next().await {
            let failed = match progress {
                Ok(info) => info.error_detail.and_then(|detail| detail.message),
                // What the daemon answers is about the image or its registry; anything else is about the daemon.
                Err(error @ bollard::errors::Error::DockerResponseServerError { .. }) => Some(error.to_string()),
                Err(error) => return Err(self.unanswered(Fault::of("pull the image", &error))),
            };
            if let Some(why) = failed {
                return Err(Fault::new(
                    Kind::NoImage,
                    format!("failed to pull the image {name}: {why}"),
                ));
            }
        }
        Ok(())
    }
}
