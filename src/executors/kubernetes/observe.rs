//! Seeing what an attempt prints and how it ends, from whichever process.
//!
//! The output is a file in the pod's volume, read by a script in the container beside the step, which follows it until the
//! step's end and then says how that was. One such script may serve many looks. The cluster's own log of a container is
//! not used: it is rotated, and what falls out is lost.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::ResourceExt as _;
use kube::api::AttachedProcess;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinSet;

use super::KubernetesExecutor;
use super::access::Access;
use super::exec::{BUFFER, exit_code};
use super::objects::{self, STEP};
use super::pods::{self, Over, Standing};
use super::state::{State, hindrance};
use crate::domain::ExecutionId;
use crate::executors::contract::{AttemptState, ExecutorError, ExitReport, Handle, Observation};
use crate::executors::posix;

/// Which part of the output is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub from: u64,
    pub max: usize,
}

/// Prints the output from a byte on and follows it; says on stderr how the step ended. Ends by itself after some minutes,
/// so that none is left behind by a clawhand that is gone. A supervisor holds `alive` open: its end wakes the script.
const FOLLOW: &str = r#"
[ -e /clawhand/go ] || exit 6
cd /clawhand/attempts || exit 1
n=0
until [ -s NAME/started ] || grep -q '^end=1$' NAME/exit 2>/dev/null; do
    n=$((n + 1))
    [ "$n" -lt 100 ] && [ -z 'GONE' ] || exit 8
    sleep 0.1 2>/dev/null || sleep 1
done
cd NAME || exit 1
over='GONE'
is_over() { grep -q '^end=1$' exit 2>/dev/null; }
is_over && over=1
exec 3<out
if [ -z "$over" ]; then
    trap 'woken=1' USR1
    (exec 3<&-; read -r line <alive; kill -s USR1 $$) >/dev/null 2>&1 &
    waker=$!
    trap 'kill "$waker" 2>/dev/null' EXIT
fi
tail -c +FROM <&3
n=0
while [ -z "$over" ]; do
    n=$((n + 1))
    [ "$n" -lt 3000 ] || exit 9
    sleep 0.1 3<&- &
    wait "$!" || :
    if is_over; then over=1; elif [ -n "${woken:-}" ]; then over=gone; fi
    cat <&3
done
is_over || exit 5
printf 'size=%s\n' "$(($(wc -c <out)))" >&2
cat exit >&2
"#;
/// The supervisor is gone and left no word.
const GONE: i32 = 5;
/// The step was not yet let go.
const NOT_LAID: i32 = 6;
/// The script has followed for long enough, or some of what it printed got lost: the rest is to be asked for anew.
const ENOUGH: i32 = 9;

/// How long the status of a container may lag behind its end.
const LAG: Duration = Duration::from_secs(15);
/// The least that a look takes its time: a cluster answers no faster.
const LOOK_MIN: Duration = Duration::from_secs(2);

/// What this process has under way for an attempt.
#[derive(Default)]
pub(super) struct Live {
    /// Brings the workspace into the pod, which may take longer than a look.
    releasing: Option<JoinSet<Result<(), ExecutorError>>>,
    reading: Option<Reading>,
}

/// A script that follows the output.
struct Reading {
    /// Where the first byte of `buffer` is.
    at: u64,
    buffer: BytesMut,
    out: Pin<Box<dyn AsyncRead + Send + Sync>>,
    err: Pin<Box<dyn AsyncRead + Send + Sync>>,
    status: Pin<Box<dyn Future<Output = Option<Status>> + Send + Sync>>,
    /// How the script ended, once it has.
    ended: Option<Result<i32, ExecutorError>>,
    _process: AttachedProcess,
}

/// What there was to read.
enum Read {
    Output(Bytes),
    /// Nothing is left; the exit code of the script, and what it said of the step's end.
    End(i32, String),
}

impl KubernetesExecutor {
    pub(super) async fn observe_attempt(
        &self,
        handle: &Handle,
        window: Window,
        wait: Duration,
    ) -> Result<Observation, ExecutorError> {
        let live = self.pool.live(handle.attempt);
        let look = async {
            let mut live = live.lock().await;
            let seen = self.look(handle, window, &mut live).await;
            if !matches!(&seen, Ok(seen) if seen.state == AttemptState::Running) {
                live.reading = None;
            }
            seen
        };
        match tokio::time::timeout(wait.max(LOOK_MIN), look).await {
            Ok(seen) => seen,
            Err(_) => {
                // A connection that died without a word is not waited for again.
                if let Ok(mut live) = live.try_lock() {
                    live.reading = None;
                }
                Ok(running(Bytes::new()))
            }
        }
    }

    async fn look(&self, handle: &Handle, window: Window, live: &mut Live) -> Result<Observation, ExecutorError> {
        loop {
            if let Some(reading) = live.reading.as_mut().filter(|reading| reading.at == window.from) {
                match reading.next(window.max, false).await? {
                    Read::Output(output) => return Ok(running(output)),
                    Read::End(ENOUGH, _) => live.reading = None,
                    Read::End(code, said) => {
                        live.reading = None;
                        if let Some(seen) = self.ended(handle, Bytes::new(), (code, &said)).await? {
                            return Ok(seen);
                        }
                    }
                }
                continue;
            }
            live.reading = None;
            let access = self.access().await?;
            let name = objects::attempt_name(handle.attempt);
            let Some(job) = access.job(&name).await? else {
                return Ok(told(AttemptState::Lost("the job of the attempt is gone".to_owned())));
            };
            match State::of(&job) {
                State::Withdrawn => return Ok(told(AttemptState::NeverStarted(hindrance(&job).words))),
                State::Cancelled => return Ok(told(cancelled())),
                State::New => self.release_once(handle, live).await?,
                state => {
                    if let Some(seen) = self.read(&access, (handle, state), window, live).await? {
                        return Ok(seen);
                    }
                }
            }
        }
    }

    /// Sees to it that the step is let go. One who looks may lose patience; what was begun goes on.
    async fn release_once(&self, handle: &Handle, live: &mut Live) -> Result<(), ExecutorError> {
        let execution = execution_of(handle)?;
        let releasing = live.releasing.get_or_insert_with(|| {
            let (executor, attempt) = (self.clone(), handle.attempt);
            JoinSet::from_iter([async move { executor.release(execution, attempt).await }])
        });
        let released = releasing.join_next().await;
        live.releasing = None;
        match released {
            Some(Ok(released)) => released,
            _ => Err(ExecutorError::Unreachable("a transfer ended early".to_owned())),
        }
    }

    /// Begins to read the output of a step that was let go. Of one whose end is known, all is read at once.
    async fn read(
        &self,
        access: &Access,
        (handle, state): (&Handle, State),
        window: Window,
        live: &mut Live,
    ) -> Result<Option<Observation>, ExecutorError> {
        let pod = access.pod_of(&objects::attempt_name(handle.attempt)).await?;
        if let Standing::Over(over) = pods::standing(pod.as_ref()) {
            return Ok(Some(told(lost(&over))));
        }
        let Some(pod) = pod else {
            return Ok(Some(told(AttemptState::Lost("its pod was deleted".to_owned()))));
        };
        self.learn_of(access, execution_of(handle)?, &pod).await?;
        let is_gone = pods::state(&pod, STEP).is_some_and(|state| state.terminated.is_some());
        let script = FOLLOW
            .replace("NAME", &handle.attempt.to_string())
            .replace("FROM", &(window.from + 1).to_string())
            .replace("GONE", if is_gone { "gone" } else { "" });
        let process = access.attach(&pod.name_any(), &script, false).await?;
        let mut reading = Reading::new(process, window.from)?;
        if state != State::Ended {
            live.reading = Some(reading);
            return Ok(None);
        }
        match reading.next(window.max, true).await? {
            Read::End(ENOUGH, _) => Ok(None),
            Read::End(code, said) => self.ended(handle, Bytes::new(), (code, &said)).await,
            Read::Output(output) if reading.buffer.is_empty() => match reading.next(window.max, true).await? {
                Read::Output(_) | Read::End(ENOUGH, _) => Ok(Some(running(output))),
                Read::End(code, said) => self.ended(handle, output, (code, &said)).await,
            },
            Read::Output(output) => Ok(Some(running(output))),
        }
    }

    /// What the end of a script that followed the output means. Nothing: look again.
    async fn ended(
        &self,
        handle: &Handle,
        output: Bytes,
        (code, said): (i32, &str),
    ) -> Result<Option<Observation>, ExecutorError> {
        let access = self.access().await?;
        let name = objects::attempt_name(handle.attempt);
        let state = match (code, posix::exit_report(said)) {
            (0, Some(report)) => AttemptState::Ended(self.with_memory(&access, &name, report).await?),
            (NOT_LAID, _) => {
                // Whoever took it on did not come to the end of it.
                self.release(execution_of(handle)?, handle.attempt).await?;
                return Ok(None);
            }
            (GONE, _) => without_word(ended_step(&access, &name).await?.as_ref()),
            (code, _) => {
                // Who keeps the volume may have been ended from outside, and all of the pod with it.
                let pod = ended_step(&access, &name).await?;
                if let Standing::Over(over) = pods::standing(pod.as_ref()) {
                    return Ok(Some(Observation {
                        output,
                        state: lost(&over),
                    }));
                }
                return Err(ExecutorError::Unreachable(format!(
                    "the output can't be read: exit code {code}, {said}"
                )));
            }
        };
        if matches!(state, AttemptState::Ended(_)) {
            // From now on its workspace may go on to the next step.
            access.advance(&name, State::Released, State::Ended).await?;
        }
        Ok(Some(Observation { output, state }))
    }

    /// A step that was killed may have used too much memory, which only the cluster knows.
    async fn with_memory(&self, access: &Access, name: &str, report: ExitReport) -> Result<ExitReport, ExecutorError> {
        if report.signal != Some(9) || report.cancelled || report.timed_out {
            return Ok(report);
        }
        let pod = ended_step(access, name).await?;
        Ok(if is_out_of_memory(pod.as_ref()) {
            out_of_memory(report)
        } else {
            report
        })
    }
}

impl Reading {
    fn new(mut process: AttachedProcess, at: u64) -> Result<Self, ExecutorError> {
        let (status, out, err) = (process.take_status(), process.stdout(), process.stderr());
        let (Some(status), Some(out), Some(err)) = (status, out, err) else {
            return Err(ExecutorError::Unreachable("the pod gives no output".to_owned()));
        };
        Ok(Self {
            at,
            buffer: BytesMut::new(),
            out: Box::pin(out),
            err: Box::pin(err),
            status: Box::pin(status),
            ended: None,
            _process: process,
        })
    }

    /// What comes next: whatever is there, or with `all` as much as was asked for. Dropping this loses nothing.
    async fn next(&mut self, max: usize, all: bool) -> Result<Read, ExecutorError> {
        let mut is_over = false;
        while !is_over && self.buffer.len() < max.max(1) && (all || self.buffer.is_empty()) {
            self.buffer.reserve(BUFFER);
            tokio::select! {
                biased;
                read = self.out.read_buf(&mut self.buffer) => match read {
                    Ok(0) => is_over = true,
                    Ok(_) => {}
                    Err(error) => return Err(ExecutorError::Unreachable(format!("failed to read the output: {error}"))),
                },
                status = &mut self.status, if self.ended.is_none() => {
                    self.ended = Some(exit_code(status));
                    // Cut off, it says nothing any more.
                    is_over = matches!(self.ended, Some(Err(_)));
                }
            }
        }
        if !self.buffer.is_empty() {
            let output = self.buffer.split_to(self.buffer.len().min(max)).freeze();
            self.at += output.len() as u64;
            return Ok(Read::Output(output));
        }
        if self.ended.is_none() {
            self.ended = Some(exit_code((&mut self.status).await));
        }
        let code = self.ended.clone().unwrap_or(Ok(ENOUGH))?;
        let mut said = String::new();
        let _ = self.err.read_to_string(&mut said).await;
        if posix::output_size(&said).is_some_and(|size| size > self.at) {
            return Ok(Read::End(ENOUGH, said));
        }
        Ok(Read::End(code, said))
    }
}

/// The pod of a step once the cluster has seen that its container ended.
async fn ended_step(access: &Access, name: &str) -> Result<Option<Pod>, ExecutorError> {
    let selector = pods::of_job(name);
    let decided = access.until_pods_within(&selector, LAG, |pods| {
        let Some(pod) = pods.values().next() else {
            return Some(None);
        };
        let is_ended = pods::state(pod, STEP).is_some_and(|state| state.terminated.is_some());
        (is_ended || matches!(pods::standing(Some(pod)), Standing::Over(_))).then(|| Some(pod.clone()))
    });
    Ok(decided.await?.flatten())
}

/// How a step ended whose supervisor left no word.
fn without_word(pod: Option<&Pod>) -> AttemptState {
    if is_out_of_memory(pod) {
        return AttemptState::Ended(out_of_memory(ExitReport {
            exit_code: Some(137),
            signal: Some(9),
            ..ExitReport::default()
        }));
    }
    match pods::standing(pod) {
        Standing::Over(over) => lost(&over),
        _ => AttemptState::Lost("its supervisor was lost".to_owned()),
    }
}

fn is_out_of_memory(pod: Option<&Pod>) -> bool {
    let ended = pod
        .and_then(|pod| pods::state(pod, STEP))
        .and_then(|state| state.terminated);
    ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"))
}

fn out_of_memory(mut report: ExitReport) -> ExitReport {
    report.exec_error = Some("it ran out of memory".to_owned());
    report
}

fn lost(over: &Over) -> AttemptState {
    match over {
        Over::Deadline => AttemptState::Ended(ExitReport {
            timed_out: true,
            ..ExitReport::default()
        }),
        Over::Because(why) => AttemptState::Lost(why.clone()),
    }
}

fn cancelled() -> AttemptState {
    AttemptState::Ended(ExitReport {
        cancelled: true,
        ..ExitReport::default()
    })
}

fn running(output: Bytes) -> Observation {
    Observation {
        output,
        state: AttemptState::Running,
    }
}

fn told(state: AttemptState) -> Observation {
    Observation {
        output: Bytes::new(),
        state,
    }
}

fn execution_of(handle: &Handle) -> Result<ExecutionId, ExecutorError> {
    let id = handle.place.rsplit('/').next().unwrap_or_default();
    id.parse()
        .map_err(|error| ExecutorError::Refused(format!("a handle that is none of ours: {error}")))
}
