//! `upload_artifact`: a file in the call, in parts, or by a link; then the plan as it is with it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::contract::{ArtifactUploaded, UploadArtifact, UploadedArtifact};
use super::links::LinkKind;
use super::{Answer, Control, listing, require, validate};
use crate::blobs::Stored;
use crate::domain::{Actor, Artifact, ArtifactId, ArtifactRole, Blob, Code, Digest, Refusal, Scope, Task};
use crate::store::{ArtifactInsert, PartInsert, Upload, UploadKind};

/// How long an upload waits for its turn to be looked at.
const TURN: Duration = Duration::from_secs(10);
/// How many are looked at at once.
pub(super) const LISTINGS: usize = 4;

impl Control {
    /// Attaches a file to a task.
    pub async fn upload_artifact(&self, actor: &Actor, args: UploadArtifact) -> Answer {
        let result = self.upload(actor, args).await;
        self.answer(result)
    }

    async fn upload(&self, actor: &Actor, args: UploadArtifact) -> Result<ArtifactUploaded, Refusal> {
        require(actor, Scope::Tasks)?;
        validate::artifact_name(&args.name)?;
        let digest = args.digest.as_deref().map(parse_digest).transpose()?;
        let task = self.task_for(actor, &args.task_id).await?;
        if self.store().execution_last(task.id).await?.is_some() {
            return Err(task_started());
        }
        let Some(bytes) = content(&args)? else {
            return self.link(&task, args.name, digest).await;
        };
        self.check_size(args.offset.unwrap_or(0).saturating_add(bytes.len() as u64))?;
        match args.offset {
            None if args.last == Some(false) => self.part(&task, &args, 0, bytes).await,
            None => {
                if let Some(digest) = digest {
                    expect(digest, Digest::of(&bytes))?;
                }
                let stored = self.blobs().put(bytes).await?;
                self.attach_input(&task, &args.name, stored).await
            }
            Some(offset) => self.part(&task, &args, offset, bytes).await,
        }
    }

    pub(super) fn check_size(&self, size: u64) -> Result<(), Refusal> {
        let max = self.0.settings.max_artifact;
        if size <= max {
            return Ok(());
        }
        Err(Refusal::new(
            Code::TooLarge,
            format!("the artifact has {size} bytes or more; {max} are allowed"),
            "leave out what the work doesn't need, such as build output and dependencies",
        ))
    }

    /// One part of an artifact; the last one makes it whole.
    async fn part(
        &self,
        task: &Task,
        args: &UploadArtifact,
        offset: u64,
        bytes: Bytes,
    ) -> Result<ArtifactUploaded, Refusal> {
        let upload = self.parts_of(task, args, offset).await?;
        let end = offset + bytes.len() as u64;
        let now_at = match self.store().upload_part(&upload.id, offset, &bytes).await? {
            PartInsert::Stored => end,
            // A part that was sent again, because its answer got lost.
            PartInsert::Expected(next) if end <= next => next,
            PartInsert::Expected(next) => {
                return Err(Refusal::invalid(
                    format!("this part begins at {offset}, but the next one begins at {next}"),
                    format!("send the part with offset {next}, or begin again with offset 0"),
                ));
            }
        };
        if args.last != Some(true) {
            let planned = self.replan_leniently(task).await?;
            return Ok(ArtifactUploaded {
                artifact: UploadedArtifact {
                    name: args.name.clone(),
                    size: now_at,
                    digest: None,
                },
                upload_url: None,
                upload_expires_at: None,
                next_offset: Some(now_at),
                plan: planned.plan_view(),
                needs: planned.need_views(),
            });
        }
        let digest = args.digest.as_deref().map(parse_digest).transpose()?;
        let stored = self.join_parts(&upload, digest.or(upload.digest)).await?;
        let answer = self.attach_input(task, &args.name, stored).await?;
        self.store().upload_delete(&upload.id).await?;
        Ok(answer)
    }

    /// The upload that a part belongs to; one at offset 0 begins anew.
    async fn parts_of(&self, task: &Task, args: &UploadArtifact, offset: u64) -> Result<Upload, Refusal> {
        let open = self.store().upload_find(task.id, &args.name).await?;
        match open {
            Some(upload) if offset > 0 => Ok(upload),
            None if offset > 0 => Err(Refusal::invalid(
                format!("no upload of {} has begun", args.name),
                "send the first part with offset 0",
            )),
            earlier => {
                if let Some(earlier) = earlier {
                    self.store().upload_delete(&earlier.id).await?;
                }
                let digest = args.digest.as_deref().map(parse_digest).transpose()?;
                self.new_upload(task, &args.name, digest, UploadKind::Parts).await
            }
        }
    }

    async fn join_parts(&self, upload: &Upload, expected: Option<Digest>) -> Result<Stored, Refusal> {
        let mut writer = self.blobs().writer().await?;
        while let Some(part) = self.store().upload_part_at(&upload.id, writer.size()).await? {
            writer.write(&part).await?;
        }
        Ok(writer.finish(expected).await?)
    }

    /// A link to PUT a large file to.
    async fn link(&self, task: &Task, name: String, digest: Option<Digest>) -> Result<ArtifactUploaded, Refusal> {
        let upload = self.new_upload(task, &name, digest, UploadKind::Link).await?;
        let Some(url) = self.0.rooms.links.make(LinkKind::Upload, &upload.id, upload.expires_at) else {
            self.store().upload_delete(&upload.id).await?;
            return Err(Refusal::invalid(
                "neither content nor content_base64 was given, and there are no upload links over stdio",
                "give content, or content_base64 in parts with offset and last",
            ));
        };
        let planned = self.replan_leniently(task).await?;
        Ok(ArtifactUploaded {
            artifact: UploadedArtifact {
                name,
                size: 0,
                digest: None,
            },
            upload_url: Some(url),
            upload_expires_at: Some(upload.expires_at.to_string()),
            next_offset: None,
            plan: planned.plan_view(),
            needs: planned.need_views(),
        })
    }

    async fn new_upload(
        &self,
        task: &Task,
        name: &str,
        digest: Option<Digest>,
        kind: UploadKind,
    ) -> Result<Upload, Refusal> {
        let now = self.now();
        let upload = Upload {
            id: uuid::Uuid::now_v7().simple().to_string(),
            task: task.id,
            owner: task.owner.clone(),
            name: name.to_owned(),
            digest,
            offset: 0,
            kind,
            created_at: now,
            expires_at: now.after(self.0.settings.upload_link_expires),
            used_at: None,
        };
        if self.store().upload_insert(&upload).await? {
            return Ok(upload);
        }
        Err(Refusal::new(
            Code::Busy,
            format!("another upload of {name} has just begun"),
            "let one upload of a name finish before you begin the next",
        ))
    }

    /// Makes what was stored an input of the task, and plans with it.
    pub(super) async fn attach_input(
        &self,
        task: &Task,
        name: &str,
        stored: Stored,
    ) -> Result<ArtifactUploaded, Refusal> {
        // Until it is offered to the store nobody else can know this copy.
        let listing = match self.listing_of(name, stored.blob()).await {
            Ok(listing) => listing,
            Err(refusal) => return Err(self.discard(stored, refusal).await),
        };
        let artifact = Artifact {
            id: ArtifactId::random(),
            task: task.id,
            execution: None,
            owner: task.owner.clone(),
            role: ArtifactRole::Input,
            name: name.to_owned(),
            size: stored.size,
            digest: stored.digest,
            copy: stored.copy,
            media_type: "application/octet-stream".into(),
            listing,
            created_at: self.now(),
        };
        match self.store().artifact_insert_input(&artifact).await? {
            ArtifactInsert::Stored => {}
            ArtifactInsert::TaskStarted => return Err(self.discard(stored, task_started()).await),
            ArtifactInsert::NoTask => return Err(self.discard(stored, Refusal::not_found("task")).await),
        }
        tracing::info!(task.id = %task.id, artifact.name = name, size_bytes = stored.size, "artifact uploaded");
        let planned = self.replan_leniently(task).await?;
        Ok(ArtifactUploaded {
            artifact: UploadedArtifact {
                name: name.to_owned(),
                size: stored.size,
                digest: Some(stored.digest.to_string()),
            },
            upload_url: None,
            upload_expires_at: None,
            next_offset: None,
            plan: planned.plan_view(),
            needs: planned.need_views(),
        })
    }

    /// Removes a copy that no row refers to nor ever will. After an error of the database it must stay: what was not
    /// acknowledged may be stored all the same.
    async fn discard(&self, stored: Stored, refusal: Refusal) -> Refusal {
        if let Err(error) = self.blobs().delete(stored.blob()).await {
            tracing::warn!(digest = %stored.digest, %error, "a refused upload can't be removed from the artifact store");
        }
        refusal
    }

    /// The turn of an archive to be looked at: a small one may expand to gigabytes before it is refused, so there are
    /// few at once. A plain file needs none.
    async fn turn(&self, name: &str) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        if !Artifact::is_archive(name) {
            return Ok(None);
        }
        let turn = tokio::time::timeout(TURN, self.0.listings.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).map(Some).ok_or_else(|| {
            Refusal::new(
                Code::Busy,
                "too many archives are being looked at now; this one was not kept",
                "upload it again in a moment",
            )
        })
    }

    async fn listing_of(&self, name: &str, blob: Blob) -> Result<crate::domain::Listing, Refusal> {
        let turn = self.turn(name).await?;
        let scratch = self.0.settings.scratch.join(uuid::Uuid::now_v7().simple().to_string());
        self.blobs().fetch(blob, &scratch).await?;
        let (path, name) = (scratch, name.to_owned());
        let listed = tokio::task::spawn_blocking(move || {
            // Over when the work is, not when the caller goes away.
            let _turn = turn;
            let opened = std::fs::File::open(&path);
            // The open file stays readable; the name is not needed any more, whatever happens next.
            let _ = std::fs::remove_file(&path);
            match opened {
                Ok(file) => listing::of(&name, file),
                Err(error) => {
                    tracing::error!(%error, "an upload can't be read back from scratch");
                    Err(Refusal::new(
                        Code::StorageUnavailable,
                        "the upload can't be read back",
                        "upload it again",
                    ))
                }
            }
        });
        listed.await.map_err(|error| {
            tracing::error!(%error, "listing an artifact panicked");
            Refusal::new(Code::Internal, "this artifact can't be looked at", "tell the operator")
        })?
    }
}

/// The bytes in the call; none when a link is wanted.
fn content(args: &UploadArtifact) -> Result<Option<Bytes>, Refusal> {
    match (&args.content, &args.content_base64) {
        (Some(_), Some(_)) => Err(Refusal::invalid(
            "both content and content_base64 were given",
            "give one of them",
        )),
        (Some(text), None) => Ok(Some(Bytes::from(text.clone()))),
        (None, Some(base64)) => STANDARD
            .decode(base64.as_bytes())
            .map(|bytes| Some(bytes.into()))
            .map_err(|error| {
                Refusal::invalid(
                    format!("content_base64 is not base64: {error}"),
                    "use the standard alphabet with padding and no line breaks",
                )
            }),
        (None, None) => Ok(None),
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|_| Refusal::invalid("digest is not a digest", "write sha256: and 64 hexadecimal digits"))
}

fn expect(expected: Digest, found: Digest) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(crate::blobs::BlobError::Mismatch { expected, found }.into())
}

pub(super) fn task_started() -> Refusal {
    Refusal::new(
        Code::AlreadyStarted,
        "this task was started; its inputs can't change any more",
        "submit a new task with the changed files",
    )
}
