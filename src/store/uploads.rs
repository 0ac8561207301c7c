//! Uploads that are under way: in parts, or by a link that works once.

use super::connect::Tx;
use super::sql::{Row, sql};
use super::{Store, StoreError};
use crate::domain::{Digest, TaskId, UnixMs};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! upload_columns {
    () => {
        "id, task_id, owner, name, kind, digest, received, created_at, expires_at, used_at"
    };
}

/// How the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadKind {
    /// In several calls, in order.
    Parts,
    /// In one PUT to a link.
    Link,
}

impl UploadKind {
    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Link => "link",
        }
    }
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// The task it is for.
    pub task: TaskId,
    /// Whose it is.
    pub owner: String,
    /// The artifact's name.
    pub name: String,
    /// What the whole must have.
    pub digest: Option<Digest>,
    /// Bytes that arrived so far, in parts.
    pub offset: u64,
    /// How the bytes come.
    pub kind: UploadKind,
    /// When it was begun.
    pub created_at: UnixMs,
    /// When it lapses.
    pub expires_at: UnixMs,
    /// When the link was taken.
    pub used_at: Option<UnixMs>,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartInsert {
    /// It is stored.
    Stored,
    /// Nothing was stored: the next part begins there.
    Expected(u64),
}

impl Store {
    /// Stores an upload. False when one in parts is open already for the task and name.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn upload_insert(&self, upload: &Upload) -> Result<bool, StoreError> {
        let insert = sql("INSERT INTO uploads \
             (id, task_id, owner, name, kind, digest, received, created_at, expires_at, used_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (task_id, name) WHERE kind = 'parts' DO NOTHING")
        .bind(&upload.id)
        .bind(upload.task)
        .bind(&upload.owner)
        .bind(&upload.name)
        .bind(upload.kind.as_str())
        .bind(upload.digest)
        .bind(upload.offset)
        .bind(upload.created_at)
        .bind(upload.expires_at)
        .bind(upload.used_at);
        self.change(insert).await
    }

    /// The upload with this id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn upload_get(&self, id: &str) -> Result<Option<Upload>, StoreError> {
        let row = self
            .row(sql(concat!("SELECT ", upload_columns!(), " FROM uploads WHERE id = $1")).bind(id))
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// The open upload in parts for a task and name.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn upload_find(&self, task: TaskId, name: &str) -> Result<Option<Upload>, StoreError> {
        let open = sql(concat!(
            "SELECT ",
            upload_columns!(),
            " FROM uploads WHERE task_id = $1 AND name = $2 AND kind = 'parts'"
        ))
        .bind(task)
        .bind(name);
        self.row(open).await?.map(|row| read(&row)).transpose()
    }

    /// Stores the part that begins at `from`, if that is where the upload stands.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn upload_part(&self, id: &str, from: u64, data: &[u8]) -> Result<PartInsert, StoreError> {
        let mut tx = self.begin().await?;
        let result = part(&mut tx, id, from, data).await;
        tx.end(result).await
    }

    /// The part that begins at `from`; none when the upload ends there.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn upload_part_at(&self, id: &str, from: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let part = sql("SELECT data FROM upload_parts WHERE upload_id = $1 AND start = $2")
            .bind(id)
            .bind(from);
        let row = self.row(part).await?;
        row.map(|row| row.get("data")).transpose()
    }

    /// Uses a link up. Exactly one caller gets true, before it expires.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn upload_take(&self, id: &str, now: UnixMs) -> Result<bool, StoreError> {
        let take = sql("UPDATE uploads SET used_at = $2 \
                        WHERE id = $1 AND kind = 'link' AND used_at IS NULL AND expires_at > $2")
        .bind(id)
        .bind(now);
        self.change(take).await
    }

    /// Gives a link back whose PUT failed.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn upload_release(&self, id: &str) -> Result<(), StoreError> {
        let release = sql("UPDATE uploads SET used_at = NULL WHERE id = $1 AND kind = 'link'").bind(id);
        self.change(release).await.map(drop)
    }

    /// Forgets an upload.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn upload_delete(&self, id: &str) -> Result<(), StoreError> {
        self.change(sql("DELETE FROM uploads WHERE id = $1").bind(id))
            .await
            .map(drop)
    }

    /// The uploads that lapsed before `now` and what was received of them can be thrown away.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn uploads_lapsed(&self, now: UnixMs, limit: u32) -> Result<Vec<Upload>, StoreError> {
        let lapsed = sql(concat!(
            "SELECT ",
            upload_columns!(),
            " FROM uploads WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2"
        ))
        .bind(now)
        .bind(limit);
        self.rows(lapsed).await?.iter().map(read).collect()
    }
}

async fn part(tx: &mut Tx, id: &str, from: u64, data: &[u8]) -> Result<PartInsert, StoreError> {
    let to = from + data.len() as u64;
    let advance = sql("UPDATE uploads SET received = $3 WHERE id = $1 AND received = $2 AND kind = 'parts'")
        .bind(id)
        .bind(from)
        .bind(to);
    if tx.execute(advance).await? == 0 {
        let received = tx
            .row(sql("SELECT received FROM uploads WHERE id = $1").bind(id))
            .await?;
        return Ok(PartInsert::Expected(received.map_or(Ok(0), |row| row.get("received"))?));
    }
    if !data.is_empty() {
        let insert = sql("INSERT INTO upload_parts (upload_id, start, data) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(from)
            .bind(data);
        tx.execute(insert).await?;
    }
    Ok(PartInsert::Stored)
}

fn read(row: &Row) -> Result<Upload, StoreError> {
    Ok(Upload {
        id: row.get("id")?,
        task: row.get("task_id")?,
        owner: row.get("owner")?,
        name: row.get("name")?,
        digest: row.find("digest")?,
        offset: row.get("received")?,
        kind: match row.get::<String>("kind")?.as_str() {
            "parts" => UploadKind::Parts,
            "link" => UploadKind::Link,
            _ => return Err(StoreError::Corrupt("column kind: a word that is not known".into())),
        },
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        used_at: row.find("used_at")?,
    })
}
