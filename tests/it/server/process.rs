//! Processes: found by what they carry, signalled by number, awaited by the kernel.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal; the process must be there.
pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("signal {pid}: {error}"));
}

/// Waits until the process has ended, whoever's child it is.
pub async fn ended(pid: i32) {
    let waiting = tokio::task::spawn_blocking(move || {
        // SAFETY: a system call with two integers, whose result is checked.
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let Ok(fd @ 0..) = i32::try_from(fd) else { return };
        // SAFETY: the kernel has just given this descriptor to us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(60_000u16)).expect("polls");
        assert_eq!(ready, 1, "process {pid} does not end");
    });
    waiting.await.expect("waits");
}

/// Living processes in whose command line or environment this text is.
pub fn carrying(text: &str) -> Vec<(i32, String)> {
    let numbers = std::fs::read_dir("/proc").expect("lists").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let me = i32::try_from(std::process::id()).expect("fits");
    numbers
        .filter(|pid| *pid != me)
        .filter_map(|pid| {
            let read = |file: &str| {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let (command, environment) = (read("cmdline"), read("environ"));
            let carries = command.contains(text) || environment.contains(text);
            carries.then_some((pid, command))
        })
        .collect()
}
