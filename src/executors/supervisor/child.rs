//! Making the main process of an attempt: fork, give everything up, execute.
//!
//! The supervisor has a single thread, so the child may do ordinary work between fork and exec. What can be made
//! beforehand is made beforehand all the same. Never here: returning into the supervisor's code from the child.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getppid, pipe2, setsid};

use super::super::folder::Spec;
use super::super::tree::{MARKER, mark_of};
use super::confine::Confinement;

/// The main process, started or not.
pub(super) struct Child {
    /// Its number; it is to be waited for either way.
    pub pid: Pid,
    /// Why it could not execute the program, with the exit code a shell would give.
    pub exec_error: Option<String>,
    /// What is enforced on it.
    pub isolation: Vec<String>,
}

/// The longest error text; it must fit into the room that is kept for the exit note.
const ERROR_MAX: usize = 512;

/// The exit codes of a shell for a program that can't be executed, or isn't there.
const CANT_EXECUTE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// What the child needs, made before the fork.
struct Ready<'a> {
    spec: &'a Spec,
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    null: std::fs::File,
    output: OwnedFd,
    report: OwnedFd,
    supervisor: Pid,
}

/// Starts the main process with its output going to `output`, and returns once it executes its program or failed to.
pub(super) fn start(spec: &Spec, secrets: &BTreeMap<String, String>, output: OwnedFd) -> io::Result<Child> {
    let confinement = Confinement::prepare(&spec.confine)?;
    if let Some((user, group)) = spec.confine.user {
        // So that the work can open its output anew by name, as /dev/stderr.
        std::os::unix::fs::fchown(&output, Some(user), Some(group))?;
    }
    let (reader, report) = pipe2(OFlag::O_CLOEXEC)?;
    let env = environment(spec, secrets);
    let ready = Ready {
        spec,
        programs: programs(spec, env.get("PATH").map_or("", String::as_str))?,
        argv: spec.argv.iter().map(|arg| c_text(arg)).collect::<io::Result<_>>()?,
        env: env
            .iter()
            .map(|(name, value)| c_text(&format!("{name}={value}")))
            .collect::<io::Result<_>>()?,
        null: std::fs::File::open("/dev/null")?,
        output,
        report,
        supervisor: Pid::this(),
    };
    // SAFETY: this process has one thread, so no lock can be held by another one that the child lacks.
    match unsafe { fork() }? {
        ForkResult::Child => become_the_work(&ready, confinement),
        ForkResult::Parent { child } => {
            drop(ready);
            Ok(told(child, reader))
        }
    }
}

/// Reads what the child says about itself until it executes its program, which closes the pipe.
fn told(pid: Pid, reader: OwnedFd) -> Child {
    let mut text = String::new();
    let _ = std::fs::File::from(reader).read_to_string(&mut text);
    let mut child = Child {
        pid,
        exec_error: None,
        isolation: Vec::new(),
    };
    for line in text.lines() {
        match line.split_at_checked(1) {
            Some(("+", word)) => child.isolation.push(word.to_owned()),
            Some(("!", error)) => child.exec_error = Some(error.to_owned()),
            _ => {}
        }
    }
    child
}

/// The whole environment of the work; what the step was given wins, but not over the mark.
fn environment(spec: &Spec, secrets: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env = spec.env.clone();
    env.extend(secrets.clone());
    env.insert(MARKER.to_owned(), spec.attempt.to_string());
    env
}

/// The paths at which the program may be, in the order in which they are tried.
fn programs(spec: &Spec, path: &str) -> io::Result<Vec<CString>> {
    let name = spec.argv.first().map_or("", String::as_str);
    let found: Vec<PathBuf> = if name.contains('/') {
        vec![spec.work.join(name)]
    } else {
        // An empty entry of PATH means the current folder, which is never wanted here.
        path.split(':')
            .filter(|folder| folder.starts_with('/'))
            .map(|folder| PathBuf::from(folder).join(name))
            .collect()
    };
    found.iter().map(|path| c_text(&path.to_string_lossy())).collect()
}

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::other("a NUL byte in an argument or in the environment"))
}

/// Runs in the child and never returns.
fn become_the_work(ready: &Ready<'_>, confinement: Confinement) -> ! {
    let (code, text) = match give_up_everything(ready, confinement) {
        Ok(()) => execute(ready),
        Err(error) => (CANT_EXECUTE, error.to_string()),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(ERROR_MAX).collect();
    say(&ready.report, &format!("!{text}\n"));
    // SAFETY: ends the child at once, without running what the supervisor registered for its own end.
    unsafe { libc::_exit(code) }
}

fn say(report: &OwnedFd, line: &str) {
    if let Ok(report) = report.try_clone() {
        let _ = std::fs::File::from(report).write_all(line.as_bytes());
    }
}

fn give_up_everything(ready: &Ready<'_>, confinement: Confinement) -> io::Result<()> {
    let spec = ready.spec;
    setsid()?;
    signals_as_at_birth()?;
    // The supervisor can't be traced or dumped; the work may be, and needs its own /proc to set its namespaces up.
    prctl::set_dumpable(true)?;
    dup2_stdin(&ready.null)?;
    dup2_stdout(&ready.output)?;
    dup2_stderr(&ready.output)?;
    // SAFETY: marks descriptors, none of which is used by number after the exec.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    let cut = confinement
        .separate()
        .map_err(|error| naming("cut off the network", &error))?;
    limits(spec)?;
    if let Some((user, group)) = spec.confine.user {
        nix::unistd::setgroups(&[])?;
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        nix::unistd::setresgid(group, group, group)?;
        nix::unistd::setresuid(user, user, user)?;
        say(&ready.report, "+own_user\n");
    }
    for word in confinement.put_on(cut)? {
        say(&ready.report, &format!("+{word}\n"));
    }
    // After the change of user, which clears it; then a look whether it came too late.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != ready.supervisor {
        return Err(io::Error::other("the supervisor is gone"));
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir(spec.work.join(&spec.cwd))
        .map_err(|error| naming(&format!("enter the folder {:?} of the workspace", spec.cwd), &error))
}

fn naming(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to {what}: {error}"))
}

/// Every signal with its default action and none blocked. What is ignored stays ignored through an exec, and who
/// started clawhand may have ignored anything.
fn signals_as_at_birth() -> io::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action is not a handler of ours. KILL and STOP refuse, and have it anyway.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    Ok(SigSet::empty().thread_set_mask()?)
}

fn limits(spec: &Spec) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if let Some(mark) = mark_of(&spec.attempt.to_string()) {
        setrlimit(Resource::RLIMIT_MSGQUEUE, mark, mark)?;
    }
    let wanted = [
        (Resource::RLIMIT_FSIZE, spec.limits.max_file_bytes),
        (Resource::RLIMIT_AS, spec.limits.max_memory_bytes),
        (Resource::RLIMIT_NPROC, spec.limits.max_processes),
    ];
    for (resource, limit) in wanted {
        if let Some(limit) = limit {
            // Without privileges a limit can't be raised over the one that clawhand has itself.
            let hard = nix::sys::resource::getrlimit(resource)?.1;
            setrlimit(resource, limit.min(hard), limit.min(hard))?;
        }
    }
    Ok(())
}

/// Executes the program; returns only if none of its paths could be executed.
fn execute(ready: &Ready<'_>) -> (i32, String) {
    let name = ready.spec.argv.first().map_or("", String::as_str);
    let mut why = (NOT_FOUND, format!("{name}: not found"));
    let argv = pointers(&ready.argv);
    let env = pointers(&ready.env);
    for program in &ready.programs {
        // SAFETY: both lists end with a null and point to texts that live in `ready`.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = nix::Error::last();
        if !matches!(error, nix::Error::ENOENT | nix::Error::ENOTDIR) && why.0 == NOT_FOUND {
            why = (CANT_EXECUTE, format!("{name}: {}", error.desc()));
        }
    }
    why
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}
