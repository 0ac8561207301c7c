//! Running a script in a container, with bytes going in and out of it.

use std::pin::Pin;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::access::{Access, asked};
use super::objects::KEEP;
use crate::executors::contract::ExecutorError;

/// What is on its way at once, in bytes. Small pieces make a message each.
pub(super) const BUFFER: usize = 256 * 1024;
/// More than any of our own scripts says.
const SAID_MAX: u64 = 64 * 1024 * 1024;

/// Bytes for a script to read.
pub(super) type Source = Pin<Box<dyn AsyncRead + Send>>;

/// How a script ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// An error unless the script did what it was to do.
    pub(super) fn well(self, what: &str) -> Result<Self, ExecutorError> {
        if self.code == 0 {
            return Ok(self);
        }
        let text = format!("failed to {what}: {} (exit code {})", self.stderr.trim(), self.code);
        if self.stderr.to_ascii_lowercase().contains("no space left") {
            return Err(ExecutorError::StorageFull(text));
        }
        Err(ExecutorError::Refused(text))
    }
}

impl Access {
    /// Starts a script in the container that keeps a pod's volume.
    pub(super) async fn attach(&self, pod: &str, script: &str, stdin: bool) -> Result<AttachedProcess, ExecutorError> {
        let params = AttachParams {
            container: Some(KEEP.to_owned()),
            stdin,
            stdout: true,
            stderr: true,
            tty: false,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        };
        asked("run a script in the pod", self.pods.exec(pod, ["sh", "-c", script], &params)).await
    }

    /// Runs a script to its end.
    pub(super) async fn run(&self, pod: &str, script: &str) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, script, false).await?;
        to_the_end(process, None).await
    }

    /// Runs a script that reads what `source` gives.
    pub(super) async fn feed(&self, pod: &str, script: &str, source: Source) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, script, true).await?;
        to_the_end(process, Some(source)).await
    }
}

async fn to_the_end(mut process: AttachedProcess, source: Option<Source>) -> Result<Ran, ExecutorError> {
    let status = process.take_status();
    let (stdin, out, err) = (process.stdin(), process.stdout(), process.stderr());
    let write = async move {
        if let (Some(mut stdin), Some(mut source)) = (stdin, source) {
            // A script that has enough ends first; its exit code tells whether that is right.
            let copied = tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(BUFFER, &mut source), &mut stdin).await;
            let _ = stdin.shutdown().await;
            return match copied {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            };
        }
        Ok(())
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read_out = read(out, &mut stdout);
    let read_err = read(err, &mut stderr);
    let ended = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let (wrote, out, err, ended) = tokio::join!(write, read_out, read_err, ended);
    for result in [wrote, out, err] {
        result.map_err(|error| ExecutorError::Unreachable(format!("failed to talk to the pod: {error}")))?;
    }
    Ok(Ran {
        code: exit_code(ended)?,
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> std::io::Result<()> {
    if let Some(from) = from {
        from.take(SAID_MAX).read_to_end(into).await?;
    }
    Ok(())
}

/// What the cluster says of a script's end. Without a word it was cut off.
pub(super) fn exit_code(status: Option<Status>) -> Result<i32, ExecutorError> {
    let cut = |why: &str| ExecutorError::Unreachable(format!("a script in the pod was cut off{why}"));
    let status = status.ok_or_else(|| cut(""))?;
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message?.parse().ok());
    code.ok_or_else(|| cut(&format!(": {}", status.message.unwrap_or_default())))
}
