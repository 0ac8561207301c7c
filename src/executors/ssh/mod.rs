//! Runs steps on a host over SSH. Nothing is installed there: the supervisor is the shell text of [`super::posix`].
//!
//! Everything that is known of an attempt is in its folder on the host, so any clawhand process can go on where another
//! one ended, and the end of a connection means nothing to the work. How a step ended is read from the note there,
//! never from a channel. Never here: a host key that isn't known yet, a secret in an argument or a file.
//! Start reading at [`SshExecutor`]; connections are in `pool.rs`. docs/decisions/ssh.md has the reasons.

mod connect;
mod files;
mod forward;
mod observe;
mod pool;
mod probe;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::ExecutorSettings;
use super::contract::{
    CollectLimit, Collected, Executor, ExecutorError, Handle, Input, Observation, StartAttempt, Trouble, Workspace,
};
use super::posix::{Layout, OutputMode, job, quoted, stripped};
use crate::domain::target::SshBlock;
use crate::domain::{AttemptId, Clock, ExecutionId, Facts};
pub(super) use connect::{Cause, ConnectError};
pub(super) use forward::Forward;
use pool::{Body, Call, Host, Purpose, Said};

pub use pool::SshPool;

const WATCH: &str = include_str!("watch.sh");
const CLEAN_UP: &str = include_str!("clean_up.sh");
const PREPARE: &str = include_str!("prepare.sh");

/// A command that only looks or writes a line.
const QUICK: Duration = Duration::from_secs(30);
/// A command that moves or removes files.
const LONG: Duration = Duration::from_secs(30 * 60);
/// What such a command may say.
const SAID_MAX: usize = 64 * 1024;
/// How old a probe must be before it is taken for the remains of one that was killed.
const STALE_PROBE_MINUTES: u32 = 60;

/// Runs steps on a host over SSH.
pub struct SshExecutor {
    block: SshBlock,
    host: Arc<Host>,
    scratch: PathBuf,
    now: Clock,
}

impl SshExecutor {
    /// For the host of a target, with the connections that all share.
    pub fn new(settings: &ExecutorSettings, pool: &SshPool, block: &SshBlock) -> Self {
        Self {
            block: block.clone(),
            host: pool.host(block, &settings.scratch),
            scratch: settings.scratch.clone(),
            now: settings.local.now.clone(),
        }
    }

    fn run_folder(&self, execution: ExecutionId) -> String {
        format!("{}/{execution}", self.block.root)
    }

    /// Has a shell on the host read a script of ours, after the settings that it needs.
    async fn script(&self, settings: &[(&str, &str)], text: &str, within: Duration) -> Result<Said, ExecutorError> {
        let text = script_text(settings, text);
        self.host
            .run(Call {
                purpose: Purpose::Short,
                command: "sh -s",
                body: Body::Text(&text),
                max: SAID_MAX,
                within,
            })
            .await
    }

    fn layout(&self, workspace: &Workspace, attempt: AttemptId) -> Result<(Layout, String), ExecutorError> {
        let run = workspace
            .place
            .strip_suffix("/work")
            .ok_or_else(|| ExecutorError::Refused("the workspace has no run folder".to_owned()))?;
        let folder = format!("{run}/attempts/{attempt}");
        let layout = Layout {
            attempt: folder.clone(),
            work: workspace.place.clone(),
            home: format!("{run}/home"),
            tmp: format!("{run}/tmp"),
            path: self.block.path.clone(),
            output: OutputMode::File,
        };
        Ok((layout, folder))
    }
}

#[async_trait]
impl Executor for SshExecutor {
    async fn prepare(&self, execution: ExecutionId, inputs: &[Input]) -> Result<Workspace, ExecutorError> {
        // Nothing has begun, so a login that is refused needn't be waited for.
        let login = self.host.channel(Purpose::Short).await;
        drop(login.map_err(ConnectError::into_executor_error)?);
        self.lay_out(execution, inputs).await
    }

    async fn start(&self, workspace: &Workspace, start: &StartAttempt) -> Result<Handle, ExecutorError> {
        let (layout, place) = self.layout(workspace, start.attempt)?;
        let job = job(start, &layout)?.whole();
        let path = format!("{}:{}", self.block.path, SshBlock::PATH);
        // Plain words, which any login shell understands. What comes after `cat` lives on without the channel.
        let command = format!(
            "cat | setsid setsid env -i CLAWHAND_SUPERVISOR={} LC_ALL=C PATH={} sh -s",
            start.attempt,
            quoted(&path)
        );
        let said = self
            .host
            .run(Call {
                purpose: Purpose::Short,
                command: &command,
                body: Body::Text(&job),
                max: SAID_MAX,
                within: QUICK,
            })
            .await?;
        let answer = String::from_utf8_lossy(&said.stdout);
        match answer.trim_end() {
            "started" | "already" => Ok(Handle {
                attempt: start.attempt,
                place,
            }),
            "" => Err(failed("start the supervisor", &said)),
            text => Err(match text.split_once(": ") {
                Some(("full", why)) => ExecutorError::StorageFull(format!("failed to start the attempt: {why}")),
                _ => ExecutorError::Refused(format!("the supervisor refused the attempt: {text}")),
            }),
        }
    }

    async fn observe(
        &self,
        handle: &Handle,
        from: u64,
        max: usize,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        self.look(handle, observe::Window { from, max }, wait).await
    }

    async fn cancel(&self, handle: &Handle, grace: Duration) -> Result<(), ExecutorError> {
        let grace = grace.as_millis().min(u128::from(u32::MAX)).to_string();
        // The note for a supervisor that is just starting, the event for one that runs. An event that nobody hears is
        // gone with the descriptor.
        let text = "[ -d \"$cw_dir\" ] || exit 0\n\
                    printf '%s' \"$cw_grace\" >\"$cw_dir/cancel\"\n\
                    [ ! -p \"$cw_dir/events\" ] || printf 'cancel %s\\n' \"$cw_grace\" 1<>\"$cw_dir/events\"\n";
        let said = self
            .script(&[("dir", &handle.place), ("grace", &grace)], text, QUICK)
            .await?;
        match said.code {
            Some(0) => Ok(()),
            _ => Err(failed("cancel the attempt", &said)),
        }
    }

    async fn collect(
        &self,
        workspace: &Workspace,
        globs: &[String],
        limit: CollectLimit,
    ) -> Result<Collected, ExecutorError> {
        self.collect_files(workspace, globs, limit).await
    }

    async fn clean_up(&self, execution: ExecutionId) -> Result<(), ExecutorError> {
        let text = format!("{WATCH}\n{CLEAN_UP}\ncw_clean_up\n");
        let said = self
            .script(&[("run", &self.run_folder(execution))], &text, LONG)
            .await?;
        match said.stdout.as_slice() {
            b"done\n" => Ok(()),
            _ => Err(failed("remove the run folder", &said)),
        }
    }

    async fn probe(&self) -> Result<Facts, Trouble> {
        // For its causes, which the errors of the other calls don't tell apart.
        if let Err(error) = self.host.channel(Purpose::Short).await {
            return Err(error.into_trouble(&self.block));
        }
        self.learn().await
    }

    fn workspace(&self, execution: ExecutionId) -> Workspace {
        Workspace {
            execution,
            place: format!("{}/work", self.run_folder(execution)),
        }
    }

    async fn leftovers(&self) -> Result<Vec<ExecutionId>, ExecutorError> {
        let text = "[ -d \"$cw_root\" ] && cd \"$cw_root\" || exit 0\n\
                    for cw_file in */probe; do\n\
                    [ ! -f \"$cw_file\" ] || [ -z \"$(find \"$cw_file\" -mmin \"+$cw_minutes\")\" ] || rm -rf \"${cw_file%/probe}\"\n\
                    done\n\
                    for cw_file in *; do [ -f \"$cw_file/probe\" ] || printf '%s\\n' \"$cw_file\"; done\n";
        let minutes = STALE_PROBE_MINUTES.to_string();
        let said = self
            .script(&[("root", &self.block.root), ("minutes", &minutes)], text, LONG)
            .await?;
        if said.code != Some(0) {
            return Err(failed("list the run folders", &said));
        }
        let names = String::from_utf8_lossy(&said.stdout).into_owned();
        Ok(names.lines().filter_map(|name| name.parse().ok()).collect())
    }

    fn private_texts(&self, execution: ExecutionId) -> Vec<(String, String)> {
        let run = self.run_folder(execution);
        let mut texts = vec![
            (format!("{run}/work"), "/workspace".to_owned()),
            (format!("{run}/home"), "/home".to_owned()),
            (format!("{run}/tmp"), "/tmp".to_owned()),
            (run, "/run".to_owned()),
            (self.block.root.clone(), "/runs".to_owned()),
            (self.block.host.clone(), "[host]".to_owned()),
            (self.block.user.clone(), "[user]".to_owned()),
        ];
        texts.extend(self.host.names().into_iter().map(|name| (name, "[host]".to_owned())));
        texts.extend(self.block.names.iter().map(|name| (name.clone(), "[host]".to_owned())));
        texts
    }
}

/// Settings and a script as one text, of which nothing is executed if it arrives cut off.
fn script_text(settings: &[(&str, &str)], text: &str) -> String {
    let mut whole = "{\n".to_owned();
    for (name, value) in settings {
        whole.push_str(&format!("cw_{name}={}\n", quoted(value)));
    }
    whole.extend(stripped(text));
    whole.push_str("}\n");
    whole
}

/// What a command could not do, as an error of the contract.
fn failed(what: &str, said: &Said) -> ExecutorError {
    let why = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = format!("failed to {what}: {why}");
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    // Each with its first letter left out, for tools differ in that.
    if has(&["o space left", "uota exceeded"]) {
        ExecutorError::StorageFull(text)
    } else if has(&[
        "ermission denied",
        "ot found",
        "own folder",
        "ead-only file system",
        "ot a directory",
    ]) {
        ExecutorError::Refused(text)
    } else {
        ExecutorError::Unreachable(text)
    }
}
