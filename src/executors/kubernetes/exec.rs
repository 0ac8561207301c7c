//! Running a script in a container, with bytes going in and out of it.

use std::pin::Pin;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::access::{Access, asked};
use super::objects::KEEP;
use crate::executors::contract::ExecutorError;

/// What is on its way at once, in bytes. Small pieces make a message each.
pub(super) const BUFFER: usize = 256 * 1024;

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
        asked(
            "run a script in the pod",
            self.pods.exec(pod, ["sh", "-c", script], &params),
        )
        .await
    }

    /// Runs a script to its end.
    pub(super) async fn run(&self, pod: &str, script: &str) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, script, false).await?;
        let mut stdout = Vec::new();
        let ran = to_the_end(process, None, &mut stdout).await?;
        Ok(Ran { stdout, ..ran })
    }

    /// Runs a script that reads what `source` gives, and passes on what it prints.
    pub(super) async fn feed(
        &self,
        pod: &str,
        script: &str,
        source: Source,
        into: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, script, true).await?;
        to_the_end(process, Some(source), into).await
    }
}

async fn to_the_end(
    mut process: AttachedProcess,
    source: Option<Source>,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<Ran, ExecutorError> {
    let status = process.take_status();
    let (stdin, out, err) = (process.stdin(), process.stdout(), process.stderr());
    let write = async move {
        if let (Some(mut stdin), Some(mut source)) = (stdin, source) {
            let mut source = BufReader::with_capacity(BUFFER, &mut source);
            match tokio::io::copy_buf(&mut source, &mut stdin).await {
                // A script that has enough ends first; its exit code tells whether that is right.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return broken(&error),
                _ => {}
            }
            let _ = stdin.shutdown().await;
        }
        // Its end is that of the script.
        std::future::pending().await
    };
    let mut stderr = Vec::new();
    let read = async {
        let out = async { copied(out, into).await };
        let err = async { copied(err, &mut stderr).await };
        let ended = async { exit_code(ended(status).await) };
        let ((), (), code) = tokio::try_join!(out, err, ended)?;
        Ok::<_, ExecutorError>(code)
    };
    let code = tokio::select! {
        code = read => code?,
        error = write => return Err(error),
    };
    Ok(Ran {
        code,
        stdout: Vec::new(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

fn broken(error: &std::io::Error) -> ExecutorError {
    ExecutorError::Unreachable(format!("failed to talk to the pod: {error}"))
}

async fn ended(status: Option<impl Future<Output = Option<Status>>>) -> Option<Status> {
    status?.await
}

async fn copied(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ExecutorError> {
    if let Some(from) = from {
        let mut from = BufReader::with_capacity(BUFFER, from);
        tokio::io::copy_buf(&mut from, into)
            .await
            .map_err(|error| broken(&error))?;
        into.flush().await.map_err(|error| broken(&error))?;
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
    let code = causes
        .into_iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message?.parse().ok());
    code.ok_or_else(|| cut(&format!(": {}", status.message.unwrap_or_default())))
}
