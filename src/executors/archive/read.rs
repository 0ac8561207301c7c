//! Reads the entries of both forms one after the other, with everything that is read counted.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use tar::EntryType;
use zip::ZipArchive;
use zip::result::ZipError;

use super::{ArchiveError, ArchiveKind, ArchiveLimits};

/// What may be read between two entries: long names and extended headers are kept in memory.
const HEADERS_MAX: u64 = 1024 * 1024;
/// What the directory of a zip may take per entry, names and all.
const ZIP_ENTRY_MAX: u64 = 256;
/// Longer link targets are refused.
const TARGET_MAX: u64 = 4096;

/// An entry as the archive tells it; nothing of it was checked.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) what: What,
    pub(super) mode: u32,
}

/// What an entry is.
pub(super) enum What {
    File,
    Folder,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    /// A device, a fifo, a socket, or what only some program knows.
    Special(String),
}

/// Takes an entry and its content; content that isn't read is skipped.
pub(super) type Visit<'a> = dyn FnMut(&Entry, &mut dyn Read) -> Result<(), ArchiveError> + 'a;

/// Shows every entry in order to `visit`.
pub(super) fn each(
    file: &File,
    kind: ArchiveKind,
    limits: &ArchiveLimits,
    visit: &mut Visit<'_>,
) -> Result<(), ArchiveError> {
    let mut source = BufReader::with_capacity(64 * 1024, file);
    source.seek(SeekFrom::Start(0))?;
    match kind {
        ArchiveKind::Zip => each_of_zip(source, limits, visit),
        ArchiveKind::Tar => each_of_tar(source, limits, visit),
        ArchiveKind::TarGz => each_of_tar(MultiGzDecoder::new(source), limits, visit),
    }
}

fn each_of_tar(source: impl Read, limits: &ArchiveLimits, visit: &mut Visit<'_>) -> Result<(), ArchiveError> {
    let meter = Meter::default();
    let mut expanded = Expanded::new(limits);
    let mut archive = tar::Archive::new(Metered {
        inner: source,
        meter: meter.clone(),
    });
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        meter.allow(HEADERS_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| meter.blame(error, "its headers are too large"))?;
        let size = entry.size();
        expanded.check(size)?;
        let Some(told) = tar_entry(&entry) else { continue };
        // A block of padding may follow.
        meter.allow(size.saturating_add(HEADERS_MAX));
        expanded.show(&told, size, &mut entry, visit)?;
    }
    // What follows the end is read too, so that a stream that was cut off or altered there is noticed.
    meter.allow(HEADERS_MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink())
        .map_err(|error| meter.blame(error, "too much follows its end"))?;
    Ok(())
}

/// None for what only describes other entries.
fn tar_entry(entry: &tar::Entry<'_, impl Read>) -> Option<Entry> {
    let name = entry.path_bytes().into_owned();
    let target = || entry.link_name_bytes().unwrap_or_default().into_owned();
    let what = match entry.header().entry_type() {
        EntryType::XGlobalHeader | EntryType::XHeader => return None,
        // Before POSIX a folder was a file whose name ends in a slash.
        EntryType::Regular if name.ends_with(b"/") => What::Folder,
        EntryType::Regular | EntryType::Continuous => What::File,
        EntryType::Directory => What::Folder,
        EntryType::Symlink => What::Symlink(target()),
        EntryType::Link => What::HardLink(target()),
        other => What::Special(format!("{other:?}").to_lowercase()),
    };
    Some(Entry {
        name,
        what,
        mode: entry.header().mode().unwrap_or(0o644),
    })
}

fn each_of_zip(source: impl Read + Seek, limits: &ArchiveLimits, visit: &mut Visit<'_>) -> Result<(), ArchiveError> {
    let meter = Meter::default();
    let mut expanded = Expanded::new(limits);
    // The directory is kept in memory, so it is bounded before it is believed.
    meter.allow(HEADERS_MAX + ZIP_ENTRY_MAX * limits.entries as u64);
    let mut archive = ZipArchive::new(Metered {
        inner: source,
        meter: meter.clone(),
    })
    .map_err(|error| meter.blame(zip_error(error), "it holds too many entries"))?;
    if archive.len() > limits.entries {
        return Err(ArchiveError::Unsafe(format!(
            "it holds more than {} entries",
            limits.entries
        )));
    }
    for index in 0..archive.len() {
        meter.allow(u64::MAX);
        let mut entry = archive.by_index(index).map_err(|error| broken(zip_error(error)))?;
        let size = entry.size();
        expanded.check(size)?;
        let mut name = entry.name_raw().to_vec();
        // Some programs for Windows write the separators of Windows.
        name.iter_mut()
            .filter(|byte| **byte == b'\\')
            .for_each(|byte| *byte = b'/');
        let mode = entry.unix_mode().unwrap_or(0o644);
        let folder = name.ends_with(b"/");
        let what = match mode & 0o170_000 {
            0o120_000 => {
                let mut target = Vec::new();
                (&mut entry)
                    .take(TARGET_MAX + 1)
                    .read_to_end(&mut target)
                    .map_err(broken)?;
                let told = Entry {
                    name,
                    what: What::Symlink(target),
                    mode,
                };
                expanded.show(&told, 0, &mut io::empty(), visit)?;
                continue;
            }
            0o040_000 => What::Folder,
            0 | 0o100_000 if folder => What::Folder,
            0 | 0o100_000 => What::File,
            other => What::Special(format!("file type {other:o}")),
        };
        expanded.show(&Entry { name, what, mode }, size, &mut entry, visit)?;
    }
    Ok(())
}

fn zip_error(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// What reading an archive fails with is the archive's fault, unless the system says it failed itself.
fn broken(error: io::Error) -> ArchiveError {
    if error.raw_os_error().is_some() {
        return ArchiveError::Io(error);
    }
    ArchiveError::Broken(match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends in the middle".into(),
        _ => error.to_string(),
    })
}

/// Counts what comes out, whatever the headers say.
struct Expanded {
    left: u64,
    entries_left: usize,
    limits: ArchiveLimits,
}

impl Expanded {
    fn new(limits: &ArchiveLimits) -> Self {
        Self {
            left: limits.bytes,
            entries_left: limits.entries,
            limits: *limits,
        }
    }

    /// Refuses at once what even says that it is too large.
    fn check(&self, size: u64) -> Result<(), ArchiveError> {
        if size <= self.left {
            Ok(())
        } else {
            Err(self.too_large())
        }
    }

    fn too_large(&self) -> ArchiveError {
        ArchiveError::Unsafe(format!("it expands to more than {} bytes", self.limits.bytes))
    }

    fn show(
        &mut self,
        entry: &Entry,
        size: u64,
        content: &mut dyn Read,
        visit: &mut Visit<'_>,
    ) -> Result<(), ArchiveError> {
        let Some(left) = self.entries_left.checked_sub(1) else {
            return Err(ArchiveError::Unsafe(format!(
                "it holds more than {} entries",
                self.limits.entries
            )));
        };
        self.entries_left = left;
        let mut body = Body {
            inner: content,
            read: 0,
            max: self.left,
            failed: None,
        };
        let seen = visit(entry, &mut body);
        let skipped = io::copy(&mut body, &mut io::sink());
        if body.read > self.left {
            return Err(self.too_large());
        }
        if let Some(error) = body.failed {
            return Err(broken(error));
        }
        seen?;
        skipped.map_err(broken)?;
        if body.read != size {
            let name = String::from_utf8_lossy(&entry.name);
            return Err(ArchiveError::Broken(format!(
                "{name:?} has {} bytes, its header says {size}",
                body.read
            )));
        }
        self.left -= body.read;
        Ok(())
    }
}

/// The content of one entry. Its errors are kept apart from those of whoever reads it.
struct Body<'a> {
    inner: &'a mut dyn Read,
    read: u64,
    max: u64,
    failed: Option<io::Error>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read > self.max || self.failed.is_some() {
            return Err(io::Error::other("the archive can't be read on"));
        }
        match self.inner.read(buffer) {
            Ok(count) => {
                self.read += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the archive can't be read on"))
            }
        }
    }
}

/// How much may still be read from below: the crates keep headers in memory, however large.
#[derive(Clone, Default)]
struct Meter(Rc<Cell<u64>>);

impl Meter {
    fn allow(&self, bytes: u64) {
        self.0.set(bytes);
    }

    fn blame(&self, error: io::Error, excess: &str) -> ArchiveError {
        if self.0.get() == 0 {
            ArchiveError::Unsafe(excess.into())
        } else {
            broken(error)
        }
    }
}

struct Metered<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.0.get();
        let size = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if size == 0 && !buffer.is_empty() {
            return Err(io::Error::other("more is read than may be"));
        }
        let count = self.inner.read(&mut buffer[..size])?;
        self.meter.allow(left - count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
