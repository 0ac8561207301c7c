//! Artifacts: which blobs belong to what, under which name. The bytes are the blob room's.

use std::collections::BTreeMap;

use super::blobs;
use super::connect::Tx;
use super::sql::{Row, sql};
use super::tasks::{json, touch};
use super::{Store, StoreError};
use crate::domain::{Artifact, ArtifactId, Digest, ExecutionId, TaskId};

/// What is read of a row, by name: a column that a newer program adds must not change a prepared statement's result.
macro_rules! artifact_columns {
    () => {
        "id, task_id, execution_id, owner, role, name, size, digest, media_type, listing, created_at, \
         (SELECT copy FROM blobs WHERE blobs.digest = artifacts.digest) AS copy"
    };
}

/// What became of an input that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactInsert {
    /// It is stored now, in place of one of the same name.
    Stored,
    /// The task has an execution, so that its inputs stay as they are.
    TaskStarted,
    /// There is no such task any more.
    NoTask,
}

impl Store {
    /// Stores an input while its task has no execution; one of the same name is replaced.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn artifact_insert_input(&self, artifact: &Artifact) -> Result<ArtifactInsert, StoreError> {
        let mut tx = self.begin().await?;
        let result = insert_input(&mut tx, artifact).await;
        tx.end(result).await
    }

    /// The inputs of a task, by name.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn artifact_inputs(&self, task: TaskId) -> Result<Vec<Artifact>, StoreError> {
        let inputs = sql(concat!(
            "SELECT ",
            artifact_columns!(),
            " FROM artifacts WHERE task_id = $1 AND role = 'input' ORDER BY name"
        ))
        .bind(task);
        self.rows(inputs).await?.iter().map(read).collect()
    }

    /// The outputs of an execution, in the order they were stored.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn artifact_outputs(&self, execution: ExecutionId) -> Result<Vec<Artifact>, StoreError> {
        let outputs = sql(concat!(
            "SELECT ",
            artifact_columns!(),
            " FROM artifacts WHERE execution_id = $1 ORDER BY id"
        ))
        .bind(execution);
        self.rows(outputs).await?.iter().map(read).collect()
    }

    /// The artifact with this id.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn artifact_get(&self, id: ArtifactId) -> Result<Option<Artifact>, StoreError> {
        let row = self
            .row(sql(concat!("SELECT ", artifact_columns!(), " FROM artifacts WHERE id = $1")).bind(id))
            .await?;
        row.map(|row| read(&row)).transpose()
    }
}

async fn insert_input(tx: &mut Tx, artifact: &Artifact) -> Result<ArtifactInsert, StoreError> {
    if !touch(tx, artifact.task, artifact.created_at).await? {
        return Ok(ArtifactInsert::NoTask);
    }
    let started = sql("SELECT id FROM executions WHERE task_id = $1 LIMIT 1").bind(artifact.task);
    if tx.row(started).await?.is_some() {
        return Ok(ArtifactInsert::TaskStarted);
    }
    insert(tx, artifact).await?;
    Ok(ArtifactInsert::Stored)
}

/// What a task's inputs are now.
pub(super) async fn input_digests(tx: &mut Tx, task: TaskId) -> Result<BTreeMap<String, Digest>, StoreError> {
    let inputs = sql("SELECT name, digest FROM artifacts WHERE task_id = $1 AND role = 'input'").bind(task);
    let rows = tx.rows(inputs).await?;
    rows.iter()
        .map(|row| Ok((row.get("name")?, row.get("digest")?)))
        .collect()
}

/// Stores an artifact; an input of the same task and name is replaced. Several in the order of their digests.
pub(super) async fn insert(tx: &mut Tx, artifact: &Artifact) -> Result<(), StoreError> {
    blobs::settle(tx, artifact.blob()).await?;
    tx.execute(
        sql("INSERT INTO artifacts \
             (id, task_id, execution_id, owner, role, name, size, digest, media_type, listing, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (task_id, name) WHERE role = 'input' DO UPDATE SET \
             id = excluded.id, owner = excluded.owner, size = excluded.size, digest = excluded.digest, \
             media_type = excluded.media_type, listing = excluded.listing, created_at = excluded.created_at")
        .bind(artifact.id)
        .bind(artifact.task)
        .bind(artifact.execution)
        .bind(&artifact.owner)
        .bind(artifact.role)
        .bind(&artifact.name)
        .bind(artifact.size)
        .bind(artifact.digest)
        .bind(&artifact.media_type)
        .bind(json(&artifact.listing)?)
        .bind(artifact.created_at),
    )
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<Artifact, StoreError> {
    Ok(Artifact {
        id: row.get("id")?,
        task: row.get("task_id")?,
        execution: row.find("execution_id")?,
        owner: row.get("owner")?,
        role: row.get("role")?,
        name: row.get("name")?,
        size: row.get("size")?,
        digest: row.get("digest")?,
        copy: row.get("copy")?,
        media_type: row.get("media_type")?,
        listing: row.json("listing")?,
        created_at: row.get("created_at")?,
    })
}
