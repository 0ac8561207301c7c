//! One step through any executor, and how it compares with the same program without one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clawhand::domain::{AttemptId, ExecutionId};
use clawhand::executors::{AttemptState, Executor, ProcessLimits, StartAttempt, Workspace};

use crate::rounds::{Rounds, Slice, slice};
use crate::table::{Goal, Line, Table};

const LONG: Duration = Duration::from_secs(30);

/// An attempt of `true` from its start until its end was observed.
pub async fn to_its_end(executor: &dyn Executor, place: &Workspace) -> anyhow::Result<()> {
    let start = StartAttempt {
        attempt: AttemptId::random(),
        argv: vec!["true".into()],
        call: None,
        cwd: String::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        timeout: LONG,
        grace: LONG,
        max_output_bytes: 1 << 20,
        limits: ProcessLimits::default(),
    };
    let handle = executor.start(place, &start).await?;
    loop {
        match executor.observe(&handle, 0, 1 << 16, LONG).await?.state {
            AttemptState::Running => {}
            AttemptState::Ended(report) => {
                ensure!(report.exit_code == Some(0), "ended with {report:?}");
                return Ok(());
            }
            other => anyhow::bail!("ended with {other:?}"),
        }
    }
}

/// Workspaces in which attempts can be measured without what it takes to make and to remove them.
pub async fn workspaces(executor: &dyn Executor, count: usize) -> anyhow::Result<Arc<Vec<Workspace>>> {
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        places.push(executor.prepare(ExecutionId::random(), &[]).await?);
    }
    Ok(Arc::new(places))
}

/// Removes them.
pub async fn remove(executor: &dyn Executor, places: &[Workspace]) -> anyhow::Result<()> {
    for place in places {
        executor.clean_up(place.execution).await?;
    }
    Ok(())
}

/// A slice of attempts alone, each in a workspace that was there before.
pub async fn attempts(executor: &Arc<dyn Executor>, clients: usize, calls: usize) -> anyhow::Result<Slice> {
    let places = workspaces(executor.as_ref(), calls).await?;
    let (shared, laid) = (executor.clone(), places.clone());
    let made = slice(clients, calls, move |_, at| {
        let (executor, places) = (shared.clone(), laid.clone());
        async move { to_its_end(executor.as_ref(), &places[at]).await }
    });
    let made = made.await?;
    remove(executor.as_ref(), &places).await?;
    Ok(made)
}

/// A slice of all that an executor does for an execution of one step.
pub async fn executions(executor: &Arc<dyn Executor>, clients: usize, calls: usize) -> anyhow::Result<Slice> {
    let shared = executor.clone();
    slice(clients, calls, move |_, _| {
        let executor = shared.clone();
        async move {
            let place = executor.prepare(ExecutionId::random(), &[]).await?;
            to_its_end(executor.as_ref(), &place).await?;
            Ok(executor.clean_up(place.execution).await?)
        }
    })
    .await
}

/// A part that is measured in the same way as others.
pub struct Part {
    pub title: &'static str,
    pub rounds: usize,
    /// At once, and how many in a round.
    pub clients: &'static [(usize, usize)],
    /// What an attempt may cost over the bare limit.
    pub goal: Goal,
}

/// Measures attempts, and executions with all around them, beside a bare call.
pub async fn compare<F, Fut>(part: &Part, executor: &Arc<dyn Executor>, bare: F) -> anyhow::Result<()>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut table = Table::new(part.title);
    for &(clients, calls) in part.clients {
        let mut rounds: [Rounds; 3] = Default::default();
        for _ in 0..part.rounds {
            let call = bare.clone();
            rounds[0].add(slice(clients, calls, move |_, _| call()).await?);
            rounds[1].add(attempts(executor, clients, calls).await?);
            rounds[2].add(executions(executor, clients, calls).await?);
        }
        let [bare, attempt, whole] = &rounds;
        let what = "executor: start, observe to the end";
        table.add(line(what, clients, [attempt, bare], part.goal));
        let what = "executor: prepare, start, observe, clean up";
        table.add(line(what, clients, [whole, bare], Goal::None));
    }
    table.print();
    Ok(())
}

/// What is added to the bare limit: of one after the other the time of each counts; several at once share the
/// processors, so the time between ends does.
pub fn line(what: &str, clients: usize, [ours, bare]: [&Rounds; 2], goal: Goal) -> Line {
    let more = if clients == 1 {
        (ours.latency(0.5) - bare.latency(0.5)) * 1e3
    } else {
        1e3 / ours.rate() - 1e3 / bare.rate()
    };
    let times = if clients == 1 {
        ours.latency(0.5) / bare.latency(0.5)
    } else {
        bare.rate() / ours.rate()
    };
    Line {
        what: format!("{what}, {clients} at once"),
        ours: figures(ours),
        bare: figures(bare),
        ratio: format!("{times:.2}, {more:+.1} ms"),
        goal,
        figure: more,
    }
}

/// Of a slice, for the table.
pub fn figures(rounds: &Rounds) -> String {
    let (p50, p99) = (rounds.latency(0.5) * 1e3, rounds.latency(0.99) * 1e3);
    format!("{:.1}/s, p50 {p50:.1} ms, p99 {p99:.1} ms", rounds.rate())
}
