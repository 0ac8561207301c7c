//! The log of one attempt's container, read from any offset and kept open between two looks.
//!
//! The step's output is the container's standard output; the supervisor says on standard error that the step has
//! started and how it ended. The daemon knows no offsets: to resume at one, the log is read from its beginning again.

use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::pool::Client;
use crate::executors::contract::AttemptState;

type LogStream = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// What was read ahead at most, in bytes, before somebody takes it.
const AHEAD: usize = 1 << 20;
/// What the supervisor says of itself at most, in bytes.
const NOTES_MAX: usize = 64 * 1024;

/// A log that is being followed.
#[derive(Default)]
pub(super) struct Follow {
    stream: Option<LogStream>,
    /// The offset of the first byte of `buffer`.
    at: u64,
    buffer: BytesMut,
    notes: Vec<u8>,
    /// Whether what is open came to its end.
    is_over: bool,
    /// How the attempt ended, once that is known, and how much it printed in all.
    end: Option<(AttemptState, u64)>,
}

impl Follow {
    /// Opens the log anew, unless what is open can still get to `from`.
    pub(super) fn open(&mut self, client: &Client, container: &str, from: u64) {
        let is_open = self.stream.is_some() || self.is_over;
        if is_open && from >= self.at {
            return;
        }
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
        *self = Self {
            stream: Some(Box::pin(client.quick.logs(container, Some(options)))),
            end: self.end.take(),
            ..Self::default()
        };
    }

    /// Makes the next look open the log anew.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// What the supervisor said so far.
    pub(super) fn notes(&self) -> String {
        String::from_utf8_lossy(&self.notes).into_owned()
    }

    /// Output from `from` on, as far as it was read.
    pub(super) fn take(&mut self, from: u64, max: usize) -> Bytes {
        self.skip_to(from);
        if self.at != from {
            return Bytes::new();
        }
        // It stays in the buffer: who asks again from the same offset gets it again.
        Bytes::copy_from_slice(&self.buffer[..self.buffer.len().min(max)])
    }

    /// Whether the log came to its end without anybody having said what that means.
    pub(super) fn is_unexplained(&self) -> bool {
        self.is_over && self.end.is_none()
    }

    /// Remembers how the attempt ended, now that its whole log was read.
    pub(super) fn explain(&mut self, end: AttemptState) {
        self.end = Some((end, self.at + self.buffer.len() as u64));
    }

    /// What to tell of `output`, which begins at `from`; nothing while there may be more to wait for.
    pub(super) fn tell(&self, output: &Bytes, from: u64, max: usize) -> Option<AttemptState> {
        match &self.end {
            None => (!output.is_empty()).then_some(AttemptState::Running),
            // What is open may have come to its end early, as when somebody removed the container.
            Some((end, total)) => {
                let is_last = self.is_over && output.len() == self.buffer.len();
                if is_last || from + output.len() as u64 >= *total {
                    return Some(end.clone());
                }
                (output.len() == max).then_some(AttemptState::Running)
            }
        }
    }

    /// Waits for more, and takes along what else is there already. Dropped halfway it loses nothing.
    pub(super) async fn more(&mut self, from: u64) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut next = stream.next().await;
        loop {
            match next {
                Some(Ok(LogOutput::StdErr { message })) => {
                    let room = NOTES_MAX - self.notes.len().min(NOTES_MAX);
                    self.notes.extend_from_slice(&message[..message.len().min(room)]);
                }
                Some(Ok(output)) => {
                    self.buffer.extend_from_slice(output.as_ref());
                    self.skip_to(from);
                }
                Some(Err(error)) => {
                    self.close();
                    return Err(error);
                }
                None => {
                    self.stream = None;
                    self.is_over = true;
                    return Ok(());
                }
            }
            let is_full = self.buffer.len() >= AHEAD;
            let Some(stream) = self.stream.as_mut().filter(|_| !is_full) else {
                return Ok(());
            };
            match stream.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    fn skip_to(&mut self, from: u64) {
        let before = usize::try_from(from.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let before = before.min(self.buffer.len());
        self.buffer.advance(before);
        self.at += before as u64;
    }
}
