//! temporary
#![allow(missing_docs)]
use crate::domain::Digest;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::path::{Path, PathBuf};
#[derive(Clone, Debug)]
pub struct BlobSettings {
    pub url: String,
    pub scratch: PathBuf,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub allow_http: bool,
}
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("nf")]
    NotFound,
    #[error("mm")]
    Mismatch { expected: Digest, found: Digest },
    #[error("f")]
    Full(String),
    #[error("u")]
    Unavailable(String),
}
#[derive(Clone)]
pub struct Blobs(PathBuf);
pub struct BlobWriter(PathBuf, Vec<u8>);
pub struct Stored {
    pub digest: Digest,
    pub size: u64,
}
impl Blobs {
    pub fn open(s: &BlobSettings) -> Result<Blobs, BlobError> {
        let p = PathBuf::from(s.url.strip_prefix("file://").unwrap());
        std::fs::create_dir_all(&p).unwrap();
        Ok(Blobs(p))
    }
    pub async fn writer(&self) -> Result<BlobWriter, BlobError> {
        Ok(BlobWriter(self.0.clone(), vec![]))
    }
    pub async fn put(&self, b: Bytes) -> Result<Stored, BlobError> {
        let mut w = self.writer().await?;
        w.write(&b).await?;
        w.finish(None).await
    }
    pub async fn stream(&self, d: Digest) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let b = self.read(d, 0).await?;
        Ok(futures_util::stream::iter([Ok(b)]).boxed())
    }
    pub async fn read(&self, d: Digest, _m: u64) -> Result<Bytes, BlobError> {
        Ok(std::fs::read(self.0.join(d.hex()))
            .map_err(|_| BlobError::NotFound)?
            .into())
    }
    pub async fn fetch(&self, d: Digest, to: &Path) -> Result<(), BlobError> {
        std::fs::write(to, self.read(d, 0).await?).unwrap();
        Ok(())
    }
    pub async fn delete(&self, _d: Digest) -> Result<(), BlobError> {
        Ok(())
    }
}
impl BlobWriter {
    pub async fn write(&mut self, b: &[u8]) -> Result<(), BlobError> {
        self.1.extend_from_slice(b);
        Ok(())
    }
    pub fn size(&self) -> u64 {
        self.1.len() as u64
    }
    pub async fn finish(self, _e: Option<Digest>) -> Result<Stored, BlobError> {
        let d = Digest::of(&self.1);
        std::fs::write(self.0.join(d.hex()), &self.1).unwrap();
        Ok(Stored {
            digest: d,
            size: self.1.len() as u64,
        })
    }
}
