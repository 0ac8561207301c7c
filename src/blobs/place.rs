//! Where blobs are kept: a local folder, or a bucket of S3.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig, WriteMultipart};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::scratch::{Part, Scratch, make_folder};
use super::{BlobError, BlobSettings, Pieces, blocking};
use crate::domain::Blob;

/// Larger blobs go to S3 in parts of this size; S3 takes no smaller ones than 5 MiB.
const PART_SIZE: usize = 8 * 1024 * 1024;
/// Parts that are on their way at once. Memory holds one more.
const PARTS_AT_ONCE: usize = 2;
/// Local blobs are read in pieces of this size.
const PIECE_SIZE: usize = 128 * 1024;
/// How long a call may try to reach S3. Callers wait less than 30 s for their answer.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// How long S3 may be silent within an answer; a large blob as a whole takes as long as it takes.
const SILENCE: Duration = Duration::from_secs(20);

/// Where blobs are kept.
pub(super) struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// As errors name it.
    name: String,
    /// Only for a local store: the folder that blobs are moved to.
    folder: Option<PathBuf>,
}

impl Place {
    pub(super) fn open(settings: &BlobSettings) -> Result<Self, BlobError> {
        let url = settings.url.as_str();
        if let Some(folder) = url.strip_prefix("file://") {
            return Self::local(Path::new(folder));
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            return Self::s3(url, rest, settings);
        }
        Err(BlobError::Unavailable(format!(
            "{url}: expected file:///folder or s3://bucket/prefix"
        )))
    }

    fn local(folder: &Path) -> Result<Self, BlobError> {
        if !folder.is_absolute() {
            return Err(BlobError::Unavailable(format!(
                "file://{}: the folder must be absolute",
                folder.display()
            )));
        }
        make_folder(folder)?;
        let name = folder.display().to_string();
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| sort(&name, error))?;
        Ok(Self {
            store: Arc::new(store),
            prefix: Key::default(),
            name,
            folder: Some(folder.to_owned()),
        })
    }

    fn s3(url: &str, rest: &str, settings: &BlobSettings) -> Result<Self, BlobError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(BlobError::Unavailable(format!("{url}: the bucket is missing")));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // The client would panic, also when it is never used with TLS.
            return Err(BlobError::Unavailable(format!(
                "{url}: no crypto provider of rustls is installed"
            )));
        }
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_read_timeout(SILENCE)
            .with_timeout_disabled();
        let retry = RetryConfig {
            max_retries: 3,
            retry_timeout: RETRY_FOR,
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
        for (name, value) in &settings.aws {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| sort(url, error))?;
        Ok(Self {
            store: Arc::new(store),
            prefix: Key::from(prefix),
            name: url.to_owned(),
            folder: None,
        })
    }

    fn key(&self, blob: Blob) -> Key {
        let hex = blob.digest.hex();
        let (start, rest) = hex.split_at(2);
        let name = format!("{rest}.{}", blob.copy);
        self.prefix.clone().join("sha256").join(start).join(name)
    }

    /// The size and the content of a blob, not verified.
    pub(super) async fn get(&self, blob: Blob) -> Result<(u64, Pieces), BlobError> {
        if let Some(folder) = &self.folder {
            // In larger pieces than the store's own, which are 8 KiB.
            let path = folder.join(self.key(blob).as_ref());
            let file = tokio::fs::File::open(&path)
                .await
                .map_err(|error| unread(&path, &error))?;
            let size = file.metadata().await.map_err(|error| unread(&path, &error))?.len();
            let pieces = ReaderStream::with_capacity(file, PIECE_SIZE);
            let pieces = pieces.map(move |piece| piece.map_err(|error| unread(&path, &error)));
            return Ok((size, pieces.boxed()));
        }
        let name = self.name.clone();
        let found = self
            .store
            .get(&self.key(blob))
            .await
            .map_err(|error| sort(&name, error))?;
        let size = found.meta.size;
        let pieces = found
            .into_stream()
            .map(move |piece| piece.map_err(|error| sort(&name, error)));
        Ok((size, pieces.boxed()))
    }

    pub(super) async fn delete(&self, blob: Blob) -> Result<(), BlobError> {
        match self.store.delete(&self.key(blob)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(sort(&self.name, error)),
        }
    }

    /// Keeps a file that is complete.
    pub(super) async fn keep(&self, part: Part, blob: Blob) -> Result<(), BlobError> {
        let key = self.key(blob);
        let Some(folder) = self.folder.clone() else {
            return self.upload(&part, &key).await;
        };
        blocking(move || settle(&folder, part, key.as_ref())).await
    }

    async fn upload(&self, part: &Part, key: &Key) -> Result<(), BlobError> {
        let failed = |error| sort(&self.name, error);
        let unread = |error: io::Error| BlobError::io(part.path(), &error);
        let size = part.file().metadata().map_err(unread)?.len();
        let mut file = part.to_async()?;
        file.rewind().await.map_err(unread)?;
        if size <= PART_SIZE as u64 {
            let mut whole = Vec::new();
            file.read_to_end(&mut whole).await.map_err(unread)?;
            self.store.put(key, PutPayload::from(whole)).await.map_err(failed)?;
            return Ok(());
        }
        let upload = self.store.put_multipart(key).await.map_err(failed)?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_SIZE);
        let sent = async {
            let mut buffer = vec![0; 256 * 1024];
            loop {
                parts.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
                let count = file.read(&mut buffer).await.map_err(unread)?;
                if count == 0 {
                    return Ok(());
                }
                parts.write(&buffer[..count]);
            }
        };
        if let Err(error) = sent.await {
            // What was sent costs space until it is given up; if that fails too, the first error says more.
            let _ = parts.abort().await;
            return Err(error);
        }
        parts.finish().await.map_err(failed)?;
        Ok(())
    }
}

/// Moves a file to its place so that it is there, whole, after a crash. What is there already was damaged and is mended.
fn settle(root: &Path, part: Part, key: &str) -> Result<(), BlobError> {
    let target = root.join(key);
    let failed = |error: io::Error| BlobError::io(&target, &error);
    part.file().sync_all().map_err(failed)?;
    let folder = target.parent().unwrap_or(root);
    make_durable_folder(root, folder).map_err(failed)?;
    if is_beside(part.file(), folder).map_err(failed)? {
        part.move_to(&target).map_err(failed)?;
    } else {
        // A file can't be moved to another file system; a copy can be moved within it.
        let copy = Scratch::beside(folder.to_owned()).create()?;
        let mut from = File::open(part.path()).map_err(failed)?;
        io::copy(&mut from, &mut copy.file()).map_err(failed)?;
        copy.file().sync_all().map_err(failed)?;
        copy.move_to(&target).map_err(failed)?;
    }
    sync_folder(folder).map_err(failed)
}

/// Whether a file is on the file system of a folder.
fn is_beside(file: &File, folder: &Path) -> io::Result<bool> {
    Ok(file.metadata()?.dev() == std::fs::metadata(folder)?.dev())
}

/// Makes the folders from `root` to `folder`. Those that are there are synchronized too: whoever made them may not have
/// come to that yet.
fn make_durable_folder(root: &Path, folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent().filter(|_| folder != root) else {
        return Ok(());
    };
    make_durable_folder(root, parent)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Sorts an error of reading a local blob.
fn unread(path: &Path, error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::NotFound,
        _ => BlobError::io(path, error),
    }
}

/// Sorts an error of the store called `name`.
fn sort(name: &str, error: Error) -> BlobError {
    if matches!(error, Error::NotFound { .. }) {
        return BlobError::NotFound;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        let kind = current.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return BlobError::Full(format!("{name}: {current}"));
        }
        cause = current.source();
    }
    BlobError::Unavailable(match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            format!("{name}: the credentials were refused: {error}")
        }
        error => format!("{name}: {error}"),
    })
}
