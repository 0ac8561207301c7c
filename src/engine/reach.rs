//! Waiting for what can't be reached now: the target, the store, the artifacts. And what callers are told of it.

use std::time::Duration;

use super::Halt;
use super::driver::Driver;
use crate::blobs::BlobError;
use crate::executors::ExecutorError;
use crate::store::StoreError;

/// Between two tries of something that can't be reached.
const AGAIN: Duration = Duration::from_millis(500);

/// Why an executor did not do what it was asked, in words for callers: its own words may tell of the system behind it
/// and go to the log only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is sure that nothing was done.
    Refused(String),
    /// It may have been done.
    Unsure(String),
}

impl Failure {
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Refused(why) | Self::Unsure(why) => why,
        }
    }
}

fn words(error: &ExecutorError) -> String {
    match error {
        ExecutorError::UnsafeArchive(why) => why.clone(),
        ExecutorError::StorageFull(_) => "no space is left for it".into(),
        ExecutorError::Refused(_) => "the target refused it; the operator's log has the details".into(),
        ExecutorError::Unreachable(_) => "the target could not be reached".into(),
    }
}

impl Driver {
    /// Tries until the target can be reached, as long as the settings allow. The inner error says why not.
    pub(super) async fn reached<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<Result<T, Failure>, Halt>
    where
        F: Future<Output = Result<T, ExecutorError>> + Send,
    {
        let deadline = self.deadline();
        let mut unreached = false;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(Ok(value)),
                Err(error) => error,
            };
            tracing::warn!(execution.id = %self.execution.id, %error, "the executor could not do it");
            let unreachable = matches!(error, ExecutorError::Unreachable(_));
            unreached |= unreachable;
            if !unreachable || tokio::time::Instant::now() >= deadline {
                let why = words(&error);
                // What was asked of it before it could not be reached may have been done all the same.
                return Ok(Err(if unreached {
                    Failure::Unsure(why)
                } else {
                    Failure::Refused(why)
                }));
            }
            self.pause().await?;
        }
    }

    /// Writes until the store takes it: the output waits at the executor, nothing is lost by waiting.
    pub(super) async fn stored<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        loop {
            match write().await {
                Ok(value) => return Ok(value),
                Err(StoreError::Fenced) => return Err(Halt::Fenced),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Full(_))) => {
                    tracing::warn!(execution.id = %self.execution.id, %error, "the store can't take it now; waiting");
                    self.pause().await?;
                }
                Err(error) => {
                    // A mistake of ours: let the lease run out rather than loop, and let another worker look.
                    tracing::error!(execution.id = %self.execution.id, %error, "the store refused");
                    return Err(Halt::Fenced);
                }
            }
        }
    }

    /// Tries until the artifact store does it, as long as a target would be waited for.
    pub(super) async fn kept<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<Result<T, BlobError>, Halt>
    where
        F: Future<Output = Result<T, BlobError>> + Send,
    {
        let deadline = self.deadline();
        loop {
            match attempt().await {
                Err(error @ (BlobError::Unavailable(_) | BlobError::Full(_)))
                    if tokio::time::Instant::now() < deadline =>
                {
                    tracing::warn!(execution.id = %self.execution.id, %error, "the artifact store can't do it now; waiting");
                    self.pause().await?;
                }
                done => return Ok(done),
            }
        }
    }

    pub(super) fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.shared.settings.unreachable
    }

    /// Waits a moment, unless there is a reason to let go.
    pub(super) async fn pause(&self) -> Result<(), Halt> {
        tokio::select! {
            () = self.signals.stopping.cancelled() => Err(Halt::Stopping),
            () = self.signals.lost.cancelled() => Err(Halt::Fenced),
            _ = tokio::time::timeout(AGAIN, std::future::pending::<()>()) => Ok(()),
        }
    }
}
