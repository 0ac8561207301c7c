//! Artifacts by the digest of their content, in a local folder or in S3.
//!
//! A blob is written once, under `sha256/ab/cdef….COPY`, and never changed; its name is never used again. What was
//! acknowledged is on disk (or in S3), and what is read is what was written: every read computes the digest again.
//! Memory stays bounded however large a blob is, because it passes through a scratch file.
//!
//! Never knows whose a blob is or why it is kept: the store knows which copy stands for a digest, and names those that
//! are to be deleted. Error texts name folders and endpoints; they are for the operator, not for callers.
//!
//! Start reading at [`Blobs`]; how a blob gets in is in `writer.rs`, where it is kept in `place.rs`.

mod place;
mod scratch;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::domain::{Blob, CopyId, Digest};
use place::Place;
use scratch::Scratch;
pub use writer::BlobWriter;

/// Where blobs are kept.
#[derive(Clone)]
pub struct BlobSettings {
    /// `file:///folder` or `s3://bucket/prefix`.
    pub url: String,
    /// A local folder for blobs in the making. For a local store it is best on the same file system.
    pub scratch: PathBuf,
    /// The usual `AWS_*` variables for S3: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` and so on. Those that S3 doesn't know are ignored.
    pub aws: BTreeMap<String, String>,
}

impl fmt::Debug for BlobSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.aws.keys().collect();
        f.debug_struct("BlobSettings")
            .field("url", &self.url)
            .field("scratch", &self.scratch)
            .field("aws", &names)
            .finish()
    }
}

/// What became of a blob that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Of its content.
    pub digest: Digest,
    /// The copy that was written.
    pub copy: CopyId,
    /// Bytes.
    pub size: u64,
}

impl Stored {
    /// A new copy of content that was hashed.
    fn new(digest: Digest, size: u64) -> Self {
        Self {
            digest,
            copy: CopyId::random(),
            size,
        }
    }

    /// Where the bytes are.
    pub const fn blob(&self) -> Blob {
        Blob {
            digest: self.digest,
            copy: self.copy,
        }
    }
}

/// Why a blob can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is none with this name.
    #[error("there is no such blob")]
    NotFound,
    /// The content is not what its digest says.
    #[error("the content has the digest {found}, expected {expected}")]
    Mismatch {
        /// What was promised.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// It is larger than the reader wants to take.
    #[error("the blob has {size} bytes, more than {max}")]
    TooLarge {
        /// Bytes it has.
        size: u64,
        /// Bytes that were allowed.
        max: u64,
    },
    /// No space is left; says where.
    #[error("no space is left: {0}")]
    Full(String),
    /// The folder or the service can't be used now; says why.
    #[error("blobs are unavailable: {0}")]
    Unavailable(String),
}

impl BlobError {
    /// Sorts an error of the file system that happened at `path`.
    fn io(path: &Path, error: &io::Error) -> Self {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// The content of a blob, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, BlobError>>;

/// A handle to the blobs. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    place: Place,
    scratch: Scratch,
}

impl Blobs {
    /// Opens the store and makes its folders. For S3 a default crypto provider of rustls must be installed; nothing is
    /// asked of the service yet. Scratch files that a killed process left behind are removed.
    pub fn open(settings: &BlobSettings) -> Result<Self, BlobError> {
        let place = Place::open(settings)?;
        let scratch = Scratch::open(&settings.scratch)?;
        Ok(Self(Arc::new(Inner { place, scratch })))
    }

    /// Begins a blob whose content comes piece by piece.
    pub async fn writer(&self) -> Result<BlobWriter, BlobError> {
        BlobWriter::begin(self.clone()).await
    }

    /// Stores a blob that is in memory.
    pub async fn put(&self, bytes: Bytes) -> Result<Stored, BlobError> {
        let mut writer = self.writer().await?;
        writer.write(&bytes).await?;
        writer.finish(None).await
    }

    /// Stores the rest of a file, from where it stands to its end.
    pub async fn put_file(&self, mut file: std::fs::File) -> Result<Stored, BlobError> {
        let blobs = self.clone();
        let (part, stored) = blocking(move || {
            let part = blobs.0.scratch.create()?;
            let mut hashing = Hashing {
                inner: part.file(),
                hasher: Sha256::new(),
                size: 0,
            };
            io::copy(&mut file, &mut hashing).map_err(|error| BlobError::io(part.path(), &error))?;
            let stored = Stored::new(Digest::from_bytes(hashing.hasher.finalize().into()), hashing.size);
            Ok((part, stored))
        })
        .await?;
        self.keep(part, stored).await
    }

    /// Reads a blob piece by piece. If the content does not have its digest, the last item is an error: whatever was
    /// made of the pieces must not be used then.
    pub async fn stream(&self, blob: Blob) -> Result<Pieces, BlobError> {
        let (_, pieces) = self.0.place.get(blob).await?;
        Ok(verified(blob.digest, pieces))
    }

    /// Reads a whole blob of at most `max` bytes.
    pub async fn read(&self, blob: Blob, max: u64) -> Result<Bytes, BlobError> {
        let (size, pieces) = self.0.place.get(blob).await?;
        if size > max {
            return Err(BlobError::TooLarge { size, max });
        }
        let mut pieces = verified(blob.digest, pieces);
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > max {
                return Err(BlobError::TooLarge {
                    size: whole.len() as u64,
                    max,
                });
            }
        }
        Ok(whole.freeze())
    }

    /// Copies a blob to a local file, which appears only when it is whole and verified. What was there is replaced, a
    /// link not followed.
    pub async fn fetch(&self, blob: Blob, to: &Path) -> Result<(), BlobError> {
        let folder = to
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        let beside = Scratch::beside(folder);
        let part = self.copied(blob, beside).await?;
        let target = to.to_owned();
        blocking(move || part.move_to(&target).map_err(|error| BlobError::io(&target, &error))).await
    }

    /// Removes a blob; of one that is not there it says nothing.
    pub async fn delete(&self, blob: Blob) -> Result<(), BlobError> {
        self.0.place.delete(blob).await
    }

    /// Makes sure that `kept` is whole: if it is damaged or missing, it is written anew from another copy of the same
    /// content. True when that was needed.
    pub async fn mend(&self, kept: CopyId, from: Blob) -> Result<bool, BlobError> {
        let damaged = Blob { copy: kept, ..from };
        match self.verify(damaged).await {
            Err(BlobError::NotFound | BlobError::Mismatch { .. }) => {}
            result => return result.map(|()| false),
        }
        let scratch = self.0.scratch.beside_it();
        let part = self.copied(from, scratch).await?;
        self.0.place.keep(part, damaged).await?;
        Ok(true)
    }

    async fn verify(&self, blob: Blob) -> Result<(), BlobError> {
        let mut pieces = self.stream(blob).await?;
        while pieces.try_next().await?.is_some() {}
        Ok(())
    }

    /// A file with the verified content of a blob.
    async fn copied(&self, blob: Blob, scratch: Scratch) -> Result<scratch::Part, BlobError> {
        let mut pieces = self.stream(blob).await?;
        let part = blocking(move || scratch.create()).await?;
        let failed = |error: io::Error| BlobError::io(part.path(), &error);
        let mut file = part.to_async()?;
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(part)
    }

    async fn keep(&self, part: scratch::Part, stored: Stored) -> Result<Stored, BlobError> {
        self.0.place.keep(part, stored.blob()).await?;
        Ok(stored)
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blobs(..)")
    }
}

/// Hashes the pieces as they pass and adds an error if the digest is wrong.
fn verified(digest: Digest, pieces: Pieces) -> Pieces {
    stream::unfold(Some((pieces, Sha256::new())), move |state| async move {
        let (mut pieces, mut hasher) = state?;
        match pieces.next().await {
            Some(Ok(piece)) => {
                hasher.update(&piece);
                Some((Ok(piece), Some((pieces, hasher))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => verify(digest, hasher).err().map(|error| (Err(error), None)),
        }
    })
    .boxed()
}

fn verify(expected: Digest, hasher: Sha256) -> Result<(), BlobError> {
    let found = Digest::from_bytes(hasher.finalize().into());
    if found == expected {
        Ok(())
    } else {
        Err(BlobError::Mismatch { expected, found })
    }
}

/// Runs what blocks where it may. It goes on to its end even when the caller is gone.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(BlobError::Unavailable(format!("the work was given up: {error}"))))
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
