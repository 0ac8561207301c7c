//! What the work may reach: file system (landlock), system calls (seccomp), network (a namespace of its own).
//!
//! Everything that can be made beforehand is made in [`Confinement::prepare`], before the fork; the child only puts
//! it on. Landlock is used as far as the kernel has it; a network that is to be off but can't be cut is an error.
//! Never here: the rules of who may have what, which come in with the spec.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::super::folder::Confine;

/// The newest rules this was written for; the kernel may know fewer.
const LANDLOCK: ABI = ABI::V9;

/// Rules ready to be put on by the child.
pub(super) struct Confinement {
    landlock: RulesetCreated,
    calls: BpfProgram,
    network: bool,
    tmp: Option<CString>,
}

impl Confinement {
    /// Makes the rules.
    pub(super) fn prepare(confine: &Confine) -> io::Result<Self> {
        Ok(Self {
            // A kernel without landlock is no error here: then the rules are made and enforce nothing.
            landlock: landlock_rules(confine).map_err(io::Error::other)?,
            calls: call_filter(Sockets::All)?,
            network: confine.network,
            tmp: confine
                .tmp
                .as_deref()
                .map(|tmp| CString::new(tmp.as_os_str().as_bytes()))
                .transpose()?,
        })
    }

    /// Gives the work namespaces of its own while there are privileges to do so. Says whether the network is cut by
    /// one. The one for System V IPC keeps steps out of each other's shared memory.
    pub(super) fn separate(&self) -> io::Result<bool> {
        let is_privileged = unshare(OWN_SPACES).is_ok();
        if is_privileged {
            forget_host_name();
        }
        if self.network {
            if is_privileged {
                self.own_mounts();
            }
            return Ok(false);
        }
        let cut = (is_privileged && unshare(CloneFlags::CLONE_NEWNET).is_ok()) || separate_as_user()?;
        if cut {
            forget_host_name();
            // A loopback that stays down costs the step its loopback; the network is off all the same.
            let _ = raise_loopback();
            self.own_mounts();
        }
        Ok(cut)
    }

    /// A /tmp and a /dev/shm of its own. Without them landlock lets nobody write to the machine's /tmp, and what is
    /// left in /dev/shm stays there.
    fn own_mounts(&self) {
        let no_data = std::ptr::null();
        let fenced = libc::MS_NOSUID | libc::MS_NODEV;
        // SAFETY: the texts end with a NUL and outlive the calls; the other pointers may be null for these flags.
        unsafe {
            // First nothing of what follows may be seen outside.
            let none = std::ptr::null();
            if libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, no_data) != 0 {
                return;
            }
            let tmpfs = c"tmpfs".as_ptr();
            libc::mount(tmpfs, c"/dev/shm".as_ptr(), tmpfs, fenced, c"mode=1777".as_ptr().cast());
            if let Some(tmp) = &self.tmp {
                libc::mount(tmp.as_ptr(), c"/tmp".as_ptr(), none, libc::MS_BIND, no_data);
            }
        }
    }

    /// Puts the rest on: no new privileges, landlock, seccomp. Says what is enforced.
    pub(super) fn put_on(self, network_is_cut: bool) -> io::Result<Vec<&'static str>> {
        let mut enforced = Vec::new();
        nix::sys::prctl::set_no_new_privs()?;
        // Only now, for it may be another one than before.
        let shared_memory = path_beneath_rules(["/dev/shm"], AccessFs::from_all(LANDLOCK));
        let rules = self.landlock.add_rules(shared_memory).map_err(io::Error::other)?;
        let status = rules.restrict_self().map_err(io::Error::other)?;
        if status.ruleset != RulesetStatus::NotEnforced {
            enforced.push("landlock");
        }
        let needs_filter = !self.network && !network_is_cut;
        let filter = if needs_filter {
            call_filter(Sockets::UnixOnly)?
        } else {
            self.calls
        };
        match seccompiler::apply_filter(&filter) {
            Ok(()) => enforced.push("seccomp"),
            Err(error) if needs_filter => {
                return Err(io::Error::other(format!("the network could not be cut off: {error}")));
            }
            // A kernel without seccomp: the other fences stand.
            Err(_) => {}
        }
        if !self.network {
            enforced.push("network_isolation");
        }
        if network_is_cut {
            // Then there is a loopback too; a filter can't tell it from the rest.
            enforced.push("network_namespace");
        }
        Ok(enforced)
    }
}

fn landlock_rules(confine: &Confine) -> Result<RulesetCreated, landlock::RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::ReadDir;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        // Without these a step could signal clawhand and other steps of the same user, or talk to their sockets.
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(&confine.writable, all))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(readable(confine), read))
}

/// Devices that ordinary programs expect.
const DEVICES: [&str; 10] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/fd",
    "/dev/stdout",
];

/// The largest number of siblings of a hidden path that are listed one by one.
const SIBLINGS_MAX: usize = 4096;

/// Everything below `/` that is not hidden. Landlock rules can only allow, so beside a hidden path its siblings are
/// allowed one by one.
fn readable(confine: &Confine) -> Vec<PathBuf> {
    let mut allowed = Vec::new();
    allow_all_but(Path::new("/"), &confine.hidden, &mut allowed);
    for path in &confine.readable {
        // Something private inside something that is allowed stays hidden.
        let inside: Vec<PathBuf> = confine
            .hidden
            .iter()
            .filter(|hidden| hidden.starts_with(path) && *hidden != path)
            .cloned()
            .collect();
        allow_all_but(path, &inside, &mut allowed);
    }
    allowed
}

fn allow_all_but(folder: &Path, hidden: &[PathBuf], allowed: &mut Vec<PathBuf>) {
    let whole = folder != Path::new("/") && !hidden.iter().any(|path| path.starts_with(folder));
    if whole {
        allowed.push(folder.to_path_buf());
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().take(SIBLINGS_MAX) {
        // A rule on a link would allow what it leads to, hidden or not; what is allowed has a rule of its own.
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            continue;
        }
        let path = entry.path();
        if !hidden.contains(&path) {
            allow_all_but(&path, hidden, allowed);
        }
    }
}

/// What a step has for itself wherever there are privileges to give it.
const OWN_SPACES: CloneFlags = CloneFlags::CLONE_NEWIPC
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS);

const USER_NAMESPACES: CloneFlags = OWN_SPACES
    .union(CloneFlags::CLONE_NEWUSER)
    .union(CloneFlags::CLONE_NEWNET);

/// Test reports like to name the machine, and a short name can't be scrubbed from a text. Inside the work's own
/// namespace the machine is called `localhost`, which resolves everywhere.
fn forget_host_name() {
    let name = c"localhost";
    // SAFETY: the text outlives the call and is as long as said. Where it is refused the old name stays.
    unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) };
}

/// The same inside a user namespace in which the user is itself; false where the kernel has none for us.
fn separate_as_user() -> io::Result<bool> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if unshare(USER_NAMESPACES).is_err() {
        return Ok(false);
    }
    // From here on there is no way back: without the maps the step would be nobody and own nothing.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    Ok(true)
}

fn raise_loopback() -> io::Result<()> {
    // SAFETY: makes a socket; the result is checked.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    // SAFETY: the request outlives the call and is what SIOCSIFFLAGS reads.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Which sockets may be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sockets {
    All,
    UnixOnly,
}

/// Calls that no build or test needs and that reach into the kernel or into other processes' things. io_uring is
/// among them because it makes sockets past this very filter.
const DENIED: [i64; 25] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
];

fn call_filter(sockets: Sockets) -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.into_iter().map(|call| (call, Vec::new())).collect();
    if sockets == Sockets::UnixOnly {
        let family = u64::try_from(libc::AF_UNIX).map_err(io::Error::other)?;
        let not_unix = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(io::Error::other)?;
        rules.insert(libc::SYS_socket, vec![not_unix]);
    }
    let errno = u32::try_from(libc::EPERM).map_err(io::Error::other)?;
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_namespace_the_filter_leaves_only_sockets_that_stay_on_the_machine() {
        let filter = call_filter(Sockets::UnixOnly).expect("compiles");
        // A filter is put on a thread, which takes it along when it ends.
        let seen = std::thread::spawn(move || {
            seccompiler::apply_filter(&filter).expect("is put on");
            let unix = std::os::unix::net::UnixStream::pair().is_ok();
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.kind());
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|error| error.kind());
            (unix, tcp.err(), udp.err())
        });
        let denied = Some(io::ErrorKind::PermissionDenied);
        assert_eq!(seen.join().expect("ends"), (true, denied, denied));
    }

    #[test]
    fn beside_what_is_hidden_everything_is_allowed_one_by_one() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["data/runs", "data/store", "open/deep"] {
            std::fs::create_dir_all(at(name)).expect("makes folders");
        }
        std::fs::write(at("file"), "").expect("writes");
        std::os::unix::fs::symlink(at("data"), at("link")).expect("links");
        let mut allowed = Vec::new();
        allow_all_but(folder.path(), &[at("data/runs")], &mut allowed);
        allowed.sort();
        assert_eq!(allowed, [at("data/store"), at("file"), at("open")]);
    }
}
