//! Which copy of some content is in use, and which are to be deleted.
//!
//! Every upload writes a copy under a name of its own, before the database hears of it. The transaction that inserts an
//! artifact settles which copy stands for the digest: the one that does already, or else the new one. The other is
//! noted as going, and so is the copy of content that no artifact has any more. A copy goes from "not known" to "in use"
//! to "going" or straight to "going", never back, because no name is offered twice: whoever deletes what is going,
//! however late and however often, deletes nothing that is in use. See docs/decisions/content-addressed-artifacts.md.

use super::connect::Tx;
use super::sql::sql;
use super::{Store, StoreError};
use crate::domain::{Blob, CopyId, Digest};

/// A copy that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Going {
    /// The copy.
    pub blob: Blob,
    /// Another copy of the same content, which is in use.
    pub kept: Option<CopyId>,
}

impl Store {
    /// Copies that nothing refers to and nothing ever will, at most `limit`: those that were noted before, and those of
    /// content that no artifact has any more. Each stays noted until [`Store::blobs_gone`].
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn blobs_going(&self, limit: u32) -> Result<Vec<Going>, StoreError> {
        let mut tx = self.begin().await?;
        let result = release(&mut tx, limit).await;
        tx.end(result).await?;
        let noted = sql("SELECT g.digest, g.copy, b.copy AS kept FROM blobs_going g \
                           LEFT JOIN blobs b ON b.digest = g.digest ORDER BY g.digest, g.copy LIMIT $1")
        .bind(limit);
        let going = self.rows(noted).await?;
        let going = going.iter().map(|row| {
            Ok(Going {
                blob: Blob {
                    digest: row.get("digest")?,
                    copy: row.get("copy")?,
                },
                kept: row.find("kept")?,
            })
        });
        going.collect()
    }

    /// Forgets a copy whose bytes are deleted.
    ///
    /// # Errors
    /// When nothing could be stored.
    pub async fn blobs_gone(&self, blob: Blob) -> Result<(), StoreError> {
        let forget = sql("DELETE FROM blobs_going WHERE digest = $1 AND copy = $2")
            .bind(blob.digest)
            .bind(blob.copy);
        self.change(forget).await.map(drop)
    }
}

/// Settles which copy stands for the digest from now on, and locks it until the transaction ends. To be called before
/// an artifact with this digest is inserted; several at once in the order of their digests.
pub(super) async fn settle(tx: &mut Tx, offered: Blob) -> Result<(), StoreError> {
    // Changes nothing when there is one, but locks it and tells which.
    let keep = sql("INSERT INTO blobs (digest, copy) VALUES ($1, $2) \
                    ON CONFLICT (digest) DO UPDATE SET copy = blobs.copy RETURNING copy")
    .bind(offered.digest)
    .bind(offered.copy);
    let kept: Option<CopyId> = tx.row(keep).await?.map(|row| row.get("copy")).transpose()?;
    if kept == Some(offered.copy) {
        return Ok(());
    }
    note(tx, offered).await
}

async fn note(tx: &mut Tx, blob: Blob) -> Result<(), StoreError> {
    let going = sql("INSERT INTO blobs_going (digest, copy) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(blob.digest)
        .bind(blob.copy);
    tx.execute(going).await.map(drop)
}

/// Notes the copies of content that no artifact has any more.
async fn release(tx: &mut Tx, limit: u32) -> Result<(), StoreError> {
    let unused = sql("SELECT digest FROM blobs b WHERE NOT EXISTS \
                        (SELECT 1 FROM artifacts a WHERE a.digest = b.digest) ORDER BY digest LIMIT $1")
    .bind(limit);
    for row in tx.rows(unused).await? {
        let digest: Digest = row.get("digest")?;
        // First the lock that `settle` takes, then another look: an artifact may have come in between.
        let lock = sql("UPDATE blobs SET copy = copy WHERE digest = $1").bind(digest);
        tx.execute(lock).await?;
        let remove = sql("DELETE FROM blobs WHERE digest = $1 AND NOT EXISTS \
                            (SELECT 1 FROM artifacts a WHERE a.digest = $1) RETURNING copy")
        .bind(digest);
        if let Some(row) = tx.row(remove).await? {
            let copy = row.get("copy")?;
            note(tx, Blob { digest, copy }).await?;
        }
    }
    Ok(())
}
