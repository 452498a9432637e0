//! What an agent does in the background for the partitions it leads: deletes records that have been kept long enough
//! ([`retention`]), rewrites the many small ranges of shared objects into few large ones ([`rewrite`]), and takes out of compacted
//! topics what later records of the same key replace ([`compaction`]).
//!
//! Three tasks, each the owner of its metadata calls. All only ever change rows by a transaction that checks session, leader
//! epoch and the very rows that were read, so none rests on what is remembered here: [`upkeep`] says when it is worth
//! reading them. What a crash leaves: an object without a row (garbage), or a transaction that happened whole.

mod cleaning;
mod compaction;
mod delete_records;
mod dirt;
mod log_bytes;
mod open_object;
mod pace;
mod retention;
mod rewrite;
mod rewrite_job;
mod rewrite_plan;
mod swap;
mod upkeep;

use metadata::{MetadataStore, SnapshotAt, StoreError};

pub(crate) use compaction::Compactor;
pub use delete_records::DeleteRecordsError;
pub use log_bytes::LOG_DIR;
pub(crate) use open_object::Workbench;
pub(crate) use pace::Pace;
pub(crate) use retention::Retainer;
pub(crate) use rewrite::Rewriter;
pub(crate) use upkeep::Upkeep;

use crate::writer::partition::Partition;

/// Rows asked of metadata at once.
const ROWS_PER_READ: u32 = 1_000;

/// A snapshot of the partition's producers as of its high watermark, unless one is known to be as of `end` or later: rows lose
/// what they say of producers only below a snapshot.
async fn snapshot_above(
    partition: &Partition,
    end: segment::Offset,
    metadata: &dyn MetadataStore,
) -> Result<Option<SnapshotAt>, StoreError> {
    if partition.upkeep.lock().has_snapshot(end) {
        return Ok(None);
    }
    partition.load_producers(metadata).await?;
    let (as_of_offset, entries) = partition.state.lock().snapshot();
    Ok(Some(SnapshotAt { as_of_offset, snapshot: segment::encode_producer_entries(&entries) }))
}
