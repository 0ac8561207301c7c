//! Starting an attempt once: the folder, the spec, the supervisor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{LocalExecutor, blocking, failed, plain_parts, text_of};
use crate::executors::contract::{ExecutorError, Handle, StartAttempt, Workspace};
use crate::executors::folder::{AttemptFolder, RunFolder, Spec, make_folder};
use crate::executors::supervisor::answer;

/// A supervisor answers within milliseconds; one that doesn't in this time is stuck on its disk.
const ANSWER_MAX: Duration = Duration::from_secs(30);

impl LocalExecutor {
    pub(super) async fn start_attempt(
        &self,
        workspace: &Workspace,
        start: &StartAttempt,
    ) -> Result<Handle, ExecutorError> {
        check(start)?;
        let run = RunFolder::around(Path::new(&workspace.place))
            .ok_or_else(|| ExecutorError::Refused("the workspace has no run folder".to_owned()))?;
        let folder = run.attempt(start.attempt);
        let handle = Handle {
            attempt: start.attempt,
            place: text_of(folder.path())?,
        };
        let spec = self.spec(&run, start)?;
        let place = folder.clone();
        let may_launch =
            blocking(move || write_down(&place, &spec).map_err(|error| failed("write the attempt down", &error)));
        if may_launch.await? {
            self.launch(&folder, &start.secrets).await?;
        }
        Ok(handle)
    }

    fn spec(&self, run: &RunFolder, start: &StartAttempt) -> Result<Spec, ExecutorError> {
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), self.path().to_owned()),
            ("HOME".to_owned(), text_of(&run.home())?),
            ("TMPDIR".to_owned(), text_of(&run.tmp())?),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        env.extend(self.rustup_home().map(|home| ("RUSTUP_HOME".to_owned(), home)));
        env.extend(start.env.clone());
        Ok(Spec {
            attempt: start.attempt,
            asked_at: self.settings.now.now(),
            argv: start.argv.clone(),
            work: run.work(),
            cwd: start.cwd.clone(),
            env,
            timeout_ms: milliseconds(start.timeout),
            grace_ms: milliseconds(start.grace),
            max_output_bytes: start.max_output_bytes,
            limits: start.limits,
            confine: self.confine(run)?,
        })
    }

    /// Starts the supervisor and hears whether it has the attempt. Dropped halfway, this leaves a supervisor that
    /// either started the attempt or refuses half a text of secrets.
    async fn launch(&self, folder: &AttemptFolder, secrets: &BTreeMap<String, String>) -> Result<(), ExecutorError> {
        let secrets = serde_json::to_vec(secrets).map_err(|error| failed("pass the secrets", &error.into()))?;
        let mut supervisor = supervisor_command(&self.settings.program, folder)
            .and_then(|mut command| command.spawn())
            .map_err(|error| failed("start the supervisor", &error))?;
        let (stdin, stdout) = (supervisor.stdin.take(), supervisor.stdout.take());
        let talk = async move {
            if let Some(mut stdin) = stdin {
                // A supervisor that found the attempt taken doesn't read them; its answer tells.
                let _ = stdin.write_all(&secrets).await;
            }
            let mut said = String::new();
            if let Some(stdout) = stdout {
                stdout.take(4096).read_to_string(&mut said).await?;
            }
            Ok::<_, io::Error>(said)
        };
        match tokio::time::timeout(ANSWER_MAX, talk).await {
            Ok(Ok(said)) => understand(said.trim_end()),
            Ok(Err(error)) => Err(failed("hear from the supervisor", &error)),
            Err(_) => Err(ExecutorError::Unreachable(
                "the supervisor did not answer in time".to_owned(),
            )),
        }
    }
}

/// Writes the attempt down, and says whether a supervisor is to be launched: not where one lives, and not where one
/// ever started the work.
fn write_down(folder: &AttemptFolder, spec: &Spec) -> io::Result<bool> {
    make_folder(folder.path(), 0o700)?;
    if folder.exit()?.is_some() || folder.started()?.is_some() || folder.is_locked()? {
        return Ok(false);
    }
    if folder.spec()?.is_none() {
        folder.write_spec(spec)?;
    }
    Ok(true)
}

fn supervisor_command(program: &Path, folder: &AttemptFolder) -> io::Result<Command> {
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(folder.log())?;
    let mut command = Command::new(program);
    command
        .arg("supervise")
        .arg(PathBuf::from(folder.path()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    Ok(command)
}

fn understand(said: &str) -> Result<(), ExecutorError> {
    if said == answer::STARTED || said == answer::ALREADY {
        return Ok(());
    }
    if let Some(why) = said.strip_prefix(answer::FULL) {
        return Err(ExecutorError::StorageFull(format!(
            "failed to start the attempt: {why}"
        )));
    }
    match said.strip_prefix(answer::REFUSED) {
        Some(why) => Err(ExecutorError::Refused(format!(
            "the supervisor refused the attempt: {why}"
        ))),
        // It ended without a word: killed, or the program is not clawhand.
        None => Err(ExecutorError::Unreachable(
            "the supervisor ended before it started the attempt".to_owned(),
        )),
    }
}

/// Refuses what no process can be given.
pub(in crate::executors) fn check(start: &StartAttempt) -> Result<(), ExecutorError> {
    let refuse = |text: String| Err(ExecutorError::Refused(text));
    if start.argv.first().is_none_or(String::is_empty) {
        return refuse("the step has no program".to_owned());
    }
    if !start.cwd.is_empty() && plain_parts(&start.cwd).is_none() {
        return refuse(format!("the folder {:?} is not inside the workspace", start.cwd));
    }
    if start.argv.iter().any(|arg| arg.contains('\0')) {
        return refuse("an argument of the step contains a NUL byte".to_owned());
    }
    for (name, value) in start.env.iter().chain(&start.secrets) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return refuse(format!(
                "the environment variable {name:?} can't be passed to a process"
            ));
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
