//! Running a script in a container, with bytes going in and out of it.
//!
//! A cluster may lose the end of what a script printed and still tell that it ended well (kubernetes#124571). So every
//! script says when that was all, and what comes without it counts as cut off, which may be tried again.

use std::pin::Pin;

use bytes::{Buf as _, BytesMut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::access::{Access, asked};
use super::objects::KEEP;
use crate::executors::contract::ExecutorError;

/// What is on its way at once, in bytes. Small pieces make a message each.
pub(super) const BUFFER: usize = 256 * 1024;

/// The last that a script prints which did what it was to do.
const WHOLE: &str = "clawhand: that was all";

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
        let complaint = self.stderr.to_ascii_lowercase();
        let has = |words: &str| complaint.contains(words);
        Err(if has("no space left") {
            ExecutorError::StorageFull(text)
        } else if has("short read") || has("unexpected eof") {
            // What tars say of an archive that ends too early.
            ExecutorError::Unreachable(text)
        } else {
            ExecutorError::Refused(text)
        })
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
        let mut stdout = Vec::new();
        let ran = self.pour(pod, script, &mut stdout).await?;
        Ok(Ran { stdout, ..ran })
    }

    /// Runs a script, and passes on what it prints.
    pub(super) async fn pour(
        &self,
        pod: &str,
        script: &str,
        into: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, &telling_its_end(script), false).await?;
        to_the_end(process, None, into).await
    }

    /// Runs a script that reads what `source` gives, and passes on what it prints.
    pub(super) async fn feed(
        &self,
        pod: &str,
        script: &str,
        source: Source,
        into: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ran, ExecutorError> {
        let process = self.attach(pod, &telling_its_end(script), true).await?;
        to_the_end(process, Some(source), into).await
    }
}

fn telling_its_end(script: &str) -> String {
    format!("(\n{script}\n)\ncode=$?\n[ \"$code\" != 0 ] || printf '{WHOLE}'\nexit \"$code\"\n")
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
        let out = async { passed_on(out, into).await };
        let err = async { copied(err, &mut stderr).await };
        let ended = async { exit_code(ended(status).await) };
        let (is_whole, (), code) = tokio::try_join!(out, err, ended)?;
        match code {
            0 if !is_whole => Err(cut(" in the middle of what it printed")),
            code => Ok(code),
        }
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

/// Passes on what a script prints, but for the mark at its end; false if there was none.
async fn passed_on(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<bool, ExecutorError> {
    let mut held = BytesMut::new();
    let passing = async {
        if let Some(mut from) = from {
            loop {
                held.reserve(BUFFER);
                if from.read_buf(&mut held).await? == 0 {
                    break;
                }
                let sure = held.len().saturating_sub(WHOLE.len());
                into.write_all(&held[..sure]).await?;
                held.advance(sure);
            }
        }
        let is_whole = held == WHOLE.as_bytes();
        if !is_whole {
            into.write_all(&held).await?;
        }
        into.flush().await?;
        Ok(is_whole)
    };
    passing.await.map_err(|error| broken(&error))
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

fn cut(how: &str) -> ExecutorError {
    ExecutorError::Unreachable(format!("a script in the pod was cut off{how}"))
}

#[cfg(test)]
mod tests {
    use tokio_util::io::StreamReader;

    use super::*;

    async fn passed(pieces: &[&[u8]]) -> (bool, String) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece)).collect();
        let from = StreamReader::new(futures_util::stream::iter(pieces));
        let mut into = Vec::new();
        let is_whole = passed_on(Some(from), &mut into).await.expect("nothing breaks");
        (is_whole, String::from_utf8(into).expect("text"))
    }

    #[tokio::test]
    async fn what_was_cut_off_is_told_from_what_is_whole() {
        let mark = WHOLE.as_bytes();
        let (first, last) = mark.split_at(5);
        for (pieces, is_whole, text) in [
            (&[b"some" as &[u8], b"thing", mark][..], true, "something"),
            (&[b"something", first, last], true, "something"),
            (&[b"something", mark, mark], true, "somethingclawhand: that was all"),
            (&[mark], true, ""),
            (&[b"something", first], false, "somethingclawh"),
            (&[b"something", mark, b"\n"], false, "somethingclawhand: that was all\n"),
            (&[], false, ""),
        ] {
            assert_eq!(passed(pieces).await, (is_whole, text.to_owned()), "{pieces:?}");
        }
        assert!(
            !passed_on(None::<tokio::io::Empty>, &mut Vec::new())
                .await
                .expect("nothing breaks")
        );
    }
}
