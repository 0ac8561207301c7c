//! What outlives a single executor value: connections, and the output streams of attempts that are being followed.
//!
//! All of it can be made anew from what is at the daemon; it is kept because making it costs time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

pub(super) use super::connect::Client;
use super::connect::connect;
use super::fault::Fault;
use super::follow::Follow;
use crate::domain::AttemptId;
use crate::domain::target::DockerBlock;
use crate::executors::learned::Learned;

/// Streams that nobody looked at for this long are forgotten: another worker follows them, or nobody.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Shared by every executor of containers that comes from one [`crate::executors::Executors`].
#[derive(Default)]
pub struct DockerPool {
    clients: Mutex<HashMap<String, Client>>,
    connecting: Mutex<HashMap<String, Kept<LastFault>>>,
    follows: Mutex<HashMap<AttemptId, Kept<Follow>>>,
    starts: Mutex<HashMap<AttemptId, Kept<()>>>,
    /// What the daemon calls what is of an execution.
    pub(super) learned: Learned,
}

/// When a connection could not be made, and why, so that those who waited meanwhile needn't fail anew.
type LastFault = Option<(Instant, Fault)>;

struct Kept<T> {
    value: Arc<AsyncMutex<T>>,
    used: Instant,
}

impl DockerPool {
    /// The connection that a block describes; the daemon has answered on it.
    pub(super) async fn client(&self, block: &DockerBlock) -> Result<Client, Fault> {
        let (key, asked) = (key(block), Instant::now());
        if let Some(client) = self.known(&key).await {
            return Ok(client);
        }
        let connecting = kept(&self.connecting, key.clone());
        let mut last = connecting.lock().await;
        if let Some(client) = self.known(&key).await {
            return Ok(client);
        }
        if let Some((_, fault)) = last.as_ref().filter(|(at, _)| *at > asked) {
            return Err(fault.clone());
        }
        match connect(block).await {
            Ok(client) => {
                lock(&self.clients).insert(key, client.clone());
                Ok(client)
            }
            Err(fault) => {
                *last = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    async fn known(&self, key: &str) -> Option<Client> {
        let client = lock(&self.clients).get(key).cloned()?;
        client.is_up().await.then_some(client)
    }

    /// Makes the next one connect anew: the daemon behind the endpoint may be another one by then.
    pub(super) fn forget(&self, block: &DockerBlock) {
        lock(&self.clients).remove(&key(block));
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

fn key(block: &DockerBlock) -> String {
    format!("{:?}", (&block.endpoint, &block.tls, &block.ssh))
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
