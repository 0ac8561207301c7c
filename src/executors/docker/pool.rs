//! What outlives a single executor value: connections, and the output streams of attempts that are being followed.
//!
//! All of it can be made anew from what is at the daemon; it is kept because making it costs time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::fault::{Fault, Kind};
use super::follow::Follow;
use crate::domain::AttemptId;
use crate::domain::target::DockerBlock;
use crate::executors::learned::Learned;

/// How long a daemon may take for what it does at once.
const QUICK: Duration = Duration::from_secs(20);
/// How long it may take to unpack an archive or to make a container.
const SLOW: Duration = Duration::from_secs(10 * 60);
/// Streams that nobody looked at for this long are forgotten: another worker follows them, or nobody.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Shared by every executor of containers that comes from one [`crate::executors::Executors`].
#[derive(Default)]
pub struct DockerPool {
    clients: Mutex<HashMap<String, Client>>,
    follows: Mutex<HashMap<AttemptId, Kept<Follow>>>,
    starts: Mutex<HashMap<AttemptId, Kept<()>>>,
    /// What the daemon calls what is of an execution.
    pub(super) learned: Learned,
}

/// A connection to a daemon, at two degrees of patience.
#[derive(Clone)]
pub(super) struct Client {
    pub quick: Docker,
    pub slow: Docker,
}

struct Kept<T> {
    value: Arc<AsyncMutex<T>>,
    used: Instant,
}

impl DockerPool {
    /// The connection that a block describes; the daemon has answered on it.
    pub(super) async fn client(&self, block: &DockerBlock) -> Result<Client, Fault> {
        let key = format!("{:?}", (&block.endpoint, &block.tls));
        if let Some(client) = lock(&self.clients).get(&key) {
            return Ok(client.clone());
        }
        let client = connect(block).await?;
        lock(&self.clients).insert(key, client.clone());
        Ok(client)
    }

    /// Makes the next one connect anew: the daemon behind the endpoint may be another one by then.
    pub(super) fn forget(&self, block: &DockerBlock) {
        lock(&self.clients).remove(&format!("{:?}", (&block.endpoint, &block.tls)));
    }

    /// The stream of an attempt, opened or not.
    pub(super) fn follow(&self, attempt: AttemptId) -> Arc<AsyncMutex<Follow>> {
        kept(&self.follows, attempt)
    }

    /// What is held while an attempt is being started, so that this process starts it once.
    pub(super) fn starting(&self, attempt: AttemptId) -> Arc<AsyncMutex<()>> {
        kept(&self.starts, attempt)
    }

    /// Forgets an attempt that is over.
    pub(super) fn release(&self, attempt: AttemptId) {
        lock(&self.follows).remove(&attempt);
        lock(&self.starts).remove(&attempt);
    }
}

fn kept<K: Eq + Hash, T: Default>(map: &Mutex<HashMap<K, Kept<T>>>, key: K) -> Arc<AsyncMutex<T>> {
    let now = Instant::now();
    let mut map = lock(map);
    map.retain(|_, kept| Arc::strong_count(&kept.value) > 1 || now.duration_since(kept.used) < IDLE);
    let kept = map.entry(key).or_insert_with(|| Kept {
        value: Arc::default(),
        used: now,
    });
    kept.used = now;
    kept.value.clone()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect(block: &DockerBlock) -> Result<Client, Fault> {
    let (endpoint, tls) = (block.endpoint.clone(), block.tls.clone());
    let seconds = QUICK.as_secs();
    // Reads certificates, and looks for the socket.
    let open = move || match (endpoint.split_once("://"), &tls) {
        (Some(("unix", path)), _) => Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION),
        (Some(("ssh", _)), _) => Docker::connect_with_ssh(&endpoint, seconds, API_DEFAULT_VERSION, None),
        (_, Some(tls)) => Docker::connect_with_ssl(
            &endpoint,
            tls.key.as_ref(),
            tls.cert.as_ref(),
            tls.ca.as_ref(),
            seconds,
            API_DEFAULT_VERSION,
        ),
        (_, None) => Docker::connect_with_http(&endpoint, seconds, API_DEFAULT_VERSION),
    };
    let opened = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| Fault::new(Kind::Unreachable, format!("failed to connect to the daemon: {error}")))?;
    let failed = |error| Fault::of("connect to the daemon", &error);
    let quick = opened.map_err(failed)?.negotiate_version().await.map_err(failed)?;
    let slow = quick.clone().with_timeout(SLOW);
    Ok(Client { quick, slow })
}
