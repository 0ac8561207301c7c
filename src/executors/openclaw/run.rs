//! The life of an attempt, from wherever it stands to its end.
//!
//! ```text
//! nothing sent     -> the message is sent once the gateway is there
//! perhaps sent     -> the run is looked for at the gateway, and followed if it is found
//! stopped          -> the run is ended at the gateway, and what it says of that is the end
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::Patience;
use super::follow::Way;
use super::notes::{self, CallNote, Sent};
use super::questions::Asked;
use super::report::Report;
use crate::domain::Clock;
use crate::executors::attempts::{Driving, End};
use crate::executors::contract::ExitReport;
use crate::gateway::{Gateway, GatewayError};

/// What looking for a run gets, however late it is: it may have ended while nobody asked.
const LAST_LOOK: Duration = Duration::from_secs(15);

/// An attempt, and what it is driven with.
pub(super) struct Run {
    pub now: Clock,
    pub gateway: Result<Gateway, GatewayError>,
    pub patience: Patience,
    pub driving: Driving,
    /// What runs ask.
    pub asked: Asked,
}

impl Run {
    /// Drives the attempt to its end, and writes that down.
    pub(super) async fn live(self) {
        let (attempt, asked) = (self.driving.attempt, self.asked.clone());
        let driven = self.drive().await;
        asked.forget(attempt);
        if let Err(error) = driven {
            tracing::error!(%attempt, %error, "an attempt at an OpenClaw gateway can't be driven now");
        }
    }

    async fn drive(self) -> std::io::Result<()> {
        let folder = &self.driving.folder;
        if folder.end()?.is_some() {
            return Ok(());
        }
        // Room for the end is taken first: a full disk must not make an attempt endless.
        let room = folder.reserve_exit()?;
        let (end, begun_at) = match (notes::call(folder)?, notes::sent(folder)?) {
            (None, Some(_)) => (End::Lost("what was asked can't be read any more".to_owned()), None),
            (None, None) => (
                End::NeverStarted("what was to be asked was never written down".to_owned()),
                None,
            ),
            (Some(note), sent) => (self.follow(&note, sent).await?, Some(note.begun_at)),
        };
        let took = begun_at.map_or(Duration::ZERO, |begun_at| self.now.now().since(begun_at));
        let end = match end {
            End::Ended(report) => End::Ended(ExitReport {
                duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                ..report
            }),
            other => other,
        };
        folder.write_end(&room, &end)
    }

    async fn follow(&self, note: &CallNote, sent: Option<Sent>) -> std::io::Result<End> {
        let folder = &self.driving.folder;
        let mut report = Report::open(&folder.out(), note.max_output_bytes, self.driving.changes.clone())?;
        let gateway = match &self.gateway {
            Ok(gateway) => gateway,
            Err(error) => {
                let why = error.message.clone();
                return Ok(match sent {
                    Some(_) => End::Lost(why),
                    None => End::NeverStarted(why),
                });
            }
        };
        let least = sent.as_ref().map_or(Duration::ZERO, |_| LAST_LOOK);
        let left = note.time_left(self.now.now()).max(least);
        if sent.is_some() {
            report.line("[clawhand was interrupted; it goes on following the run]");
        }
        let way = Way {
            driving: &self.driving,
            now: &self.now,
            gateway,
            patience: self.patience,
            note,
            run: self.driving.attempt.to_string(),
            deadline: Instant::now() + left,
            report: &mut report,
            asked: &self.asked,
        };
        let end = way.go(sent).await;
        let dropped = report.finish();
        Ok(match end {
            End::Ended(end) => End::Ended(ExitReport {
                output_dropped: dropped,
                ..end
            }),
            other => other,
        })
    }
}
