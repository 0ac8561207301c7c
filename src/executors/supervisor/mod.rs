//! The supervisor: a small process of its own for each attempt, which outlives clawhand.
//!
//! `clawhand supervise DIR` reads DIR/spec.json, gets the secrets as JSON on its standard input, and says one line on
//! its standard output: `started`, `already`, `full: ...` or `refused: ...`. Then it runs the work as its child and
//! as the sub-reaper of everything that comes of it, so that nothing can leave the tree; writes the output, ends the
//! tree on TERM and on time-out, and as the last thing writes exit.json, when nothing of the work is left.
//!
//! It never has a second thread or an async runtime (it forks and then does ordinary work in the child), never
//! decides whether a step may run, and never holds more of the output in memory than a ring of fixed size.
//! docs/decisions/supervisor.md has the reasons. Start reading at [`main`], then [`watch`].

mod child;
mod confine;
pub(super) mod output;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, pipe2, setsid};

use super::contract::ExitReport;
use super::folder::{AttemptFolder, ExitNote, Spec, Started, boot_id};
use super::tree::Process;
use output::Output;
use watch::Watch;

/// The words a supervisor answers its starter with.
pub(super) mod answer {
    pub const STARTED: &str = "started";
    pub const ALREADY: &str = "already";
    pub const FULL: &str = "full: ";
    pub const REFUSED: &str = "refused: ";
}

/// Runs the attempt in `dir` to its end. To be called before any other thread exists.
pub fn main(dir: &Path) -> ExitCode {
    let folder = AttemptFolder::at(dir.to_path_buf());
    match stand_alone().and_then(|signals| begin(&folder, signals)) {
        Ok(None) => {
            say(answer::ALREADY);
            ExitCode::SUCCESS
        }
        Ok(Some(begun)) => {
            say(answer::STARTED);
            // Whoever waits for the answer reads to the end, and the work must not get hold of it.
            let _ = File::options()
                .write(true)
                .open("/dev/null")
                .map(nix::unistd::dup2_stdout);
            match begun.carry_out(&folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("failed to write down how the attempt ended: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => answer::FULL,
                _ => answer::REFUSED,
            };
            say(&format!("{kind}{error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    // The starter may be gone by now; the attempt goes on without it.
    let _ = writeln!(io::stdout(), "{line}");
    let _ = io::stdout().flush();
}

/// Cuts all ties to the starter and becomes the one to whom orphans below come.
fn stand_alone() -> io::Result<SignalFd> {
    // SAFETY: nothing is open in this process yet but its three standard streams.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    // Fails if this is the leader of a group already, as when a person starts it from a shell.
    let _ = setsid();
    std::env::set_current_dir("/")?;
    for (number, action) in [
        (Signal::SIGHUP, SigHandler::SigIgn),
        (Signal::SIGPIPE, SigHandler::SigIgn),
        // A limit on clawhand's own files is an error on writing the output, and not the end of the supervisor.
        (Signal::SIGXFSZ, SigHandler::SigIgn),
        // Inherited as ignored it would make the system forget how children ended.
        (Signal::SIGCHLD, SigHandler::SigDfl),
    ] {
        // SAFETY: neither action is a handler of ours.
        unsafe { signal(number, action) }?;
    }
    let watched: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    watched.thread_block()?;
    prctl::set_child_subreaper(true)?;
    // Its memory holds the secrets: no tracing and no dumps by others of the same user.
    prctl::set_dumpable(false)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    Ok(SignalFd::with_flags(
        &watched,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// An attempt that is written down as started, so that it is carried out now or never.
struct Begun {
    spec: Spec,
    secrets: BTreeMap<String, String>,
    signals: SignalFd,
    out: File,
    room: File,
    boot_id: String,
    /// Held until the process ends.
    _lock: File,
}

/// Takes the attempt, or finds that another supervisor has it or had it.
fn begin(folder: &AttemptFolder, signals: SignalFd) -> io::Result<Option<Begun>> {
    let Some(lock) = folder.take_lock()? else {
        return Ok(None);
    };
    if folder.exit()?.is_some() || folder.started()?.is_some() {
        return Ok(None);
    }
    let spec = folder
        .spec()?
        .ok_or_else(|| io::Error::other("the attempt has no spec"))?;
    let secrets = read_secrets()?;
    let room = folder.reserve_exit()?;
    let out = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(folder.out())?;
    let boot_id = boot_id()?;
    let supervisor = Process::now(Pid::this().as_raw()).ok_or_else(|| io::Error::other("no /proc"))?;
    folder.write_started(&Started {
        supervisor,
        boot_id: boot_id.clone(),
    })?;
    Ok(Some(Begun {
        spec,
        secrets,
        signals,
        out,
        room,
        boot_id,
        _lock: lock,
    }))
}

/// A starter that died while it wrote leaves half a text, which is refused; nothing has started then.
fn read_secrets() -> io::Result<BTreeMap<String, String>> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|_| io::Error::other("the secrets did not arrive whole"))
}

impl Begun {
    fn carry_out(self, folder: &AttemptFolder) -> io::Result<()> {
        let (report, isolation) = self.run(folder);
        let note = ExitNote {
            report,
            boot_id: self.boot_id,
            isolation,
        };
        folder.write_exit(&self.room, &note)?;
        folder.sync_exit(&self.out, &self.room)
    }

    fn run(&self, folder: &AttemptFolder) -> (ExitReport, Vec<String>) {
        // Whoever cancels writes the note first and then looks for `started`; here it is the other way round. So at
        // least one of the two sees the other.
        if folder.cancel().ok().flatten().is_some() {
            let report = ExitReport {
                cancelled: true,
                ..ExitReport::default()
            };
            return (report, Vec::new());
        }
        match self.run_child(folder) {
            Ok(done) => done,
            Err(error) => {
                let report = ExitReport {
                    exit_code: Some(126),
                    exec_error: Some(error.to_string().chars().take(512).collect()),
                    ..ExitReport::default()
                };
                (report, Vec::new())
            }
        }
    }

    fn run_child(&self, folder: &AttemptFolder) -> io::Result<(ExitReport, Vec<String>)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let output = Output::new(self.out.try_clone()?, self.spec.max_output_bytes);
        let child = child::start(&self.spec, &self.secrets, writer)?;
        let watch = Watch::new(&self.spec, folder, &self.signals, File::from(reader), output);
        let mut report = watch.until_the_end(child.pid);
        report.exec_error = child.exec_error;
        Ok((report, child.isolation))
    }
}
