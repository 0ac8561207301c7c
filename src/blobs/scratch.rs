//! Local files in the making. They are locked while their process lives, so that those of a dead one can be told.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::BlobError;

/// What their names end in.
const ENDING: &str = "clawhand-part";

/// A folder for them.
pub(super) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes the folder and removes what dead processes left in it.
    pub(super) fn open(folder: &Path) -> Result<Self, BlobError> {
        make_folder(folder)?;
        let scratch = Self::beside(folder.to_owned());
        scratch.sweep().map_err(|error| BlobError::io(folder, &error))?;
        Ok(scratch)
    }

    /// Uses a folder that is there and belongs to somebody else.
    pub(super) const fn beside(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The same folder, for work that outlives this handle.
    pub(super) fn beside_it(&self) -> Self {
        Self::beside(self.folder.clone())
    }

    /// Begins a file.
    pub(super) fn create(&self) -> Result<Part, BlobError> {
        self.try_create().map_err(|error| BlobError::io(&self.folder, &error))
    }

    fn try_create(&self) -> io::Result<Part> {
        loop {
            let path = self.folder.join(format!(".{}.{ENDING}", Uuid::now_v7().simple()));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            let part = Part {
                path,
                file,
                moved: false,
            };
            part.file.lock()?;
            // Another process that starts now may have swept it away before it was locked.
            if part.file.metadata()?.nlink() > 0 {
                return Ok(part);
            }
        }
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let Ok(file) = OpenOptions::new().write(true).open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() {
                // It may have been moved to its place in between; then there is nothing left to remove.
                let _ = std::fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

/// A file in the making: removed when dropped, unless it was moved.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    moved: bool,
}

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// The same file for asynchronous use; both share the place where they stand.
    pub(super) fn to_async(&self) -> Result<tokio::fs::File, BlobError> {
        let file = self
            .file
            .try_clone()
            .map_err(|error| BlobError::io(&self.path, &error))?;
        Ok(tokio::fs::File::from_std(file))
    }

    /// Gives it its name. Whoever has the old file of that name open goes on reading it.
    pub(super) fn move_to(mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.moved {
            // Nobody can be told here; the next start sweeps what is left.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder that only clawhand can look into. One that is there keeps its mode.
pub(super) fn make_folder(path: &Path) -> Result<(), BlobError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| BlobError::io(path, &error))
}
