//! The life of an attempt, from wherever it stands to its end.
//!
//! ```text
//! nothing sent        -> asks; a failure that is sure to have come before the request is tried again for a while
//! perhaps sent        -> asks again where that does no harm, else it is lost
//! work goes on there  -> goes on asking for its state, in this process or in the next
//! ```
//! What each means stands in [`super::stages`]; here is when it ends: by itself, by cancel, or by time.

use std::time::Duration;

use tokio::time::Instant;

use super::auth::Tokens;
use super::fault::Fault;
use super::notes::{self, CallNote, time_left};
use super::report::Report;
use super::stages::Stage;
use super::{HttpSettings, auth, client};
use crate::domain::target::HttpBlock;
use crate::executors::attempts::{Driving, End};
use crate::executors::contract::ExitReport;

/// What a question for the state gets, however late it is: the work may have ended while nobody asked.
const LAST_LOOK: Duration = Duration::from_secs(15);
/// What ending the work at the API may take.
const CANCEL_MAX: Duration = Duration::from_secs(20);

/// An attempt, and what it is driven with.
pub(super) struct Run {
    pub settings: HttpSettings,
    pub tokens: Tokens,
    pub block: std::sync::Arc<HttpBlock>,
    pub driving: Driving,
}

/// Why it is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Cancelled,
    TimedOut,
}

impl Run {
    /// Drives the attempt to its end, and writes that down.
    pub(super) async fn live(self) {
        let attempt = self.driving.attempt;
        if let Err(error) = self.drive().await {
            tracing::error!(%attempt, %error, "an attempt on an API can't be driven now");
        }
    }

    async fn drive(self) -> std::io::Result<()> {
        let folder = self.driving.folder.clone();
        if folder.end()?.is_some() {
            return Ok(());
        }
        // Room for the end is taken first: a full disk must not make an attempt endless.
        let room = folder.reserve_exit()?;
        let began = Instant::now();
        let (end, dropped) = match notes::call(&folder)? {
            None if notes::progress(&folder)?.sent => {
                (End::Lost("what was asked can't be read any more".to_owned()), 0)
            }
            None => (
                End::NeverStarted("what was to be asked was never written down".to_owned()),
                0,
            ),
            Some(note) => self.ask(&note).await?,
        };
        let end = match end {
            End::Ended(report) => End::Ended(ExitReport {
                output_dropped: dropped,
                duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                ..report
            }),
            other => other,
        };
        folder.write_end(&room, &end)
    }

    async fn ask(&self, note: &CallNote) -> std::io::Result<(End, u64)> {
        let Driving { folder, changes, .. } = &self.driving;
        let mut report = Report::open(
            &folder.out(),
            note.max_output_bytes,
            changes.clone(),
            &self.block.base_url,
        )?;
        let Some(operation) = self.block.operations.get(&note.call.operation) else {
            let lost = "the target has no such operation any more".to_owned();
            return Ok(match notes::progress(&self.driving.folder)?.sent {
                true => (End::Lost(lost), 0),
                false => (End::NeverStarted(lost), 0),
            });
        };
        let client = match client::Client::new(&self.settings, &self.block) {
            Ok(client) => client,
            Err(fault) => return Ok((self.unprepared(&fault)?, 0)),
        };
        let left = time_left(note, self.settings.now.now());
        let mut stage = Stage {
            run: self,
            client: &client,
            sign: auth::Sign {
                auth: self.block.auth.as_ref(),
                secrets: &self.settings.secrets,
                tokens: &self.tokens,
            },
            operation,
            call: &note.call,
            progress: notes::progress(folder)?,
            report: &mut report,
        };
        let least = stage.progress.waiting.as_ref().map_or(Duration::ZERO, |_| LAST_LOOK);
        let deadline = Instant::now() + left.max(least);
        let stopped = tokio::select! {
            biased;
            () = self.driving.cancelled() => Err(Stop::Cancelled),
            end = stage.work() => Ok(end),
            () = tokio::time::sleep_until(deadline) => Err(Stop::TimedOut),
        };
        let end = match stopped {
            Ok(Ok(end) | Err(end)) => end,
            Err(stop) => {
                let _ = tokio::time::timeout(CANCEL_MAX, stage.end_work()).await;
                stage.report.line(match stop {
                    Stop::Cancelled => "ended: it was cancelled",
                    Stop::TimedOut => "ended: it took longer than it may",
                });
                End::Ended(ExitReport {
                    cancelled: stop == Stop::Cancelled,
                    timed_out: stop == Stop::TimedOut,
                    ..ExitReport::default()
                })
            }
        };
        Ok((end, report.finish().0))
    }

    /// Without a client nothing more can be asked; what was asked before stays unknown.
    fn unprepared(&self, fault: &Fault) -> std::io::Result<End> {
        tracing::warn!(attempt = %self.driving.attempt, why = fault.detail, "an API can't be asked");
        let words = fault.words().to_owned();
        Ok(match notes::progress(&self.driving.folder)?.sent {
            true => End::Lost(words),
            false => End::NeverStarted(words),
        })
    }
}
