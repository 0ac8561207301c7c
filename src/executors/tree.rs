//! Finding and signalling processes without ever hitting a stranger.
//!
//! A process is known by its number and its start time; a signal goes through a pidfd that was checked against both,
//! so a number that was given away again in between is never signalled. Never here: waiting. Start reading at
//! [`Process`].

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// The variable that marks every process of an attempt; its value is the attempt's id.
pub(super) const MARKER: &str = "CLAWHAND_ATTEMPT";

/// A process that can't be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Process {
    pub pid: i32,
    /// In clock ticks since boot: field 22 of /proc/PID/stat.
    pub start: u64,
}

/// What /proc/PID/stat tells.
struct Stat {
    process: Process,
    zombie: bool,
    parent: i32,
    session: i32,
}

impl Process {
    /// The process that has this number now.
    pub(super) fn now(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| stat.process)
    }

    /// A descriptor of exactly this process, or nothing if it is gone. Readable once it has ended.
    pub(super) fn pidfd(self) -> io::Result<Option<OwnedFd>> {
        // SAFETY: plain system call with integers; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ESRCH | libc::EINVAL) => Ok(None),
                _ => Err(error),
            };
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Only now is it known whom the descriptor means: the number can't be given away while we hold it.
        Ok((Self::now(self.pid) == Some(self)).then_some(fd))
    }

    /// Sends a signal to exactly this process; one that is gone is not an error.
    pub(super) fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(fd) = self.pidfd()? else { return Ok(()) };
        // SAFETY: a valid descriptor, a signal number, no siginfo, no flags.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match (sent, io::Error::last_os_error()) {
            (0, _) => Ok(()),
            (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            (_, error) => Err(error),
        }
    }
}

/// Every living process below `root`, daemonized ones too as long as `root` is their sub-reaper.
pub(super) fn descendants(root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in all() {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut todo = vec![root];
    while let Some(parent) = todo.pop() {
        for stat in children.remove(&parent).unwrap_or_default() {
            todo.push(stat.process.pid);
            if !stat.zombie {
                found.push(stat.process);
            }
        }
    }
    found
}

/// What is left of attempts whose supervisor is gone.
pub(super) struct Belonging<'a> {
    /// The attempt's id.
    pub marker: &'a str,
    /// The main process: those of its session that started with or after it belong to it.
    pub session: Option<Process>,
    /// Its mark among the limits: those who left the session and emptied their environment still have it.
    pub mark: Option<u64>,
    /// The run folder: a confined process that stands in it belongs to it. This finds those that left the session
    /// and emptied their environment; a person who looks around in there is not confined and is let be.
    pub folder: &'a Path,
}

impl Belonging<'_> {
    /// Those that belong to the attempt, with all that descend from them.
    pub(super) fn find(&self) -> Vec<Process> {
        let me = std::process::id();
        let marked: BTreeSet<Process> = all()
            .filter(|stat| !stat.zombie && u32::try_from(stat.process.pid) != Ok(me))
            .filter(|stat| self.has(stat))
            .map(|stat| stat.process)
            .collect();
        let below = marked
            .iter()
            .flat_map(|process| descendants(process.pid))
            .collect::<Vec<_>>();
        marked
            .into_iter()
            .chain(below)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn has(&self, stat: &Stat) -> bool {
        let pid = stat.process.pid;
        let is_later = self.session.is_some_and(|main| stat.process.start >= main.start);
        let in_session = self.session.is_some_and(|main| stat.session == main.pid);
        let has_mark = || self.mark.is_some() && limit_of(pid) == self.mark;
        (is_later && (in_session || has_mark())) || self.is_marked(pid) || (self.stands_inside(pid) && is_confined(pid))
    }

    fn is_marked(&self, pid: i32) -> bool {
        let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else {
            return false;
        };
        environ.split(|byte| *byte == 0).any(|entry| {
            entry
                .strip_prefix(MARKER.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
                .is_some_and(|value| value == self.marker.as_bytes())
        })
    }

    fn stands_inside(&self, pid: i32) -> bool {
        ["cwd", "root", "exe"].into_iter().any(|link| {
            std::fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|path| path.starts_with(self.folder))
        })
    }
}

/// A number for RLIMIT_MSGQUEUE that marks the processes of an attempt, to be asked for where the limit is not yet
/// the mark. A limit is inherited by every process, can't be raised again, and this one matters to next to nobody:
/// it bounds the bytes in POSIX message queues, by default at 819200.
pub(super) fn mark_of(attempt: &str) -> Option<u64> {
    const USUAL: u64 = 819_200;
    let (_, hard) = getrlimit(Resource::RLIMIT_MSGQUEUE).ok()?;
    let digits = attempt.get(attempt.len().checked_sub(8)?..)?;
    let chance = u64::from_str_radix(digits, 16).ok()?;
    let most = hard.min(USUAL);
    (most > 1).then(|| most - 1 - chance % (most / 2))
}

fn limit_of(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max msgqueue size"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether it can't gain privileges any more, which is so for all that a supervisor starts.
fn is_confined(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| {
        text.lines()
            .any(|line| line.split_ascii_whitespace().eq(["NoNewPrivs:", "1"]))
    })
}

fn all() -> impl Iterator<Item = Stat> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its last parenthesis.
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(text.get(after..)?).ok()?.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        process: Process { pid, start },
        zombie,
        parent,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_not_a_later_namesake() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let me = Process::now(pid).expect("we run");
        assert!(me.pidfd().expect("opens").is_some());
        let namesake = Process {
            start: me.start + 1,
            ..me
        };
        assert!(namesake.pidfd().expect("asks").is_none());
        let me = stat(pid).expect("we run");
        assert_eq!(me.parent, nix::unistd::getppid().as_raw());
        assert_eq!(me.session, nix::unistd::getsid(None).expect("has one").as_raw());
    }
}
