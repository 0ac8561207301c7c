//! What the planner may know of an input: reading names and manifests without unpacking anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use crate::domain::{Code, Listing, Refusal};
use crate::executors::archive::{self, ArchiveError, ArchiveKind, ArchiveLimits};

/// The listing of an input, whose bytes are in `file`. Blocking.
///
/// # Errors
/// A refusal when it is an archive that must not be unpacked.
pub(super) fn of(name: &str, file: File) -> Result<Listing, Refusal> {
    match ArchiveKind::of_name(name) {
        Some(kind) => archive::list(file, kind, &ArchiveLimits::default()).map_err(|error| refuse(name, &error)),
        None => single(name, file),
    }
}

fn single(name: &str, mut file: File) -> Result<Listing, Refusal> {
    let broken = |error: std::io::Error| {
        tracing::error!(%error, "an uploaded file can't be read back");
        Refusal::new(
            Code::StorageUnavailable,
            "the uploaded file can't be read back",
            "upload it again",
        )
    };
    let size = file.metadata().map_err(broken)?.len();
    let mut manifests = BTreeMap::new();
    let base = name.rsplit('/').next().unwrap_or(name);
    if Listing::MANIFEST_NAMES.contains(&base) && size <= Listing::MANIFEST_MAX {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(broken)?;
        if let Ok(text) = String::from_utf8(bytes) {
            manifests.insert(name.to_owned(), text);
        }
    }
    Ok(Listing {
        files: BTreeMap::from([(name.to_owned(), size)]),
        manifests,
    })
}

fn refuse(name: &str, error: &ArchiveError) -> Refusal {
    match error {
        ArchiveError::Unsafe(why) => Refusal::new(
            Code::UnsafeArchive,
            format!("{name} is not unpacked: {why}"),
            "pack the project again with plain files and relative paths only",
        ),
        ArchiveError::Broken(why) => Refusal::invalid(
            format!("{name} can't be read as an archive: {why}"),
            "check that the upload is complete and that the name's ending fits the format",
        ),
        ArchiveError::Io(error) => {
            tracing::error!(%error, "an uploaded archive can't be read back");
            Refusal::new(
                Code::StorageUnavailable,
                "the uploaded archive can't be read back",
                "upload it again",
            )
        }
    }
}
