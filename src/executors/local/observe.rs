//! Seeing what an attempt prints and how it ends, from whichever process, without asking again and again.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;

use super::{blocking, failed, readable};
use crate::executors::contract::{AttemptState, ExecutorError, Observation};
use crate::executors::folder::{AttemptFolder, boot_id, read_printed};
use crate::executors::tree::{Belonging, Process};

/// Which part of the output is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub from: u64,
    pub max: usize,
}

/// How often is looked where the kernel can't tell: out of inotify instances, or a supervisor in another container.
const TICK: Duration = Duration::from_millis(100);

/// How long what is left of a lost attempt may take to die.
const END_MAX: Duration = Duration::from_secs(10);

/// What a look at the folder gave.
enum Look {
    Tell(Observation),
    /// Nothing new; the supervisor, if it can be watched from here.
    Nothing(Option<Process>),
}

pub(super) async fn observe(
    folder: AttemptFolder,
    window: Window,
    wait: Duration,
) -> Result<Observation, ExecutorError> {
    let look =
        |folder: AttemptFolder| blocking(move || look(&folder, window).map_err(|error| failed("observe", &error)));
    if let Look::Tell(seen) = look(folder.clone()).await? {
        return Ok(seen);
    }
    let watching = async {
        let changes = watch(folder.path());
        loop {
            // Looked at after the watch stands, so that nothing falls between.
            let supervisor = match look(folder.clone()).await? {
                Look::Tell(seen) => return Ok(seen),
                Look::Nothing(supervisor) => supervisor,
            };
            something_happens(changes.as_ref(), supervisor).await;
        }
    };
    match tokio::time::timeout(wait, watching).await {
        Ok(result) => result,
        Err(_) => Ok(Observation {
            output: Bytes::new(),
            state: AttemptState::Running,
        }),
    }
}

fn watch(path: &Path) -> Option<AsyncFd<OwnedFd>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    inotify
        .add_watch(
            path,
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF,
        )
        .ok()?;
    readable(OwnedFd::from(inotify)).ok()
}

/// Returns when there may be something new.
async fn something_happens(changes: Option<&AsyncFd<OwnedFd>>, supervisor: Option<Process>) {
    let pidfd = supervisor
        .and_then(|process| process.pidfd().ok().flatten())
        .and_then(|fd| readable(fd).ok());
    let changed = async {
        match changes {
            Some(changes) => drain(changes).await,
            None => std::future::pending().await,
        }
    };
    let ended = async {
        match &pidfd {
            Some(pidfd) => drop(pidfd.readable().await),
            None => std::future::pending().await,
        }
    };
    let either = async {
        tokio::select! { () = changed => (), () = ended => () }
    };
    if changes.is_some() && pidfd.is_some() {
        either.await;
    } else {
        let _ = tokio::time::timeout(TICK, either).await;
    }
}

/// Waits for a change and takes all that are there: what they say is seen by looking.
async fn drain(changes: &AsyncFd<OwnedFd>) {
    let mut events = [0; 4096];
    let Ok(mut guard) = changes.readable().await else {
        return;
    };
    while nix::unistd::read(changes.get_ref().as_fd(), &mut events) != Err(Errno::EAGAIN) {}
    guard.clear_ready();
}

fn look(folder: &AttemptFolder, window: Window) -> io::Result<Look> {
    // The order matters: once the exit note is there, the output doesn't grow any more.
    let exit = folder.exit()?;
    let (output, is_all) = read_printed(&folder.out(), window.from, window.max)?;
    let tell = |state| {
        Ok(Look::Tell(Observation {
            output: output.clone(),
            state,
        }))
    };
    if let Some(exit) = exit {
        return tell(if is_all {
            AttemptState::Ended(exit.report)
        } else {
            AttemptState::Running
        });
    }
    if !output.is_empty() {
        return tell(AttemptState::Running);
    }
    let Some(started) = folder.started()? else {
        return match (folder.is_locked()?, folder.path().exists()) {
            (true, _) => Ok(Look::Nothing(None)),
            (false, true) => tell(AttemptState::NeverStarted(
                "no supervisor ever started the attempt".to_owned(),
            )),
            (false, false) => tell(AttemptState::Lost("the attempt's folder is gone".to_owned())),
        };
    };
    if started.boot_id != boot_id()? {
        return tell(AttemptState::Lost("the machine was restarted".to_owned()));
    }
    if folder.is_locked()? {
        return Ok(Look::Nothing(Some(started.supervisor)));
    }
    if folder.exit()?.is_some() {
        // It ended between the two looks.
        return look(folder, window);
    }
    end_what_is_left(folder)?;
    tell(AttemptState::Lost("the supervisor was lost".to_owned()))
}

/// Ends what a supervisor that was killed left behind. An error if something won't end.
pub(super) fn end_what_is_left(folder: &AttemptFolder) -> io::Result<()> {
    let marker = folder.marker();
    let child = folder.child()?;
    let belonging = Belonging {
        marker: &marker,
        session: child.as_ref().map(|child| child.process),
        mark: child.as_ref().and_then(|child| child.mark),
        folder: folder.run_folder(),
    };
    let began = Instant::now();
    loop {
        let left = belonging.find();
        if left.is_empty() {
            return Ok(());
        }
        for process in &left {
            process.signal(Signal::SIGKILL)?;
        }
        for process in left {
            wait_for_end(process)?;
        }
        if began.elapsed() > END_MAX {
            return Err(io::Error::other("processes of the attempt can't be ended"));
        }
    }
}

fn wait_for_end(process: Process) -> io::Result<()> {
    if let Some(fd) = process.pidfd()? {
        // At most a second: the caller looks again, also when a signal came in between, as one does for each child.
        match poll(
            &mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(1000u16),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
