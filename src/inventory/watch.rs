//! Keeps the last good snapshot while files are edited.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::load::{Snapshot, load};
use super::problem::Problem;
use crate::domain::Target;

/// An editor writes a file in several goes; the folder is read when it was quiet for so long.
const QUIET: Duration = Duration::from_millis(150);

/// A folder that is never quiet is read nevertheless after so many changes.
const PATIENCE: u32 = 50;

/// The targets and recipes as they are now. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Inventory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    builtin: Vec<Target>,
    state: RwLock<State>,
    /// Counts how often the folder was read.
    reads: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    good: Arc<Snapshot>,
    problems: Vec<Problem>,
}

/// The folder can't be watched.
#[derive(Debug, thiserror::Error)]
#[error("watch the targets folder: {0}")]
pub struct WatchError(#[from] notify::Error);

impl Inventory {
    /// Reads the folder for the first time. Without one good snapshot there is nothing to keep: mistakes are final.
    pub fn open(dir: &Path) -> Result<Self, Vec<Problem>> {
        Self::open_with(dir, Vec::new())
    }

    /// The same with targets beside that no file describes, now and after each edit.
    pub fn open_with(dir: &Path, builtin: Vec<Target>) -> Result<Self, Vec<Problem>> {
        let good = Arc::new(Snapshot {
            builtin: builtin.clone(),
            ..load(dir)?
        });
        let state = RwLock::new(State {
            good,
            problems: Vec::new(),
        });
        let (reads, _) = watch::channel(0);
        Ok(Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                builtin,
                state,
                reads,
            }),
        })
    }

    /// An inventory that was never in a folder.
    pub fn of(snapshot: Snapshot) -> Self {
        let state = RwLock::new(State {
            good: Arc::new(snapshot),
            problems: Vec::new(),
        });
        let (reads, _) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                dir: PathBuf::new(),
                builtin: Vec::new(),
                state,
                reads,
            }),
        }
    }

    /// The last good snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner).good)
    }

    /// The mistakes because of which the last good snapshot isn't what the folder says; none when it is.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .problems
            .clone()
    }

    /// Reads the folder again; with mistakes in it the last good snapshot stays.
    pub fn reload(&self) {
        let loaded = load(&self.shared.dir);
        {
            let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
            match loaded {
                Ok(snapshot) => {
                    state.good = Arc::new(Snapshot {
                        builtin: self.shared.builtin.clone(),
                        ..snapshot
                    });
                    state.problems = Vec::new();
                }
                Err(problems) => state.problems = problems,
            }
        }
        self.shared.reads.send_modify(|reads| *reads += 1);
    }

    /// Changes each time the folder was read again, whether or not it was good.
    pub fn reads(&self) -> watch::Receiver<u64> {
        self.shared.reads.subscribe()
    }

    /// Reads the folder again whenever it changes, until `stop`. Changes made before it first waits are not missed.
    pub async fn watch(&self, stop: CancellationToken) -> Result<(), WatchError> {
        // One place is enough: an event says only that something changed.
        let (changed, mut changes) = mpsc::channel::<()>(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change of it; without this the reload itself would cause the next one.
            if !matches!(
                event,
                Ok(notify::Event {
                    kind: EventKind::Access(_),
                    ..
                })
            ) {
                let _ = changed.try_send(());
            }
        })?;
        watcher.watch(&self.shared.dir, RecursiveMode::Recursive)?;
        self.reload_off_thread().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                change = changes.recv() => if change.is_none() { return Ok(()) },
            }
            for _ in 0..PATIENCE {
                match tokio::time::timeout(QUIET, changes.recv()).await {
                    Ok(Some(())) if !stop.is_cancelled() => {}
                    _ => break,
                }
            }
            self.reload_off_thread().await;
        }
    }

    /// Files are read on a thread that may block.
    async fn reload_off_thread(&self) {
        let inventory = self.clone();
        let _ = tokio::task::spawn_blocking(move || inventory.reload()).await;
    }
}
