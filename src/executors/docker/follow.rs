//! What an attempt prints, while it runs and after.
//!
//! The supervisor writes the output to a file of the volume. While the container runs, a small process in it passes the
//! file on from any offset; once it has ended, the file is fetched as it is. The daemon's own log is not used: it cuts
//! the output into lines and tells a few ten thousand of them in a second, and it holds a line back until it ends.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use crate::executors::contract::{AttemptState, Observation};

/// What the process in the container says.
pub(super) type Live = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
/// Says when the container has ended; what it says with it doesn't matter.
pub(super) type Ending = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// What the process in the container says first. Where it could not be started, the daemon says why in its place.
pub(super) const GREETING: &[u8; 12] = b"cw-follows:\0";

/// What is read ahead at most, in bytes, before somebody takes it.
const AHEAD: usize = 1 << 20;

/// An attempt that is being followed.
#[derive(Default)]
pub(super) struct Follow {
    pub live: Option<Live>,
    pub ending: Option<Ending>,
    /// The offset of the first byte of `buffer`.
    at: u64,
    buffer: BytesMut,
    /// How much of the greeting was heard.
    greeted: usize,
    pub end: Option<End>,
}

/// An attempt that is over, with all that it printed.
pub(super) struct End {
    pub state: AttemptState,
    pub output: File,
    pub size: u64,
}

impl End {
    /// The part of the output that begins at `from`.
    pub(super) fn part(&self, from: u64, max: usize) -> std::io::Result<Observation> {
        let left = usize::try_from(self.size.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut part = vec![0; left.min(max).min(AHEAD)];
        self.output.read_exact_at(&mut part, from)?;
        let is_last = from + part.len() as u64 >= self.size;
        Ok(Observation {
            output: Bytes::from(part),
            state: if is_last {
                self.state.clone()
            } else {
                AttemptState::Running
            },
        })
    }
}

impl Follow {
    /// Forgets what is open. Nothing is lost: all of it can be asked for again.
    pub(super) fn close(&mut self) {
        *self = Self {
            end: self.end.take(),
            ..Self::default()
        };
    }

    /// Takes what the process in the container will say, which begins at `from`.
    pub(super) fn open(&mut self, live: Live, from: u64) {
        self.live = Some(live);
        self.greeted = 0;
        self.buffer.clear();
        self.at = from;
    }

    /// Output from `from` on, as far as it was read. What is open is closed if it can't get there.
    pub(super) fn take(&mut self, from: u64, max: usize) -> Bytes {
        let skipped = from
            .checked_sub(self.at)
            .and_then(|skipped| usize::try_from(skipped).ok());
        let Some(skipped) = skipped.filter(|skipped| *skipped <= self.buffer.len()) else {
            self.live = None;
            return Bytes::new();
        };
        self.buffer.advance(skipped);
        self.at = from;
        // It stays in the buffer: who asks again from the same offset gets it again.
        Bytes::copy_from_slice(&self.buffer[..self.buffer.len().min(max)])
    }

    /// Waits until output or the end comes. Dropped halfway it loses nothing. When the process in the container ends,
    /// nothing is open afterwards.
    pub(super) async fn news(&mut self) -> News {
        let (live, buffer, greeted) = (&mut self.live, &mut self.buffer, &mut self.greeted);
        let ending = &mut self.ending;
        let ended = async {
            match ending {
                Some(ending) => drop(ending.next().await),
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            () = ended => News::Ended,
            () = more(live, buffer, greeted) => News::Output,
        };
        if news == News::Ended {
            self.ending = None;
        }
        news
    }
}

/// Waits for more, and takes along what else is there already.
async fn more(live: &mut Option<Live>, buffer: &mut BytesMut, greeted: &mut usize) {
    let Some(stream) = live else {
        return std::future::pending().await;
    };
    let mut next = stream.next().await;
    loop {
        let Some(Ok(output)) = next else {
            *live = None;
            return;
        };
        let said = output.as_ref();
        let greeting = &GREETING[*greeted..];
        let greeting = &greeting[..greeting.len().min(said.len())];
        if !said.starts_with(greeting) {
            *live = None;
            return;
        }
        *greeted += greeting.len();
        buffer.extend_from_slice(&said[greeting.len()..]);
        if buffer.len() >= AHEAD {
            return;
        }
        match stream.next().now_or_never() {
            Some(more) => next = more,
            None => return,
        }
    }
}

/// What happened first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// There is more output, or what was open is closed.
    Output,
    /// The container doesn't run any more.
    Ended,
}
