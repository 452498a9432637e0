//! An object that a rewrite or a compaction writes: opened, filled row by row, closed.
//!
//! Crash table: before it is closed there is nothing, or what the store keeps of an upload in parts; after it an object without a row
//! (garbage, found by its name), until its rows are [swapped](super::swap).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use metadata::{MetadataStore, RangeRow, SegmentRef, StoreError};
use opendal::{Buffer, Operator, Writer};
use rand::Rng;
use rand::rngs::StdRng;
use segment::{
    DataBuilder, LaneSequence, LeaderEpoch, ObjectKey, ObjectPurpose, Offset, OrganizationId, PartitionKey,
    REWRITE_SEQUENCE_BASE, RangeMeta, RecordBatchHeader, SegmentIdentity,
};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::pace::Pace;
use super::rewrite_plan::RANGE_BYTES_MAX;
use super::swap::ROWS_PER_SWAP;
use super::upkeep::unsigned;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::reader::cold::{ColdError, ColdReader};
use crate::session::SessionStatus;
use crate::writer::partition::Partition;

/// A part of an upload.
const CHUNK_BYTES: usize = 8 << 20;

/// What rewrite and compaction work with: one each, at one pace.
pub(crate) struct Workbench {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) cold: Arc<ColdReader>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cluster_id: Uuid,
    pub(crate) pace: Arc<Mutex<Pace>>,
    pub(crate) rng: StdRng,
    /// Of the session's objects of this kind.
    pub(crate) next_sequence: Arc<AtomicI64>,
    /// Objects until the process ends, for crash tests.
    pub(crate) stop_after: Option<usize>,
}

/// Why a job ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    #[error("metadata: {0}")]
    Metadata(#[from] StoreError),
    #[error("object store: {0}")]
    Store(#[from] opendal::Error),
    #[error("a range could not be read: {0}")]
    Read(#[from] ColdError),
}

/// See the module.
pub(super) struct OpenObject {
    reference: SegmentRef,
    builder: DataBuilder,
    writer: Writer,
    ranges: Vec<Source>,
    /// Where the open run goes on, and the epoch of its records.
    run: Option<(PartitionKey, Offset, LeaderEpoch)>,
    bytes: u64,
    /// Since the store was given any.
    pending: usize,
}

/// The rows that a new range stands for.
struct Source {
    partition: Arc<Partition>,
    replaced: Vec<Offset>,
    bytes: u64,
}

/// A range of the new object, and the rows it stands for.
pub(super) struct Rewritten {
    pub(super) partition: Arc<Partition>,
    pub(super) replaced: Vec<Offset>,
    /// Of those rows.
    pub(super) replaced_bytes: u64,
    pub(super) range: RangeMeta,
}

/// The new object.
pub(super) struct Written {
    pub(super) reference: SegmentRef,
    pub(super) object_bytes: u64,
    pub(super) ranges: Vec<Rewritten>,
}

impl Workbench {
    /// Waits until so many bytes may be read or written.
    pub(super) async fn pass(&self, bytes: u64) {
        self.pace.lock().await.pass(bytes).await;
    }

    /// Begins an object, under a name and a number of its own.
    pub(super) async fn open(&mut self, organization: OrganizationId) -> Result<OpenObject, JobError> {
        let session = self.status.session();
        let lane_sequence: LaneSequence = REWRITE_SEQUENCE_BASE + self.next_sequence.fetch_add(1, Ordering::Relaxed);
        let (purpose, unique) = (ObjectPurpose::Data, self.rng.random());
        let object_key = ObjectKey { organization, purpose, session, lane_sequence, unique }.to_string();
        let identity = SegmentIdentity {
            cluster_id: self.cluster_id,
            organization,
            session,
            lane_sequence,
            committed_through: -1,
            written_at: self.clock.now(),
        };
        Ok(OpenObject {
            writer: self.store.writer_with(&object_key).chunk(CHUNK_BYTES).await?,
            reference: SegmentRef { lane_sequence, object_key, organization },
            builder: DataBuilder::new(identity),
            ranges: Vec::new(),
            run: None,
            bytes: 0,
            pending: 0,
        })
    }

    /// Makes the object whole; ends the process after it, for crash tests.
    pub(super) async fn close(&mut self, object: OpenObject) -> Result<Written, JobError> {
        let written = object.close().await?;
        if let Some(left) = &mut self.stop_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                tracing::error!("stop point reached, ending the process");
                std::process::abort();
            }
        }
        Ok(written)
    }
}

impl OpenObject {
    pub(super) fn organization(&self) -> OrganizationId {
        self.reference.organization
    }

    /// Bytes of records in it so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether so many bytes of records under this epoch would join the open range, if there is one.
    pub(super) fn fits(&self, leader_epoch: LeaderEpoch, bytes: u64) -> bool {
        let rows = self.ranges.last().map_or(0, |range| range.replaced.len());
        let is_of_epoch = self.run.is_some_and(|(_, _, epoch)| epoch == leader_epoch);
        (is_of_epoch || bytes == 0) && self.builder.range_bytes() + bytes <= RANGE_BYTES_MAX && rows < ROWS_PER_SWAP
    }

    /// Adds what stays of a row, after the rows before it if it follows them. Offsets without records are covered all the same.
    pub(super) async fn push_row(
        &mut self,
        partition: &Arc<Partition>,
        row: &RangeRow,
        batches: &[(RecordBatchHeader, Bytes)],
    ) -> Result<(), JobError> {
        let bytes: usize = batches.iter().map(|(_, batch)| batch.len()).sum();
        let follows = self.run.is_some_and(|(key, end, _)| (key, end) == (partition.key, row.base_offset));
        if !follows || !self.fits(row.leader_epoch, bytes as u64) {
            self.builder.begin_range(partition.key, row.leader_epoch, row.base_offset);
            self.run = Some((partition.key, row.base_offset, row.leader_epoch));
            self.ranges.push(Source { partition: Arc::clone(partition), replaced: Vec::new(), bytes: 0 });
        }
        if let Some(source) = self.ranges.last_mut() {
            source.replaced.push(row.base_offset);
            source.bytes += unsigned(row.byte_len);
        }
        batches.iter().for_each(|(header, batch)| self.builder.push(header, batch.clone()));
        self.builder.cover(row.next_offset);
        if let Some((_, end, _)) = &mut self.run {
            *end = row.next_offset;
        }
        self.bytes += bytes as u64;
        self.pending += bytes;
        if self.pending >= CHUNK_BYTES {
            self.pending = 0;
            self.writer.write(Buffer::from(self.builder.take_chunks())).await?;
        }
        Ok(())
    }

    /// Ends consecutive rows; `successor` holds the range after them.
    pub(super) fn end_run(&mut self, successor: &str) {
        if self.run.take().is_some() {
            self.builder.end_run(successor.to_owned());
        }
    }

    async fn close(mut self) -> Result<Written, JobError> {
        let mut finished = self.builder.finish();
        let chunks = Buffer::from(std::mem::take(&mut finished.chunks));
        let closed = match self.writer.write(chunks).await {
            Ok(()) => self.writer.close().await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            // What cannot be taken back is garbage by its name.
            let _ = self.writer.abort().await;
            return Err(error.into());
        }
        let ranges = self.ranges.into_iter().zip(finished.ranges);
        let rewritten = |(source, range): (Source, RangeMeta)| Rewritten {
            partition: source.partition,
            replaced: source.replaced,
            replaced_bytes: source.bytes,
            range,
        };
        Ok(Written {
            reference: self.reference,
            object_bytes: finished.object_bytes,
            ranges: ranges.map(rewritten).collect(),
        })
    }

    /// Gives it up.
    pub(super) async fn abort(mut self) {
        let _ = self.writer.abort().await;
    }
}

/// What was read must be what the row says: batches one after the other, from its first offset to its end, with holes where
/// compaction took some out.
pub(super) fn check(row: &RangeRow, batches: &[(RecordBatchHeader, Bytes)]) -> Result<(), ColdError> {
    let mut end = row.base_offset;
    let follow = batches.iter().all(|(header, _)| {
        let follows = header.base_offset >= end && header.next_offset() > header.base_offset;
        end = header.next_offset();
        follows
    });
    if follow && end <= row.next_offset && !batches.is_empty() {
        return Ok(());
    }
    let reason = format!("its batches do not lie between {} and {}", row.base_offset, row.next_offset);
    Err(ColdError::Damaged { object_key: row.object_key.clone(), reason })
}
