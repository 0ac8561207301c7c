//! Artifacts in and out as streams: a signed PUT, a signed GET, and reading as an owner.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use super::contract::ArtifactUploaded;
use super::links::{LinkKind, LinkParts};
use super::{Answer, Control};
use crate::blobs::{BlobError, Stored};
use crate::domain::{Actor, Artifact, ArtifactId, Code, Digest, Refusal};
use crate::redact::Clean;
use crate::store::{Upload, UploadKind};

/// How long a body may say nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// An artifact on its way out. What is in it was scrubbed when it was collected.
pub struct ArtifactBody {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// Of the content.
    pub digest: Digest,
    /// The content; the last item is an error if the digest doesn't match.
    pub stream: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl Control {
    /// An artifact that exists for this actor.
    ///
    /// # Errors
    /// A refusal when it doesn't, or when the artifact store can't give it.
    pub async fn read_artifact(&self, actor: &Actor, id: ArtifactId) -> Result<ArtifactBody, Clean<Refusal>> {
        let found = self.artifact_seen(actor, id).await;
        match found {
            Ok(artifact) => self
                .body(artifact)
                .await
                .map_err(|refusal| self.rules().refusal(refusal)),
            Err(refusal) => Err(self.rules().refusal(refusal)),
        }
    }

    async fn artifact_seen(&self, actor: &Actor, id: ArtifactId) -> Result<Artifact, Refusal> {
        let artifact = self.store().artifact_get(id).await?;
        artifact
            .filter(|artifact| actor.sees(&artifact.owner))
            .ok_or_else(|| Refusal::not_found("artifact"))
    }

    /// The artifact that a signed link opens.
    ///
    /// # Errors
    /// A refusal when the link is forged, expired, or what it opened is gone.
    pub async fn download(&self, link: LinkParts<'_>) -> Result<ArtifactBody, Clean<Refusal>> {
        let opened = self.open_link(link).await;
        match opened {
            Ok(artifact) => self
                .body(artifact)
                .await
                .map_err(|refusal| self.rules().refusal(refusal)),
            Err(refusal) => Err(self.rules().refusal(refusal)),
        }
    }

    async fn open_link(&self, link: LinkParts<'_>) -> Result<Artifact, Refusal> {
        if !self.0.rooms.links.check(LinkKind::Artifact, &link, self.now()) {
            return Err(bad_link());
        }
        let id = link.id.parse().map_err(|_| bad_link())?;
        self.store().artifact_get(id).await?.ok_or_else(bad_link)
    }

    async fn body(&self, artifact: Artifact) -> Result<ArtifactBody, Refusal> {
        Ok(ArtifactBody {
            stream: self.blobs().stream(artifact.blob()).await?,
            name: artifact.name,
            media_type: artifact.media_type,
            size: artifact.size,
            digest: artifact.digest,
        })
    }

    /// Takes the body of a signed PUT. The link works once; a transfer that breaks off gives it back.
    pub async fn receive<S, E>(&self, link: LinkParts<'_>, body: S) -> Answer
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        let result = self.receive_upload(link, body).await;
        self.answer(result)
    }

    async fn receive_upload<S, E>(&self, link: LinkParts<'_>, body: S) -> Result<ArtifactUploaded, Refusal>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        if !self.0.rooms.links.check(LinkKind::Upload, &link, self.now()) {
            return Err(bad_link());
        }
        let upload = self.store().upload_get(link.id).await?;
        let upload = upload
            .filter(|upload| upload.kind == UploadKind::Link)
            .ok_or_else(bad_link)?;
        if !self.store().upload_take(&upload.id, self.now()).await? {
            return Err(bad_link());
        }
        match self.take_in(&upload, body).await {
            Ok(answer) => Ok(answer),
            Err(refusal) => {
                self.store().upload_release(&upload.id).await?;
                Err(refusal)
            }
        }
    }

    async fn take_in<S, E>(&self, upload: &Upload, body: S) -> Result<ArtifactUploaded, Refusal>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        let task = self.store().task_get(upload.task).await?.ok_or_else(bad_link)?;
        let stored = self.stream_in(body, upload.digest).await?;
        self.attach_input(&task, &upload.name, stored).await
    }

    async fn stream_in<S, E>(&self, mut body: S, expected: Option<Digest>) -> Result<Stored, Refusal>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display,
    {
        let mut writer = self.blobs().writer().await?;
        loop {
            let next = tokio::time::timeout(SILENCE, body.next()).await;
            let Some(chunk) = next.map_err(|_| {
                Refusal::invalid(
                    format!("nothing came for {} s after {} bytes", SILENCE.as_secs(), writer.size()),
                    "send the whole content again to the same link",
                )
            })?
            else {
                break;
            };
            let chunk = chunk.map_err(|error| {
                Refusal::invalid(
                    format!("the transfer broke off after {} bytes: {error}", writer.size()),
                    "send the whole content again to the same link",
                )
            })?;
            self.check_size(writer.size() + chunk.len() as u64)?;
            writer.write(&chunk).await?;
        }
        Ok(writer.finish(expected).await?)
    }
}

impl Control {
    /// Attaches a file of this machine to a task, streamed; for the command line.
    pub async fn upload_file(&self, actor: &Actor, task: &str, name: &str, file: tokio::fs::File) -> Answer {
        let result = self.take_file(actor, task, name, file).await;
        self.answer(result)
    }

    async fn take_file(
        &self,
        actor: &Actor,
        task: &str,
        name: &str,
        file: tokio::fs::File,
    ) -> Result<ArtifactUploaded, Refusal> {
        super::validate::artifact_name(name)?;
        let task = self.task_for(actor, task).await?;
        let stored = self.stream_in(tokio_util::io::ReaderStream::new(file), None).await?;
        self.attach_input(&task, name, stored).await
    }

    /// Writes a little content to the artifact store, and reads it back; for `clawhand doctor`.
    ///
    /// # Errors
    /// A refusal when the store doesn't do what it should.
    pub async fn check_blobs(&self) -> Result<(), Refusal> {
        let content = Bytes::from_static(b"clawhand doctor\n");
        let stored = self.blobs().put(content.clone()).await?;
        let read = self.blobs().read(stored.blob(), 1024).await;
        self.blobs().delete(stored.blob()).await?;
        read?;
        Ok(())
    }
}

/// One text for every way in which a link can be wrong, so that nothing can be learned by trying.
fn bad_link() -> Refusal {
    Refusal::new(
        Code::InvalidLink,
        "this link is not valid: it is expired, used up, or not from here",
        "ask for a new one: upload_artifact for uploads, get_result for downloads",
    )
}
