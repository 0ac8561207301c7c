//! How the program stops: a soft stop that drains, a hard stop that doesn't wait, and the tracker that owns every task.
//!
//! SIGTERM or SIGINT asks for the soft stop: doors take no new calls, workers claim nothing more and give their
//! leases up, what runs under a supervisor goes on without clawhand. A second signal, or [`DRAIN`] passing, is the
//! hard stop. A task that ends by a panic stops the program: half a program is worse than none.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a soft stop may take.
pub const DRAIN: Duration = Duration::from_secs(20);

/// The tokens and the tracker of one program. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
}

impl Lifecycle {
    /// A program that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the program should take no new work.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Runs `task` until it ends or the hard stop comes.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        self.tracker.spawn(async move {
            let guard = StopOnPanic(soft);
            tokio::select! {
                () = task => tracing::debug!(task.name = name, "task ended"),
                () = hard.cancelled() => tracing::warn!(task.name = name, "task was cut off"),
            }
            drop(guard);
        });
    }

    /// The tracker, for rooms that spawn their own tasks.
    pub fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// Asks for the soft stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for a signal or for [`Lifecycle::stop`], then until every task has ended, the drain time has passed, or
    /// a second signal comes.
    ///
    /// # Errors
    /// When the operating system refuses the signal handlers.
    pub async fn run(&self) -> std::io::Result<()> {
        self.run_with(Signals::heed()?).await;
        Ok(())
    }

    /// The same for a program that has heeded signals before.
    pub async fn run_with(&self, signals: Signals) {
        let Signals {
            mut terminate,
            mut interrupt,
        } = signals;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("asked to stop (SIGTERM): draining"),
            _ = interrupt.recv() => tracing::info!("asked to stop (SIGINT): draining"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            _ = terminate.recv() => tracing::warn!("asked again: stopping at once"),
            _ = interrupt.recv() => tracing::warn!("asked again: stopping at once"),
            _ = tokio::time::timeout(DRAIN, std::future::pending::<()>()) => {
                tracing::warn!("draining took too long: stopping at once");
            }
        }
        self.hard.cancel();
    }
}

/// SIGTERM and SIGINT, which don't end the program any more from here on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen for them. Before a program says that it is there, so that whoever reads that may ask it to stop.
    ///
    /// # Errors
    /// When the operating system refuses the signal handlers.
    pub fn heed() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Asks for the soft stop when the task that holds it unwinds.
struct StopOnPanic(CancellationToken);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a task panicked: stopping");
            self.0.cancel();
        }
    }
}

/// Files that this process makes are its user's alone, unless it says otherwise for one.
pub fn private_files() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
