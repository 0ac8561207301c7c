//! Watching over the work until nothing of it is left.
//!
//! One loop turn waits for output, for a signal or for a point in time. That nothing is left is known from the
//! system: as the sub-reaper this process has a child for as long as anything descends from it. Never here: giving
//! up on a process that won't end, for whatever is reported as ended must be so.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::contract::ExitReport;
use super::super::folder::{AttemptFolder, ChildNote, Spec};
use super::super::tree::{Process, descendants, mark_of};
use super::output::Output;

/// How long those who outlive the main process have to end by themselves.
const LINGER: Duration = Duration::from_millis(200);
/// The longest time between TERM and KILL for them.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// Between two rounds of TERM and of KILL: what was being born during the first round is there in the second.
const TERM_ROUND: Duration = Duration::from_millis(100);
const KILL_ROUND: Duration = Duration::from_millis(10);
/// What is read at once, and what is read at most after the end from a pipe that somebody outside holds.
const CHUNK: usize = 64 * 1024;
const DRAIN_MAX: usize = 16 * CHUNK;

/// Watches over one attempt.
pub(super) struct Watch<'a> {
    spec: &'a Spec,
    folder: &'a AttemptFolder,
    signals: &'a SignalFd,
    /// None at its end.
    pipe: Option<File>,
    output: Output,
    buffer: Vec<u8>,
    began: Instant,
    /// How the main process ended.
    end: Option<WaitStatus>,
    /// Whether nothing of the work is left.
    childless: bool,
    /// How often somebody asked to end it.
    asked: u32,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        spec: &'a Spec,
        folder: &'a AttemptFolder,
        signals: &'a SignalFd,
        pipe: File,
        output: Output,
    ) -> Self {
        Self {
            spec,
            folder,
            signals,
            pipe: Some(pipe),
            output,
            buffer: vec![0; CHUNK],
            began: Instant::now(),
            end: None,
            childless: false,
            asked: 0,
        }
    }

    /// Watches until nothing is left, and reports.
    pub(super) fn until_the_end(mut self, main: Pid) -> ExitReport {
        if let Some(process) = Process::now(main.as_raw()) {
            let mark = mark_of(&self.folder.marker());
            let _ = self.folder.write_child(&ChildNote { process, mark });
        }
        let mut report = ExitReport::default();
        let deadline = self.began.checked_add(Duration::from_millis(self.spec.timeout_ms));
        while self.end.is_none() && self.asked == 0 && is_before(deadline) {
            self.turn(main, deadline);
        }
        if self.end.is_none() {
            report.cancelled = self.asked > 0;
            report.timed_out = !report.cancelled;
            self.end_tree(main, self.grace_asked());
        } else {
            report.leftovers = self.end_leftovers(main);
        }
        report.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.drain();
        match self.end {
            Some(WaitStatus::Exited(_, code)) => report.exit_code = Some(code),
            Some(WaitStatus::Signaled(_, signal, _)) => report.signal = Some(signal as i32),
            _ => {}
        }
        report.output_dropped = self.output.finish();
        report
    }

    fn grace_asked(&self) -> Duration {
        let note = self.folder.cancel().ok().flatten();
        Duration::from_millis(note.map_or(self.spec.grace_ms, |note| note.grace_ms))
    }

    /// Gives those who are left a moment, then ends them and says how many there were.
    fn end_leftovers(&mut self, main: Pid) -> u32 {
        let until = Instant::now().checked_add(LINGER);
        while !self.childless && is_before(until) {
            self.turn(main, until);
        }
        if self.childless {
            return 0;
        }
        let count = self.tree().len();
        self.end_tree(main, LEFTOVER_GRACE.min(Duration::from_millis(self.spec.grace_ms)));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// TERM to all, KILL to whoever is there after the grace, until nothing is left.
    fn end_tree(&mut self, main: Pid, grace: Duration) {
        let mut until = Instant::now().checked_add(grace);
        let mut asked = self.asked;
        let mut told = BTreeSet::new();
        while !self.childless && is_before(until) {
            // Again in each round: what was being born during the last one has not been told.
            let new = self
                .tree()
                .into_iter()
                .filter(|process| told.insert(*process))
                .collect();
            signal_all(new, Signal::SIGTERM);
            let round = Instant::now().checked_add(TERM_ROUND);
            self.turn(main, until.min(round).or(round));
            if self.asked > asked {
                // Somebody is less patient than the one before.
                asked = self.asked;
                let sooner = Instant::now().checked_add(self.grace_asked());
                until = until.min(sooner).or(sooner);
            }
        }
        while !self.childless {
            // Stopped first, they can't go on making new ones while the others are being killed.
            signal_all(self.tree(), Signal::SIGSTOP);
            signal_all(self.tree(), Signal::SIGKILL);
            self.turn(main, Instant::now().checked_add(KILL_ROUND));
        }
    }

    fn tree(&self) -> Vec<Process> {
        descendants(Pid::this().as_raw())
    }

    /// Waits until something happens or `until` has come, and takes in what happened.
    fn turn(&mut self, main: Pid, until: Option<Instant>) {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(pipe) = &self.pipe {
            fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        }
        // An interrupted wait is a turn in which nothing happened.
        let _ = poll(&mut fds, timeout(until));
        let printed = fds.get(1).and_then(PollFd::any) == Some(true);
        let signalled = fds[0].any() == Some(true);
        if printed {
            self.read_output();
        }
        if signalled {
            self.take_signals(main);
        }
    }

    /// Reads once; says how much. Zero is the end or nothing for now.
    fn read_output(&mut self) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        match pipe.read(&mut self.buffer) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                self.output.push(&self.buffer[..count]);
                return count;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                eprintln!("failed to read the output: {error}");
                self.pipe = None;
            }
        }
        0
    }

    /// What is in the pipe is output too. Somebody outside the tree may hold its other end and write on.
    fn drain(&mut self) {
        let mut drained = 0;
        while drained < DRAIN_MAX {
            match self.read_output() {
                0 => return,
                count => drained += count,
            }
        }
    }

    fn take_signals(&mut self, main: Pid) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if i32::try_from(signal.ssi_signo) != Ok(libc::SIGCHLD) {
                self.asked += 1;
            }
        }
        self.reap(main);
    }

    fn reap(&mut self, main: Pid) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => return,
                Ok(status) => {
                    if status.pid() == Some(main) {
                        self.end = Some(status);
                    }
                }
                Err(_) => {
                    self.childless = true;
                    return;
                }
            }
        }
    }
}

fn signal_all(processes: Vec<Process>, signal: Signal) {
    for process in processes {
        if let Err(error) = process.signal(signal) {
            eprintln!("failed to send {signal} to process {}: {error}", process.pid);
        }
    }
}

fn is_before(until: Option<Instant>) -> bool {
    until.is_none_or(|until| Instant::now() < until)
}

fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, so that the wait isn't repeated for its last part of a millisecond.
    let left = left.as_millis().saturating_add(u128::from(left.subsec_nanos() > 0));
    PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}
