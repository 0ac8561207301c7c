//! Runs the steps: starts an attempt once, follows its output into the log, and notes how it ended.

use std::time::Duration;

use super::Halt;
use super::driver::{Driver, Place};
use super::outcome::StepsEnd;
use super::questions::Questions;
use super::reach::Failure;
use crate::domain::execution::StepRow;
use crate::domain::{AttemptId, PlanStep, StepState};
use crate::executors::{AttemptState, ExitReport, Handle, Observation, ProcessLimits, StartAttempt};
use crate::redact::{Piece, Scrubber};
use crate::store::{AttemptRow, LogPiece, StepEnd, StepStart};

/// The most output that is taken at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// How long one look at an attempt may wait; only bounds how long a lost notification goes unnoticed.
const LOOK: Duration = Duration::from_secs(10);
/// How long after a step should have ended by itself it is ended from here.
const OVERDUE: Duration = Duration::from_secs(30);
/// The most attempts of a step that may be repeated.
const ATTEMPTS: u32 = 3;

/// How one attempt ended.
enum AttemptEnd {
    Reported(ExitReport),
    Lost(String),
    NeverStarted(String),
}

/// Who stored the intent to start an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// This driver, a moment ago: nobody else can have started it.
    Here,
    /// A worker before, which may have started it and not come to telling.
    Before,
}

/// Why the tree of a step was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Somebody cancelled.
    Cancel,
    /// It should have ended by itself long ago.
    Overdue,
}

impl Driver {
    /// Runs the steps that are not over yet, in order.
    pub(super) async fn steps(&mut self, place: &Place) -> Result<StepsEnd, Halt> {
        let store = &self.shared.rooms.store;
        let rows = self
            .stored(|| async { store.execution_steps(self.execution.id).await })
            .await?;
        for row in rows {
            let step = self.execution.plan.steps.get(row.index as usize).cloned();
            let (StepState::Pending | StepState::Running, Some(step)) = (row.state, step) else {
                if row.state == StepState::Succeeded {
                    continue;
                }
                return Ok(stored_end(&row));
            };
            if let Some(end) = self.step(place, &row, &step).await? {
                return Ok(end);
            }
        }
        Ok(StepsEnd::Succeeded)
    }

    /// Runs one step; `None` when it said yes.
    async fn step(&self, place: &Place, row: &StepRow, step: &PlanStep) -> Result<Option<StepsEnd>, Halt> {
        let store = &self.shared.rooms.store;
        let mut current = match row.state {
            StepState::Running => {
                self.stored(|| async { store.attempt_current(self.execution.id, row.index).await })
                    .await?
            }
            _ => None,
        };
        for tried in 1..=ATTEMPTS {
            if current.is_none() && self.cancelled().is_cancelled() {
                return Ok(Some(StepsEnd::Cancelled));
            }
            let (attempt, begun) = match (current.take(), &place.may_begin) {
                (Some(attempt), _) => (attempt, Begun::Before),
                (None, Ok(())) => (self.begin(place, row.index, step).await?, Begun::Here),
                (None, Err(why)) => {
                    return Ok(Some(StepsEnd::CouldNotStart {
                        step: Some(row.index),
                        why: why.clone(),
                    }));
                }
            };
            let end = self.attempt(place, step, (&attempt, begun)).await?;
            let again = step.repeatable && tried < ATTEMPTS && !self.cancelled().is_cancelled();
            if matches!(end, AttemptEnd::Lost(_) | AttemptEnd::NeverStarted(_)) && again {
                tracing::warn!(execution.id = %self.execution.id, step.name, "a repeatable step was lost; starting it again");
                continue;
            }
            return self.end_step(row.index, step, attempt.id, end).await;
        }
        Ok(Some(StepsEnd::Lost {
            step: row.index,
            why: "it was lost each time it was started".into(),
        }))
    }

    /// Stores the intent to start, before anything is started.
    async fn begin(&self, place: &Place, index: u32, step: &PlanStep) -> Result<AttemptRow, Halt> {
        let store = &self.shared.rooms.store;
        let attempt = AttemptId::random();
        let total = self.execution.plan.steps.len();
        let header = format!("== step {} of {total}: {} ({})\n", index + 1, step.name, step.summary);
        let header = place.privacy.rules().text(&header);
        let secrets = self.secrets_digest(place);
        let start = || async {
            let start = StepStart {
                index,
                attempt,
                header: header.as_bytes(),
                secrets,
                now: self.now(),
            };
            store.step_start(&self.lease, &start).await
        };
        self.stored(start).await?;
        Ok(AttemptRow {
            id: attempt,
            index,
            handle: None,
            secrets,
            raw_offset: 0,
            last_byte: None,
            ended: false,
        })
    }

    /// Starts or finds the attempt, and follows it to its end.
    async fn attempt(
        &self,
        place: &Place,
        step: &PlanStep,
        (attempt, begun): (&AttemptRow, Begun),
    ) -> Result<AttemptEnd, Halt> {
        let handle = match &attempt.handle {
            Some(json) => serde_json::from_str(json).map_err(|error| {
                tracing::error!(execution.id = %self.execution.id, %error, "a stored handle can't be read");
                Failure::Unsure("it was started, and can't be found again".into())
            }),
            None => self.start(place, step, attempt).await?,
        };
        match (handle, begun) {
            (Ok(handle), begun) => self.follow(place, step, (attempt, begun), &handle).await,
            (Err(Failure::Refused(why)), Begun::Here) => Ok(AttemptEnd::NeverStarted(why)),
            // A worker before this one may have started it, or the executor may have before it was lost.
            (Err(failure), _) => Ok(AttemptEnd::Lost(failure.into_words())),
        }
    }

    async fn start(
        &self,
        place: &Place,
        step: &PlanStep,
        attempt: &AttemptRow,
    ) -> Result<Result<Handle, Failure>, Halt> {
        let secrets = match &place.secrets {
            Ok(secrets) => secrets.clone(),
            Err(why) => return Ok(Err(Failure::Refused(why.clone()))),
        };
        let limits = &place.target.limits;
        let env = place.target.environment.iter().chain(&step.env);
        let start = StartAttempt {
            attempt: attempt.id,
            argv: step.argv.clone(),
            call: step.call.clone(),
            cwd: step.cwd.clone(),
            env: env.map(|(name, value)| (name.clone(), value.clone())).collect(),
            secrets,
            timeout: Duration::from_secs(step.timeout_s),
            grace: self.shared.settings.grace,
            max_output_bytes: step.max_output_bytes,
            limits: ProcessLimits {
                max_file_bytes: limits.max_file_bytes,
                max_memory_bytes: limits.max_memory_bytes,
                max_processes: limits.max_processes,
            },
        };
        let started = self
            .reached(|| async { place.executor.start(&place.workspace, &start).await })
            .await?;
        if let Ok(handle) = &started {
            let store = &self.shared.rooms.store;
            let json = serde_json::to_string(handle).unwrap_or_default();
            self.stored(|| async { store.attempt_handle(&self.lease, attempt.id, &json).await })
                .await?;
        }
        Ok(started)
    }

    /// Follows the output into the log until the attempt ends.
    async fn follow(
        &self,
        place: &Place,
        step: &PlanStep,
        (attempt, begun): (&AttemptRow, Begun),
        handle: &Handle,
    ) -> Result<AttemptEnd, Halt> {
        let mut tape = Tape::new(self, place, attempt);
        let mut told = None;
        let mut questions = Questions::new(begun == Begun::Before);
        let patience = self.shared.settings.grace + OVERDUE;
        let mut due = tokio::time::Instant::now() + Duration::from_secs(step.timeout_s) + patience;
        loop {
            let observed = tokio::select! {
                observed = self.look(place, handle, tape.read) => observed?,
                () = questions.answered() => {
                    self.questions(place, handle, &mut questions).await?;
                    continue;
                }
                () = self.signals.cancel.cancelled(), if told.is_none() => {
                    told = Some(Told::Cancel);
                    self.end_tree(place, handle).await?;
                    due = tokio::time::Instant::now() + patience;
                    continue;
                }
                () = self.signals.stopping.cancelled() => return Err(Halt::Stopping),
                () = self.signals.lost.cancelled() => return Err(Halt::Fenced),
                () = tokio::time::sleep_until(due) => {
                    tracing::warn!(execution.id = %self.execution.id, step.name, "a step is overdue; ending it from here");
                    told = told.or(Some(Told::Overdue));
                    self.end_tree(place, handle).await?;
                    due = tokio::time::Instant::now() + patience;
                    continue;
                }
            };
            let observation = match observed {
                Ok(observation) => observation,
                Err(failure) => return Ok(AttemptEnd::Lost(failure.into_words())),
            };
            // Before what it printed of them: whoever reads that finds them.
            if observation.state == AttemptState::Running {
                self.questions(place, handle, &mut questions).await?;
            }
            tape.take(&observation).await?;
            let end = match observation.state {
                AttemptState::Running => continue,
                // The executor knows only that it was told to end the tree, not that nobody cancelled.
                AttemptState::Ended(report) if told == Some(Told::Overdue) => AttemptEnd::Reported(ExitReport {
                    timed_out: report.timed_out || report.cancelled,
                    cancelled: false,
                    ..report
                }),
                AttemptState::Ended(report) => AttemptEnd::Reported(report),
                AttemptState::Lost(why) => AttemptEnd::Lost(why),
                AttemptState::NeverStarted(why) => AttemptEnd::NeverStarted(why),
            };
            tape.end().await?;
            return Ok(end);
        }
    }

    async fn look(&self, place: &Place, handle: &Handle, from: u64) -> Result<Result<Observation, Failure>, Halt> {
        self.reached(|| async { place.executor.observe(handle, from, CHUNK, LOOK).await })
            .await
    }

    async fn end_tree(&self, place: &Place, handle: &Handle) -> Result<(), Halt> {
        let grace = self.shared.settings.grace;
        if let Err(failure) = self
            .reached(|| async { place.executor.cancel(handle, grace).await })
            .await?
        {
            tracing::error!(execution.id = %self.execution.id, ?failure, "a step can't be ended");
        }
        Ok(())
    }

    async fn end_step(
        &self,
        index: u32,
        step: &PlanStep,
        attempt: AttemptId,
        end: AttemptEnd,
    ) -> Result<Option<StepsEnd>, Halt> {
        let (state, exit_code, end) = judge(index, step, end);
        let store = &self.shared.rooms.store;
        let finish = || async {
            let ended = StepEnd {
                index,
                attempt,
                state,
                exit_code,
                now: self.now(),
            };
            store.step_end(&self.lease, &ended).await
        };
        self.stored(finish).await?;
        Ok(end)
    }
}

/// What an attempt's end means for its step and for the execution.
fn judge(index: u32, step: &PlanStep, end: AttemptEnd) -> (StepState, Option<i32>, Option<StepsEnd>) {
    match end {
        AttemptEnd::Lost(why) => (StepState::Unknown, None, Some(StepsEnd::Lost { step: index, why })),
        AttemptEnd::NeverStarted(why) => (
            StepState::Skipped,
            None,
            Some(StepsEnd::CouldNotStart { step: Some(index), why }),
        ),
        AttemptEnd::Reported(report) if report.cancelled => {
            (StepState::Cancelled, report.exit_code, Some(StepsEnd::Cancelled))
        }
        AttemptEnd::Reported(report) if report.timed_out => (
            StepState::TimedOut,
            report.exit_code,
            Some(StepsEnd::TimedOut { step: index }),
        ),
        AttemptEnd::Reported(report) => {
            let code = report.exit_code;
            let accepted = code.is_some_and(|code| code == 0 || step.accepted_exit_codes.contains(&code));
            if accepted && report.exec_error.is_none() {
                return (StepState::Succeeded, code, None);
            }
            let signal = report.signal.map(|signal| format!("it was ended by signal {signal}"));
            let why = report.exec_error.or(signal);
            (
                StepState::Failed,
                code,
                Some(StepsEnd::Failed {
                    step: index,
                    exit_code: code,
                    why,
                }),
            )
        }
    }
}

/// What a step that is over already means for the execution.
pub(super) fn stored_end(row: &StepRow) -> StepsEnd {
    match row.state {
        StepState::Skipped => StepsEnd::CouldNotStart {
            step: Some(row.index),
            why: "the target could not start it".into(),
        },
        StepState::TimedOut => StepsEnd::TimedOut { step: row.index },
        StepState::Cancelled => StepsEnd::Cancelled,
        StepState::Unknown => StepsEnd::Lost {
            step: row.index,
            why: "a worker before this one lost it".into(),
        },
        _ => StepsEnd::Failed {
            step: row.index,
            exit_code: row.exit_code,
            why: None,
        },
    }
}

/// The way of an attempt's output into the log: scrubbed, in order, with the offset to go on from after a crash.
struct Tape<'a> {
    driver: &'a Driver,
    place: &'a Place,
    attempt: AttemptId,
    scrubber: Scrubber,
    /// Raw bytes read so far.
    read: u64,
    /// Raw bytes whose scrubbed form is stored.
    stored: u64,
    /// Raw bytes between the two.
    pending: Vec<u8>,
    last_byte: Option<u8>,
}

impl<'a> Tape<'a> {
    fn new(driver: &'a Driver, place: &'a Place, attempt: &AttemptRow) -> Self {
        Self {
            driver,
            place,
            attempt: attempt.id,
            scrubber: Scrubber::new(place.privacy.rules(), attempt.last_byte),
            read: attempt.raw_offset,
            stored: attempt.raw_offset,
            pending: Vec::new(),
            last_byte: attempt.last_byte,
        }
    }

    async fn take(&mut self, observation: &Observation) -> Result<(), Halt> {
        if observation.output.is_empty() {
            return Ok(());
        }
        self.read += observation.output.len() as u64;
        self.pending.extend_from_slice(&observation.output);
        // What was just looked at may have told more of where it is.
        self.scrubber.renew(self.place.privacy.rules());
        let piece = self.scrubber.push(&observation.output);
        self.store(piece).await
    }

    async fn end(&mut self) -> Result<(), Halt> {
        let piece = self.scrubber.finish();
        self.store(piece).await
    }

    async fn store(&mut self, piece: Piece) -> Result<(), Halt> {
        let consumed = usize::try_from(piece.consumed)
            .unwrap_or(usize::MAX)
            .min(self.pending.len());
        if consumed == 0 && piece.clean.is_empty() {
            return Ok(());
        }
        if let Some(last) = consumed.checked_sub(1) {
            self.last_byte = self.pending.get(last).copied();
        }
        self.pending.drain(..consumed);
        self.stored += consumed as u64;
        let store = &self.driver.shared.rooms.store;
        let append = || async {
            let piece = LogPiece {
                attempt: Some(self.attempt),
                raw_offset: self.stored,
                last_byte: self.last_byte,
                at: self.driver.now(),
                clean: &piece.clean,
            };
            store.log_append(&self.driver.lease, &piece).await
        };
        self.driver.stored(append).await.map(|_| ())
    }
}
