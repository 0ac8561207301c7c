//! Reads results and takes outputs into the artifact store, scrubbed like the log.

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Halt;
use super::driver::{Driver, Place};
use super::outcome::scrubbed_tests;
use crate::blobs::BlobError;
use crate::domain::plan::ResultReader;
use crate::domain::{Artifact, ArtifactId, ArtifactRole, Listing, PlanStep, StepState, TestSummary};
use crate::executors::{AttemptState, CollectLimit, CollectedFile, Handle};
use crate::planner::readers::Reader;
use crate::redact::Scrubber;

/// The most files that are collected.
const FILES: usize = 1000;
/// The largest report that is read for test results, in bytes.
const REPORT: u64 = 64 * 1024 * 1024;
/// Read at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// How long one look at finished output may take.
const LOOK: std::time::Duration = std::time::Duration::from_secs(10);

/// What is there after the steps.
#[derive(Default)]
pub(super) struct Found {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) tests: Option<TestSummary>,
    /// In words, that not all outputs are there.
    pub(super) missing: Option<String>,
}

/// Why an output can't be kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("read it: {0}")]
    Read(#[from] std::io::Error),
    #[error("store it: {0}")]
    Store(#[from] BlobError),
}

impl Driver {
    /// Outputs and test results. What can't be read is left out and logged: the work itself is over, and its exit
    /// code decides. The caller is told that something is missing.
    pub(super) async fn collect(&self, place: &Place) -> Result<Found, Halt> {
        let plan = &self.execution.plan;
        let mut globs = plan.outputs.clone();
        for step in &plan.steps {
            if let ResultReader::Junit { paths } = &step.reader {
                globs.extend(paths.iter().filter(|path| !plan.outputs.contains(path)).cloned());
            }
        }
        let limit = CollectLimit {
            files: FILES,
            bytes: place.target.limits.max_artifact_bytes,
        };
        let found = self
            .reached(|| async { place.executor.collect(&place.workspace, &globs, limit).await })
            .await?;
        let mut missing = None;
        let found = found.unwrap_or_else(|_| {
            missing = Some("its outputs could not be collected".to_owned());
            Default::default()
        });
        for (name, why) in &found.left_out {
            tracing::info!(execution.id = %self.execution.id, artifact.name = name, why, "an output was left out");
        }
        let mut readers: Vec<(usize, Reader)> = self.readers().await?;
        let mut artifacts = Vec::new();
        let mut left_out = found.left_out.len();
        let deadline = self.deadline();
        for file in found.files {
            match self.keep_by(deadline, place, (&file, &mut readers)).await? {
                Ok(artifact) => artifacts.push(artifact),
                Err(error) => {
                    left_out += 1;
                    tracing::warn!(execution.id = %self.execution.id, %error, "an output can't be kept");
                }
            }
        }
        if left_out > 0 {
            missing = Some(format!("{left_out} of its outputs could not be kept"));
        }
        Ok(Found {
            artifacts,
            tests: self.read_results(place, readers).await?,
            missing,
        })
    }

    /// A reader for each step that ran and has results.
    async fn readers(&self) -> Result<Vec<(usize, Reader)>, Halt> {
        let store = &self.shared.rooms.store;
        let rows = self
            .stored(|| async { store.execution_steps(self.execution.id).await })
            .await?;
        let ran = |index: usize| {
            let state = rows.get(index).map(|row| row.state);
            matches!(
                state,
                Some(StepState::Succeeded | StepState::Failed | StepState::TimedOut)
            )
        };
        let steps = self.execution.plan.steps.iter().enumerate();
        let read = steps.filter(|(index, step)| ran(*index) && step.reader != ResultReader::ExitCode);
        Ok(read.map(|(index, step)| (index, Reader::new(&step.reader))).collect())
    }

    /// Keeps one file; an artifact store that can't be reached is waited for, so that a short outage costs no output.
    async fn keep_by(
        &self,
        deadline: tokio::time::Instant,
        place: &Place,
        (file, readers): (&CollectedFile, &mut [(usize, Reader)]),
    ) -> Result<Result<Artifact, KeepError>, Halt> {
        loop {
            match self.keep(place, file, readers).await {
                Err(KeepError::Store(error @ (BlobError::Unavailable(_) | BlobError::Full(_))))
                    if tokio::time::Instant::now() < deadline =>
                {
                    tracing::warn!(execution.id = %self.execution.id, %error, "an output can't be kept now; waiting");
                    self.pause().await?;
                }
                done => return Ok(done),
            }
        }
    }

    /// Scrubs one file into the artifact store, and shows it to the readers that asked for it.
    async fn keep(
        &self,
        place: &Place,
        file: &CollectedFile,
        readers: &mut [(usize, Reader)],
    ) -> Result<Artifact, KeepError> {
        let wanted = readers
            .iter()
            .any(|(index, _)| reports(&self.execution.plan.steps[*index], &file.name));
        let mut report = (wanted && file.size <= REPORT).then(Vec::new);
        let mut source = tokio::fs::File::from_std(file.file.try_clone()?);
        source.rewind().await?;
        let mut writer = self.shared.rooms.blobs.writer().await?;
        let mut scrubber = Scrubber::new(place.privacy.rules(), None);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = source.read(&mut chunk).await?;
            let piece = if read == 0 {
                scrubber.finish()
            } else {
                scrubber.push(&chunk[..read])
            };
            writer.write(&piece.clean).await?;
            if let Some(report) = &mut report {
                report.extend_from_slice(&piece.clean);
            }
            if read == 0 {
                break;
            }
        }
        let stored = writer.finish(None).await?;
        if let Some(report) = report {
            for (index, reader) in readers.iter_mut() {
                if reports(&self.execution.plan.steps[*index], &file.name) {
                    reader.report(&file.name, &report);
                }
            }
        }
        let name = place.privacy.rules().text(&file.name).into_inner();
        Ok(Artifact {
            id: ArtifactId::random(),
            task: self.execution.task,
            execution: Some(self.execution.id),
            owner: self.execution.owner.clone(),
            role: ArtifactRole::Output,
            media_type: media_type(&name),
            name,
            size: stored.size,
            digest: stored.digest,
            copy: stored.copy,
            listing: Listing::default(),
            created_at: self.now(),
        })
    }

    async fn read_results(&self, place: &Place, readers: Vec<(usize, Reader)>) -> Result<Option<TestSummary>, Halt> {
        let mut all: Option<TestSummary> = None;
        for (index, mut reader) in readers {
            if !matches!(self.execution.plan.steps[index].reader, ResultReader::Junit { .. }) {
                self.read_output(place, index, &mut reader).await?;
            }
            match reader.finish() {
                Ok(Some(summary)) => all
                    .get_or_insert_default()
                    .add(scrubbed_tests(&place.privacy.rules(), summary)),
                Ok(None) => {}
                Err(why) => tracing::warn!(execution.id = %self.execution.id, error = why, "results can't be read"),
            }
        }
        Ok(all)
    }

    /// Shows a step's whole output to its reader once more.
    async fn read_output(&self, place: &Place, index: usize, reader: &mut Reader) -> Result<(), Halt> {
        let store = &self.shared.rooms.store;
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let attempt = self
            .stored(|| async { store.attempt_current(self.execution.id, index).await })
            .await?;
        let handle = attempt.and_then(|attempt| serde_json::from_str::<Handle>(&attempt.handle?).ok());
        let Some(handle) = handle else {
            return Ok(());
        };
        let mut from = 0;
        loop {
            let seen = self
                .reached(|| async { place.executor.observe(&handle, from, CHUNK, LOOK).await })
                .await?;
            let Ok(seen) = seen else {
                return Ok(());
            };
            reader.output(&seen.output);
            from += seen.output.len() as u64;
            if seen.state != AttemptState::Running {
                return Ok(());
            }
        }
    }
}

/// Whether `name` is one of the reports that the step's reader wants.
fn reports(step: &PlanStep, name: &str) -> bool {
    let ResultReader::Junit { paths } = &step.reader else {
        return false;
    };
    paths.iter().any(|glob| {
        let built = globset::GlobBuilder::new(glob).literal_separator(true).build();
        built.is_ok_and(|glob| glob.compile_matcher().is_match(name))
    })
}

/// A media type by the name's ending; only for the few that are shown as text.
fn media_type(name: &str) -> String {
    let ending = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "log" | "md" | "tap" => "text/plain",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "gz" | "tgz" => "application/gzip",
        "zip" | "whl" | "jar" => "application/zip",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
    .to_owned()
}
