//! How a blob gets in: through a scratch file, hashed on the way.

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::scratch::Part;
use super::{BlobError, Blobs, Stored, blocking};
use crate::domain::Digest;

/// A blob in the making. Dropped before it is finished, nothing is left of it.
pub struct BlobWriter {
    blobs: Blobs,
    part: Part,
    file: tokio::fs::File,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    pub(super) async fn begin(blobs: Blobs) -> Result<Self, BlobError> {
        let scratch = blobs.clone();
        let part = blocking(move || scratch.0.scratch.create()).await?;
        let file = part.to_async()?;
        Ok(Self {
            blobs,
            part,
            file,
            hasher: Sha256::new(),
            size: 0,
        })
    }

    /// Adds bytes. After an error the blob can't be finished any more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .await
            .map_err(|error| BlobError::io(self.part.path(), &error))
    }

    /// How many bytes were written.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Stores the blob, durably, if its digest is the expected one.
    pub async fn finish(mut self, expected: Option<Digest>) -> Result<Stored, BlobError> {
        // What was written may still be on its way to the file; an error of it is told here.
        self.file
            .flush()
            .await
            .map_err(|error| BlobError::io(self.part.path(), &error))?;
        let found = Digest::from_bytes(self.hasher.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(BlobError::Mismatch { expected, found });
        }
        let length = self
            .file
            .metadata()
            .await
            .map_err(|error| BlobError::io(self.part.path(), &error))?
            .len();
        if length != self.size {
            // A write failed or was given up half way, and the caller went on all the same.
            return Err(BlobError::Unavailable("an earlier write of this blob failed".into()));
        }
        self.blobs.keep(self.part, Stored::new(found, self.size)).await
    }
}
