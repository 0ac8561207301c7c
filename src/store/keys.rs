//! Bearer keys: only their keyed hashes are here.

use super::sql::{Row, sql};
use super::tasks::json;
use super::{Store, StoreError};
use crate::domain::{KeyId, Scope, UnixMs};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! key_columns {
    () => {
        "id, name, prefix, hash, scopes, created_at, expires_at, revoked_at, last_used_at"
    };
}

/// A bearer key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id; `key:` and this is the owner of what is made with it.
    pub id: KeyId,
    /// What the operator calls it.
    pub name: String,
    /// Its first shown characters, to tell keys apart.
    pub prefix: String,
    /// Its keyed hash.
    pub hash: Vec<u8>,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: UnixMs,
    /// When it stops working.
    pub expires_at: Option<UnixMs>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
    /// When it was last used, roughly.
    pub last_used_at: Option<UnixMs>,
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn key_insert(&self, key: &Key) -> Result<(), StoreError> {
        let insert = sql("INSERT INTO keys \
                          (id, name, prefix, hash, scopes, created_at, expires_at, revoked_at, last_used_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(key.id)
        .bind(&key.name)
        .bind(&key.prefix)
        .bind(key.hash.as_slice())
        .bind(json(&key.scopes)?)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(key.revoked_at)
        .bind(key.last_used_at);
        self.change(insert).await.map(drop)
    }

    /// Every key, the oldest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn key_list(&self) -> Result<Vec<Key>, StoreError> {
        self.rows(sql(concat!("SELECT ", key_columns!(), " FROM keys ORDER BY id")))
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Revokes a key. False when there is none, or it was revoked before.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn key_revoke(&self, id: KeyId, now: UnixMs) -> Result<bool, StoreError> {
        let revoke = sql("UPDATE keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .bind(now);
        self.change(revoke).await
    }

    /// The key with this hash, whether it still works or not.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn key_by_hash(&self, hash: &[u8]) -> Result<Option<Key>, StoreError> {
        let row = self
            .row(sql(concat!("SELECT ", key_columns!(), " FROM keys WHERE hash = $1")).bind(hash))
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn key_used(&self, id: KeyId, now: UnixMs) -> Result<(), StoreError> {
        let used = sql("UPDATE keys SET last_used_at = $2 \
                        WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)")
        .bind(id)
        .bind(now);
        self.change(used).await.map(drop)
    }

    /// How many keys work now.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn keys_active(&self, now: UnixMs) -> Result<u64, StoreError> {
        let active = sql("SELECT COUNT(*) AS active FROM keys \
                          WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)")
        .bind(now);
        match self.row(active).await? {
            Some(row) => row.get("active"),
            None => Ok(0),
        }
    }
}

fn read(row: &Row) -> Result<Key, StoreError> {
    Ok(Key {
        id: row.get("id")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        hash: row.get("hash")?,
        scopes: row.json("scopes")?,
        created_at: row.get("created_at")?,
        expires_at: row.find("expires_at")?,
        revoked_at: row.find("revoked_at")?,
        last_used_at: row.find("last_used_at")?,
    })
}
