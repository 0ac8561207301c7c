//! The log of an execution: scrubbed bytes in order, stored in chunks, read from any offset.

use super::changes::Topic;
use super::connect::Tx;
use super::queue::Lease;
use super::sql::sql;
use super::steps::must;
use super::{Store, StoreError};
use crate::domain::{AttemptId, ExecutionId, UnixMs};

/// A larger piece is stored as several chunks, so that reading a little never loads a lot.
const CHUNK_MAX: usize = 256 * 1024;
/// The most that one read answers.
const READ_MAX: usize = 4 * 1024 * 1024;

/// What is to be added to the log.
#[derive(Debug, Clone, Copy)]
pub struct LogPiece<'a> {
    /// Whose output it is; none for clawhand's own words.
    pub attempt: Option<AttemptId>,
    /// Up to where the executor's output is in the log now.
    pub raw_offset: u64,
    /// The last raw byte before that.
    pub last_byte: Option<u8>,
    /// When.
    pub at: UnixMs,
    /// The bytes, scrubbed. May be empty: then only the offset moves.
    pub clean: &'a [u8],
}

impl Store {
    /// Adds to the log, and moves the attempt's offset in the same transaction, so that after a crash nothing is
    /// there twice or missing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the lease was lost.
    pub async fn log_append(&self, lease: &Lease, piece: &LogPiece<'_>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let result = append(&mut tx, lease, piece).await;
        tx.end(result).await
    }

    /// The log from byte `from` on, at most `max` bytes of it, and the size of all of it. Of an execution that doesn't
    /// exist the log is empty.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn log_read(&self, id: ExecutionId, from: u64, max: usize) -> Result<(Vec<u8>, u64), StoreError> {
        let max = max.min(READ_MAX);
        let end = from.saturating_add(max as u64);
        let rows = self
            .rows(
                sql("SELECT e.log_size, c.start, c.bytes FROM executions e \
                     LEFT JOIN log_chunks c ON c.execution_id = e.id AND c.start < $3 AND c.start >= COALESCE(\
                       (SELECT MAX(b.start) FROM log_chunks b WHERE b.execution_id = $1 AND b.start <= $2), 0) \
                     WHERE e.id = $1 ORDER BY c.start")
                .bind(id)
                .bind(from)
                .bind(end),
            )
            .await?;
        let size = match rows.first() {
            Some(row) => row.get("log_size")?,
            None => return Ok((Vec::new(), 0)),
        };
        let mut bytes = Vec::new();
        for row in &rows {
            let (Some(start), Some(chunk)) = (row.find::<u64>("start")?, row.find::<Vec<u8>>("bytes")?) else {
                break;
            };
            let skip = usize::try_from(from.saturating_sub(start))
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            let room = max - bytes.len();
            let part = &chunk[skip..];
            bytes.extend_from_slice(&part[..part.len().min(room)]);
        }
        Ok((bytes, size))
    }
}

/// Adds bytes to the log under the fence, at a time that is told where somebody asks when it last said something.
pub(super) async fn write(tx: &mut Tx, lease: &Lease, bytes: &[u8], at: Option<UnixMs>) -> Result<(), StoreError> {
    let at = at.filter(|_| !bytes.is_empty());
    let size = lease.fence_to_log(tx, bytes.len() as u64, at).await?.log_size;
    let mut start = size.saturating_sub(bytes.len() as u64);
    for chunk in bytes.chunks(CHUNK_MAX) {
        tx.execute(
            sql("INSERT INTO log_chunks (execution_id, start, bytes) VALUES ($1, $2, $3)")
                .bind(lease.execution())
                .bind(start)
                .bind(chunk),
        )
        .await?;
        start += chunk.len() as u64;
    }
    Ok(())
}

async fn append(tx: &mut Tx, lease: &Lease, piece: &LogPiece<'_>) -> Result<(), StoreError> {
    write(tx, lease, piece.clean, Some(piece.at)).await?;
    if let Some(attempt) = piece.attempt {
        let moved = sql("UPDATE attempts SET raw_offset = $3, last_byte = $4 WHERE id = $1 AND execution_id = $2")
            .bind(attempt)
            .bind(lease.execution())
            .bind(piece.raw_offset)
            .bind(piece.last_byte);
        must(tx.execute(moved).await?, "attempt")?;
    }
    if !piece.clean.is_empty() {
        tx.changed(Topic::Execution(lease.execution()));
    }
    Ok(())
}
