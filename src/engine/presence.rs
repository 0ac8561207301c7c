//! A file per worker on this machine, locked for as long as its process lives.
//!
//! A worker that is killed can't give its leases back, and others would have to wait until they run out. A lock goes
//! with its process, however that ends: whoever finds the file unlocked knows that the worker is gone and frees its
//! leases at once. Workers on other machines have files of their own; for them the lease's time decides.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// This worker's file. Dropped without [`Presence::leave`], as by a panic, it is found like that of a killed process.
#[derive(Debug)]
pub(super) struct Presence {
    path: PathBuf,
    _locked: File,
}

/// The file of a worker whose process is gone. It stays locked by us until it is dropped, so that two don't bury it.
#[derive(Debug)]
pub(super) struct Departed {
    /// The worker's name.
    pub(super) worker: String,
    path: PathBuf,
    _locked: File,
}

impl Presence {
    /// Makes and locks the file of `worker` in `folder`.
    pub(super) fn announce(folder: &Path, worker: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(worker);
        let file = File::create(&path)?;
        file.lock()?;
        Ok(Self { path, _locked: file })
    }

    /// Says goodbye: this worker holds no leases any more.
    pub(super) fn leave(self) {
        // A file that can't be removed is found unlocked and removed by the next worker.
        let _ = std::fs::remove_file(&self.path);
    }

    /// The workers of this folder whose processes are gone.
    pub(super) fn departed(folder: &Path) -> io::Result<Vec<Departed>> {
        let mut departed = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(worker) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                continue;
            };
            // Opened, not made: a worker that says goodbye now takes its file with it.
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => departed.push(Departed {
                    worker,
                    path,
                    _locked: file,
                }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(departed)
    }
}

impl Departed {
    /// Its leases were freed: the file goes.
    pub(super) fn bury(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_gone_is_departed() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = || -> Vec<String> {
            let departed = Presence::departed(folder.path()).expect("looks");
            departed.iter().map(|departed| departed.worker.clone()).collect()
        };
        let here = Presence::announce(folder.path(), "here").expect("announced");
        // What a killed process leaves: a file without a lock.
        File::create(folder.path().join("gone")).expect("made");
        assert_eq!(names(), ["gone"]);
        Presence::departed(folder.path())
            .expect("looks")
            .into_iter()
            .for_each(Departed::bury);
        assert_eq!(names(), Vec::<String>::new());
        here.leave();
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
    }
}
