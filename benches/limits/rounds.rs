//! Taking turns, medians, and many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// The middle one of some figures.
pub fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which this part of all lies.
pub fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// What came of one slice: many calls by several clients.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// From the first call to the last answer.
    pub took: Duration,
    /// Of each call, in seconds.
    pub latencies: Vec<f64>,
}

impl Slice {
    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// Makes `calls` calls, `clients` at once. `call` gets the client's number and the call's.
pub async fn slice<F, Fut>(clients: usize, calls: usize, call: F) -> anyhow::Result<Slice>
where
    F: Fn(usize, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    let began = Instant::now();
    for client in 0..clients {
        let (next, call) = (next.clone(), call.clone());
        running.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= calls {
                    return anyhow::Ok(latencies);
                }
                let began = Instant::now();
                call(client, at).await?;
                latencies.push(began.elapsed().as_secs_f64());
            }
        });
    }
    let mut all = Slice::default();
    while let Some(ended) = running.join_next().await {
        all.latencies.extend(ended??);
    }
    all.took = began.elapsed();
    Ok(all)
}

/// The kinds in the order of their turns in a round. Each is first once in a while: what one leaves to the disk is
/// another's burden.
pub fn turns(kinds: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..kinds).map(move |turn| (turn + round) % kinds)
}

/// Slices of one kind, one a round.
#[derive(Debug, Default)]
pub struct Rounds(Vec<Slice>);

impl Rounds {
    pub fn add(&mut self, slice: Slice) {
        self.0.push(slice);
    }

    /// Calls a second in the median round.
    pub fn rate(&self) -> f64 {
        median(&self.0.iter().map(Slice::rate).collect::<Vec<_>>())
    }

    /// Seconds below which this part of all calls stayed.
    pub fn latency(&self, part: f64) -> f64 {
        let all: Vec<f64> = self
            .0
            .iter()
            .flat_map(|slice| slice.latencies.iter().copied())
            .collect();
        quantile(&all, part)
    }
}
