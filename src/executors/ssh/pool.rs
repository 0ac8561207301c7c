//! Connections to hosts, shared by all executions: one as a rule, more when many steps are watched at once.
//!
//! A server allows few channels on one connection (`MaxSessions`, 10 by default), so they are counted here, and those
//! that wait for something to happen have a share that leaves room for the others. Never here: what is said on them.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openssh::{Error, Session, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{ConnectError, connect};
use crate::domain::target::SshBlock;
use crate::executors::contract::ExecutorError;
use crate::executors::learned::is_telling;

/// Channels of one connection that do something and end, and those that wait.
const SHORT: usize = 3;
const WAITING: usize = 5;
/// How long is waited for a channel to do something on before another connection is made.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most connections to one host.
const LINKS_MAX: usize = 20;
/// The most of what a command says on its standard error.
const STDERR_MAX: u64 = 8 * 1024;

/// Connections to every host, by how the host is reached.
#[derive(Debug, Default)]
pub struct SshPool {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

impl SshPool {
    /// `notes` is a folder of clawhand's machine, for what is learned of hosts.
    pub(super) fn host(&self, block: &SshBlock, notes: &Path) -> Arc<Host> {
        // Everything but where and with which PATH steps run.
        let key = format!(
            "{:?}",
            SshBlock {
                root: String::new(),
                path: String::new(),
                names: Vec::new(),
                ..block.clone()
            }
        );
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .entry(key)
            .or_insert_with(|| {
                Arc::new(Host {
                    block: block.clone(),
                    links: Mutex::default(),
                    connecting: tokio::sync::Mutex::new(None),
                    names: Names::known(notes.join(format!("ssh-{}-{}.names", block.host, block.port))),
                })
            })
            .clone()
    }
}

/// One host, and the connections to it that are up.
#[derive(Debug)]
pub(super) struct Host {
    block: SshBlock,
    links: Mutex<Vec<Arc<Link>>>,
    /// Held by who makes a connection; with the last failure, so that those who waited meanwhile needn't fail anew.
    connecting: tokio::sync::Mutex<Option<(Instant, ConnectError)>>,
    names: Names,
}

/// What a host is called, by itself or in its network, which steps print and callers must not read. It is known once anything was done there, and
/// kept in a file, because it is wanted before anything is done.
#[derive(Debug)]
struct Names {
    file: PathBuf,
    names: Mutex<BTreeSet<String>>,
}

impl Names {
    fn known(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self {
            file,
            names: Mutex::new(text.lines().map(str::to_owned).collect()),
        }
    }

    fn learn(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_telling(name) || !names.insert(name.to_owned()) {
            return;
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        if let Err(error) = std::fs::write(&self.file, text) {
            tracing::warn!(%error, "the name of a host can't be kept");
        }
    }
}

#[derive(Debug)]
struct Link {
    session: Arc<Session>,
    short: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    is_over: AtomicBool,
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It does something and ends.
    Short,
    /// It waits for something to happen.
    Waiting,
}

/// What goes to the standard input of a command.
pub(super) enum Body<'a> {
    Text(&'a str),
    File(File),
}

/// What a command is, and how much of it is wanted.
pub(super) struct Call<'a> {
    pub purpose: Purpose,
    pub command: &'a str,
    pub body: Body<'a>,
    /// The most bytes on its standard output.
    pub max: usize,
    pub within: Duration,
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Said {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

/// A connection with the right to one more channel on it.
pub(super) struct Channel {
    link: Arc<Link>,
    host: Arc<Host>,
    _permit: OwnedSemaphorePermit,
}

impl Host {
    /// The host said what it is called.
    pub(super) fn learn_name(&self, name: &str) {
        self.names.learn(name);
    }

    /// What it is known to be called.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.names.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A channel, on a connection that is made if need be.
    pub(super) async fn channel(self: &Arc<Self>, purpose: Purpose) -> Result<Channel, ConnectError> {
        let asked = Instant::now();
        if let Some(channel) = self.free_channel(purpose) {
            return Ok(channel);
        }
        if self.is_full() {
            return self.wait_for_channel(purpose).await;
        }
        // What is short is soon over; only when it isn't, another connection helps.
        if purpose == Purpose::Short
            && !self.links().is_empty()
            && let Ok(channel) = tokio::time::timeout(PATIENCE, self.wait_for_channel(purpose)).await
        {
            return channel;
        }
        let mut last = self.connecting.lock().await;
        if let Some(channel) = self.free_channel(purpose) {
            return Ok(channel);
        }
        if let Some((_, error)) = last.as_ref().filter(|(at, _)| *at > asked) {
            return Err(error.clone());
        }
        let session = match connect(&self.block).await {
            Ok(session) => session,
            Err(error) => {
                *last = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        let link = Arc::new(Link {
            session: Arc::new(session),
            short: Arc::new(Semaphore::new(SHORT)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            is_over: AtomicBool::new(false),
        });
        self.links.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        drop(last);
        self.wait_for_channel(purpose).await
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_full(&self) -> bool {
        self.links().len() >= LINKS_MAX
    }

    fn free_channel(self: &Arc<Self>, purpose: Purpose) -> Option<Channel> {
        self.links().into_iter().find_map(|link| {
            let permit = link.permits(purpose).clone().try_acquire_owned().ok()?;
            Some(Channel {
                link,
                host: self.clone(),
                _permit: permit,
            })
        })
    }

    /// Whichever connection has room first; in turn they are asked from the newest on.
    async fn wait_for_channel(self: &Arc<Self>, purpose: Purpose) -> Result<Channel, ConnectError> {
        let gone = || ConnectError {
            cause: super::connect::Cause::Unreachable,
            what: format!("the connection to {} was lost", self.block.host),
        };
        let waits = self.links().into_iter().rev().map(|link| {
            Box::pin(async move {
                let permit = link.permits(purpose).clone().acquire_owned().await.ok()?;
                Some((link, permit))
            })
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return Err(gone());
        }
        let (first, _, _) = futures_util::future::select_all(waits).await;
        let (link, permit) = first.ok_or_else(gone)?;
        Ok(Channel {
            link,
            host: self.clone(),
            _permit: permit,
        })
    }

    /// Runs a command to its end. A connection that turns out to be lost before anything was said is replaced once.
    pub(super) async fn run(self: &Arc<Self>, call: Call<'_>) -> Result<Said, ExecutorError> {
        let mut tried = false;
        let child = loop {
            let channel = self
                .channel(call.purpose)
                .await
                .map_err(ConnectError::into_later_error)?;
            match tokio::time::timeout(call.within, channel.open(call.command)).await {
                Ok(Ok(child)) => break (channel, child),
                Ok(Err(_)) if !tried => {
                    channel.give_up();
                    tried = true;
                }
                Ok(Err(error)) => {
                    channel.give_up();
                    return Err(self.lost(&error.to_string()));
                }
                Err(_) => {
                    channel.give_up();
                    return Err(self.lost("it opens no channel"));
                }
            }
        };
        let (channel, child) = child;
        match tokio::time::timeout(call.within, talk(child, call.body, call.max)).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(why)) => {
                if channel.link.session.check().await.is_err() {
                    channel.give_up();
                }
                Err(self.lost(&why))
            }
            Err(_) => {
                channel.give_up();
                Err(self.lost(&format!("it did not answer within {} s", call.within.as_secs())))
            }
        }
    }

    fn lost(&self, why: &str) -> ExecutorError {
        ExecutorError::Unreachable(format!("{}: {why}", self.block.host))
    }
}

impl Link {
    fn permits(&self, purpose: Purpose) -> &Arc<Semaphore> {
        match purpose {
            Purpose::Short => &self.short,
            Purpose::Waiting => &self.waiting,
        }
    }
}

type Child = openssh::Child<Arc<Session>>;

impl Channel {
    /// Starts a command with all three streams.
    pub(super) async fn open(&self, command: &str) -> Result<Child, Error> {
        let mut command = Session::to_raw_command(self.link.session.clone(), command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().await
    }

    /// Nobody gets a channel on this connection any more; those who have one find out for themselves.
    pub(super) fn give_up(&self) {
        if self.link.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut links = self.host.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| !Arc::ptr_eq(link, &self.link));
        self.link.short.close();
        self.link.waiting.close();
    }
}

/// Says all of it and hears all of it.
async fn talk(mut child: Child, body: Body<'_>, max: usize) -> Result<Said, String> {
    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let say = async move {
        let Some(mut stdin) = stdin else { return };
        // A command that ended early says why in another way.
        let _ = match body {
            Body::Text(text) => stdin.write_all(text.as_bytes()).await,
            Body::File(file) => tokio::io::copy(&mut tokio::fs::File::from_std(file), &mut stdin)
                .await
                .map(drop),
        };
        let _ = stdin.shutdown().await;
    };
    let hear = async move {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout {
            stdout
                .take(max as u64 + 1)
                .read_to_end(&mut bytes)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(bytes)
    };
    let hear_errors = async move {
        let mut bytes = Vec::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(STDERR_MAX).read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let ((), stdout, stderr) = tokio::join!(say, hear, hear_errors);
    let stdout = stdout?;
    if stdout.len() > max {
        return Err("it said more than was asked for".to_owned());
    }
    let code = match child.wait().await {
        Ok(status) => status.code(),
        Err(Error::Remote(_)) => Some(127),
        Err(error) => return Err(error.to_string()),
    };
    Ok(Said { stdout, stderr, code })
}
