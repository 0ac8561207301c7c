//! The folders and files that the local executor and its supervisors share, and how they are written.
//!
//! ```text
//! <runs>/<execution>/           0711, clawhand's
//!   work/  home/  tmp/          0700, the run user's
//!   attempts/                   0700, clawhand's
//!     <attempt>/
//!       spec.json               what to run; without secrets
//!       lock                    locked by the supervisor for as long as it lives
//!       started                 written before the work starts: from here on it may have run
//!       child                   the main process and its session, once there is one
//!       out                     the output
//!       cancel                  somebody asked to end it, with the grace
//!       exit.json               how it ended; nothing of it is left then
//!       supervisor.log          what the supervisor had to say about itself
//! ```
//!
//! The files are read by later versions of clawhand while an older supervisor runs: fields are only ever added, with
//! a default. Never here: a decision. Start reading at [`AttemptFolder`].

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{FcntlArg, fcntl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::contract::{ExitReport, ProcessLimits};
use super::tree::Process;
use crate::domain::{AttemptId, ExecutionId, UnixMs};

/// Where the parts of an execution's run folder are.
#[derive(Debug, Clone)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub(super) fn of(runs: &Path, execution: ExecutionId) -> Self {
        Self {
            path: runs.join(execution.to_string()),
        }
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The run folder that a work folder is part of.
    pub(super) fn around(work: &Path) -> Option<Self> {
        work.parent().map(|path| Self {
            path: path.to_path_buf(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
    pub(super) fn work(&self) -> PathBuf {
        self.path.join("work")
    }
    pub(super) fn home(&self) -> PathBuf {
        self.path.join("home")
    }
    pub(super) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }
    pub(super) fn attempts(&self) -> PathBuf {
        self.path.join("attempts")
    }
    pub(super) fn attempt(&self, attempt: AttemptId) -> AttemptFolder {
        AttemptFolder::at(self.attempts().join(attempt.to_string()))
    }
}

/// What a supervisor is to run. Everything but the secrets, which it gets through a pipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub attempt: AttemptId,
    pub asked_at: UnixMs,
    pub argv: Vec<String>,
    /// The workspace, absolute.
    pub work: PathBuf,
    /// Relative to the workspace.
    pub cwd: String,
    pub env: BTreeMap<String, String>,
    pub timeout_ms: u64,
    pub grace_ms: u64,
    pub max_output_bytes: u64,
    pub limits: ProcessLimits,
    pub confine: Confine,
}

/// What the work may reach.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Confine {
    /// User and group number; none runs it as who the supervisor is.
    pub user: Option<(u32, u32)>,
    /// Whether it may use the network.
    pub network: bool,
    /// What it finds at /tmp, where it can have mounts of its own: programs that don't heed TMPDIR write there.
    #[serde(default)]
    pub tmp: Option<PathBuf>,
    /// Folders it may change.
    pub writable: Vec<PathBuf>,
    /// What it may read even though it lies in something hidden.
    pub readable: Vec<PathBuf>,
    /// What it may not read: everything else of the system is readable as far as the run user may.
    pub hidden: Vec<PathBuf>,
}

/// Written and synced before the work starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Started {
    pub supervisor: Process,
    pub boot_id: String,
}

/// The main process; its number is that of its session too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ChildNote {
    pub process: Process,
    /// The limit that only the attempt's processes have: see `tree::mark_of`.
    #[serde(default)]
    pub mark: Option<u64>,
}

/// Somebody asked to end the attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CancelNote {
    pub grace_ms: u64,
}

/// How the attempt ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExitNote {
    pub report: ExitReport,
    pub boot_id: String,
    /// What was enforced on it, in the words of `Facts::isolation`.
    #[serde(default)]
    pub isolation: Vec<String>,
}

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(super) struct AttemptFolder {
    path: PathBuf,
}

impl AttemptFolder {
    /// Room for the exit note that is kept from the start, so that a full disk can't lose it.
    const EXIT_ROOM: usize = 4096;

    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
    pub(super) fn out(&self) -> PathBuf {
        self.path.join("out")
    }
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }
    /// The run folder that this is part of.
    pub(super) fn run_folder(&self) -> &Path {
        self.path.parent().and_then(Path::parent).unwrap_or(&self.path)
    }
    /// The attempt's id as text, which marks the environment of its processes.
    pub(super) fn marker(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    pub(super) fn spec(&self) -> io::Result<Option<Spec>> {
        read_whole(&self.path.join("spec.json"))
    }
    /// Not synced: should the machine lose it, the attempt has not started and it is written anew.
    pub(super) fn write_spec(&self, spec: &Spec) -> io::Result<()> {
        write_whole(&self.path.join("spec.json"), spec).map(drop)
    }
    /// That the note is there is what counts: one that a crash of the machine left without its content is from
    /// before that crash.
    pub(super) fn started(&self) -> io::Result<Option<Started>> {
        let path = self.path.join("started");
        match read_whole(&path)? {
            Some(started) => Ok(Some(started)),
            None if path.try_exists()? => Ok(Some(Started {
                supervisor: Process { pid: 0, start: 0 },
                boot_id: String::new(),
            })),
            None => Ok(None),
        }
    }
    /// On disk when this returns, with the folders that lead to it. The order lets file systems with a journal do
    /// it all in one commit.
    pub(super) fn write_started(&self, started: &Started) -> io::Result<()> {
        write_whole(&self.path.join("started"), started)?.sync_all()?;
        sync_folder(&self.path)?;
        let above = self.path.ancestors().skip(1).take(3);
        above.into_iter().try_for_each(sync_folder)
    }
    pub(super) fn child(&self) -> io::Result<Option<ChildNote>> {
        read_whole(&self.path.join("child"))
    }
    /// Not synced: it only matters while the system stays up.
    pub(super) fn write_child(&self, child: &ChildNote) -> io::Result<()> {
        write_whole(&self.path.join("child"), child).map(drop)
    }
    pub(super) fn cancel(&self) -> io::Result<Option<CancelNote>> {
        read_whole(&self.path.join("cancel"))
    }
    /// Not synced: whoever cancels remembers it, and asks again after a crash of the machine.
    pub(super) fn write_cancel(&self, note: &CancelNote) -> io::Result<()> {
        write_whole(&self.path.join("cancel"), note).map(drop)
    }
    pub(super) fn exit(&self) -> io::Result<Option<ExitNote>> {
        read_whole(&self.path.join("exit.json"))
    }

    /// Takes the room that the exit note will need.
    pub(super) fn reserve_exit(&self) -> io::Result<File> {
        let file = create_private(&self.path.join("exit.json.new"))?;
        let room = libc::off_t::try_from(Self::EXIT_ROOM).map_err(io::Error::other)?;
        nix::fcntl::posix_fallocate(&file, 0, room)?;
        Ok(file)
    }

    /// Writes the exit note into the room that was kept for it. Whoever observes sees it before it is on disk, which
    /// is no harm: a crash of the machine in between leaves an attempt that is lost, or known to the observer.
    pub(super) fn write_exit(&self, room: &File, note: &impl Serialize) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut text = serde_json::to_vec(note)?;
        // Padded with spaces: what is left of the room would not be JSON.
        text.resize(text.len().max(Self::EXIT_ROOM), b' ');
        room.write_all_at(&text, 0)?;
        std::fs::rename(self.path.join("exit.json.new"), self.path.join("exit.json"))
    }

    /// Brings the end to the disk: the output first, so that no note speaks of output that isn't there.
    pub(super) fn sync_exit(&self, out: &File, room: &File) -> io::Result<()> {
        out.sync_all()?;
        room.sync_all()?;
        sync_folder(&self.path)
    }

    /// Takes the lock that says "a supervisor lives", or tells that another has it. The lock goes with the returned
    /// file, however the process ends.
    pub(super) fn take_lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(Some(file)),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a supervisor lives. Asks without locking: a lock taken to look would turn away a supervisor that
    /// starts in the same moment.
    pub(super) fn is_locked(&self) -> io::Result<bool> {
        let Some(file) = absent_is_none(File::open(self.path.join("lock")))? else {
            return Ok(false);
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

fn whole_file() -> libc::flock {
    // Casts of small constants whose C types differ between platforms.
    #[allow(clippy::cast_possible_truncation)]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// This boot of the system. Process numbers of another boot mean nothing.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// A missing file is `None`.
pub(super) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder with exactly this mode, whatever the umask; one that is there already gets the mode.
pub(super) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Makes what was created or renamed in a folder last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Writes a file that others see whole or not at all.
pub(super) fn write_whole<T: Serialize>(path: &Path, value: &T) -> io::Result<File> {
    // Two that start the same attempt at once must not write into one another's text.
    let new = path.with_extension(format!("{}.new", uuid::Uuid::now_v7().simple()));
    let mut file = create_private(&new)?;
    let written = file
        .write_all(&serde_json::to_vec(value)?)
        .and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = written {
        // On a full disk each try would leave another one.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    Ok(file)
}

/// Reads such a file. One without sense is the remains of a crash of the machine, and as good as none.
pub(super) fn read_whole<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(mut file) = absent_is_none(File::open(path))? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// What is in a file of output from an offset on, and whether it is all there is. No file yet is no output.
pub(super) fn read_printed(path: &Path, from: u64, max: usize) -> io::Result<(Bytes, bool)> {
    match absent_is_none(File::open(path))? {
        Some(file) => read_from(&file, from, max),
        None => Ok((Bytes::new(), true)),
    }
}

/// The same of a file that is open.
pub(super) fn read_from(file: &File, from: u64, max: usize) -> io::Result<(Bytes, bool)> {
    use std::os::unix::fs::FileExt as _;
    let left = file.metadata()?.len().saturating_sub(from);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(max);
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], from + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    bytes.truncate(read);
    Ok((bytes.into(), read as u64 == left))
}
