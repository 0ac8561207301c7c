//! Bearer keys: made and shown once, stored as keyed hashes, revoked at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::signing::SigningKey;
use crate::domain::{Actor, Clock, Door, KeyId, Scope, UnixMs};
use crate::store::{Key, Store, StoreError};

/// What every key begins with, so that secret scanners and people know one when they see it.
const PREFIX: &str = "clawhand_";

/// How long an answer of the store is believed. Bounds how long a revoked key may still open the door of a replica
/// that saw it before; the revoking process forgets it at once.
const BELIEVED: Duration = Duration::from_secs(1);

/// The most keys that are remembered at once.
const REMEMBERED: usize = 10_000;

/// Why a key can't be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store can't take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// Its record.
    pub key: Key,
    /// The key itself; shown once, stored nowhere.
    pub secret: String,
}

/// The bearer keys of an installation.
#[derive(Clone)]
pub struct Keys {
    store: Store,
    signing: SigningKey,
    clock: Clock,
    seen: Arc<Mutex<HashMap<[u8; 32], Seen>>>,
    any: Arc<Mutex<Option<(UnixMs, bool)>>>,
}

#[derive(Clone)]
struct Seen {
    at: UnixMs,
    key: Option<Key>,
}

impl Keys {
    /// The keys in `store`, hashed with `signing`.
    pub fn new(store: Store, signing: SigningKey, clock: Clock) -> Self {
        Self {
            store,
            signing,
            clock,
            seen: Arc::default(),
            any: Arc::default(),
        }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// When the store can't take it or the system has no random bytes.
    pub async fn create(&self, name: &str, scopes: Vec<Scope>, expires: Option<Duration>) -> Result<NewKey, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let now = self.clock.now();
        let key = Key {
            id: KeyId::random(),
            name: name.to_owned(),
            prefix: secret.chars().take(PREFIX.len() + 4).collect(),
            hash: self.hash(&secret).to_vec(),
            scopes,
            created_at: now,
            expires_at: expires.map(|span| now.after(span)),
            revoked_at: None,
            last_used_at: None,
        };
        self.store.key_insert(&key).await?;
        self.forget();
        Ok(NewKey { key, secret })
    }

    /// All keys, newest last; without their secrets, which nobody has.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list(&self) -> Result<Vec<Key>, StoreError> {
        self.store.key_list().await
    }

    /// Revokes a key; says whether there was one to revoke.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn revoke(&self, id: KeyId) -> Result<bool, StoreError> {
        let revoked = self.store.key_revoke(id, self.clock.now()).await?;
        self.forget();
        Ok(revoked)
    }

    /// Whether any key was ever made. From then on every caller needs one: revoking the last key must not open the
    /// door.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn any(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let known = self.any.lock().ok().and_then(|any| *any);
        if let Some((at, any)) = known
            && now.since(at) < BELIEVED
        {
            return Ok(any);
        }
        // Boxed, as below: who is believed without a look needn't carry the room for one.
        let any = match (Box::pin(self.store.key_list()).await, known) {
            (Ok(keys), _) => !keys.is_empty(),
            // While the database is away nobody can make a key either, and every call will be told of it by itself.
            (Err(StoreError::Unavailable(_)), Some((_, any))) => return Ok(any),
            (Err(error), _) => return Err(error),
        };
        if let Ok(mut known) = self.any.lock() {
            *known = Some((now, any));
        }
        Ok(any)
    }

    /// Who holds this key; nobody if it is unknown, revoked or expired.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Actor>, StoreError> {
        if !secret.starts_with(PREFIX) {
            return Ok(None);
        }
        let (hash, now) = (self.hash(secret), self.clock.now());
        let remembered = self.seen.lock().ok().and_then(|seen| seen.get(&hash).cloned());
        let key = match remembered.filter(|seen| now.since(seen.at) < BELIEVED) {
            Some(seen) => seen.key,
            None => Box::pin(self.look_up(hash, now)).await?,
        };
        let valid = key.filter(|key| key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at));
        Ok(valid.map(|key| Actor {
            subject: format!("key:{}", key.id),
            client: key.name,
            door: Door::Http,
            scopes: key
                .scopes
                .into_iter()
                .filter(|scope| *scope != Scope::Operator)
                .collect(),
        }))
    }

    async fn look_up(&self, hash: [u8; 32], now: UnixMs) -> Result<Option<Key>, StoreError> {
        let key = self.store.key_by_hash(&hash).await?;
        if let Some(key) = &key {
            // Only for the operator's eyes: a full disk must not lock callers out of what is there.
            if let Err(error) = self.store.key_used(key.id, now).await {
                tracing::warn!(key.id = %key.id, %error, "when a key was used can't be noted");
            }
        }
        if let Ok(mut seen) = self.seen.lock() {
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            seen.insert(
                hash,
                Seen {
                    at: now,
                    key: key.clone(),
                },
            );
        }
        Ok(key)
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        self.signing.sign("bearer-key", secret.as_bytes())
    }

    fn forget(&self) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.clear();
        }
        if let Ok(mut any) = self.any.lock() {
            *any = None;
        }
    }
}
