//! Lets the ranges of a new object take the place of old rows, in metadata.
//!
//! Crash table: between two swaps the object holds the ranges of those that happened, beside the old ones of the others, which are
//! read as before. A swap that is refused (the lease is lost, the topic deleted, retention was faster) leaves the old rows in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metadata::{
    LogChangeOutcome, NewRange, RangesReplacement, Resolution, SegmentRef, SegmentRewrite, SnapshotAt, StoreError,
};
use segment::{LeaderEpoch, Offset, PartitionKey};

use super::open_object::{Rewritten, Workbench, Written};
use super::snapshot_above;
use crate::writer::partition::Partition;

/// Rows that one transaction swaps, at most: segment commits wait for it.
pub(super) const ROWS_PER_SWAP: usize = 1_000;
/// Attempts at a transaction that did not happen, and the pauses between them.
const ATTEMPTS_MAX: usize = 8;
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// What becomes of a partition's later rows when earlier ones are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// They are tried: each range holds what its rows held.
    Any,
    /// They stay: what compaction took out of them may have hidden what is still in the earlier ones.
    Strict,
}

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Swapped {
    pub(super) rows: u64,
    /// Rows that came instead, and their bytes.
    pub(super) ranges: u64,
    pub(super) bytes: u64,
    pub(super) refused_rows: u64,
    /// Partitions with rows that stayed.
    pub(super) refused: BTreeSet<PartitionKey>,
}

impl Workbench {
    /// Lets the new ranges take the place of the old ones, in order.
    pub(super) async fn swap(&self, written: Written, order: Order) -> Result<Swapped, StoreError> {
        let Written { reference, object_bytes, ranges } = written;
        let mut swapped = Swapped::default();
        let mut ranges = ranges.into_iter().peekable();
        while ranges.peek().is_some() {
            let mut part: BTreeMap<PartitionKey, Replacement> = BTreeMap::new();
            let mut rows = 0;
            while let Some(next) = ranges.next_if(|next| {
                let known = part.get(&next.partition.key);
                let follows = known.is_none_or(|known| known.end == next.range.base_offset);
                follows && (rows == 0 || rows + next.replaced.len() <= ROWS_PER_SWAP)
            }) {
                if order == Order::Strict && swapped.refused.contains(&next.partition.key) {
                    swapped.refused_rows += next.replaced.len() as u64;
                    continue;
                }
                rows += next.replaced.len();
                let replacement =
                    part.entry(next.partition.key).or_insert_with(|| Replacement::new(Arc::clone(&next.partition)));
                replacement.push(next);
            }
            if !part.is_empty() {
                self.swap_part(&reference, object_bytes, part.into_values().collect(), &mut swapped).await?;
            }
        }
        Ok(swapped)
    }

    async fn swap_part(
        &self,
        reference: &SegmentRef,
        object_bytes: u64,
        part: Vec<Replacement>,
        swapped: &mut Swapped,
    ) -> Result<(), StoreError> {
        let mut replacements = Vec::with_capacity(part.len());
        for replacement in &part {
            let snapshot = snapshot_above(&replacement.partition, replacement.end, &*self.metadata).await?;
            replacements.push(replacement.to_metadata(snapshot));
        }
        let rewrite = SegmentRewrite {
            lane_sequence: reference.lane_sequence,
            object_key: reference.object_key.clone(),
            organization: reference.organization,
            object_bytes: i64::try_from(object_bytes).unwrap_or(i64::MAX),
            replacements,
        };
        let done = self.decide(reference, &rewrite).await?;
        for ((replacement, sent), done) in part.iter().zip(&rewrite.replacements).zip(done) {
            let rows = replacement.replaced.len() as u64;
            if !done {
                swapped.refused_rows += rows;
                swapped.refused.insert(replacement.partition.key);
                continue;
            }
            swapped.rows += rows;
            swapped.ranges += replacement.ranges.len() as u64;
            swapped.bytes += replacement.bytes;
            replacement.partition.tail.lock().recent.forget_below(replacement.end);
            self.cold.forget_plans(replacement.partition.key);
            let mut upkeep = replacement.partition.upkeep.lock();
            upkeep.replaced(replacement.replaced_bytes, replacement.bytes);
            if let Some(snapshot) = &sent.snapshot {
                upkeep.took_snapshot(snapshot.as_of_offset);
            }
        }
        Ok(())
    }

    /// Swaps rows until it is known which: one flag for each replacement.
    async fn decide(&self, reference: &SegmentRef, rewrite: &SegmentRewrite) -> Result<Vec<bool>, StoreError> {
        let session = self.status.session();
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        loop {
            match self.metadata.replace_ranges(session, rewrite).await {
                Ok(outcomes) => {
                    let done = outcomes.iter().map(|outcome| matches!(outcome, LogChangeOutcome::Done { .. }));
                    return Ok(done.collect());
                }
                Err(StoreError::Unknown(error)) => {
                    tracing::warn!(%error, "a swap of rows lost its reply, resolving");
                    return self.resolve(reference, rewrite).await;
                }
                Err(StoreError::Fenced) => return Err(StoreError::Fenced),
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(error) => tracing::debug!(%error, "a swap of rows did not happen, trying again"),
            }
            attempts += 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Whether a swap whose reply was lost happened. Should it happen later after all, nothing is wrong: its rows hold
    /// what they would have held, and the next look reads those that are there.
    async fn resolve(&self, reference: &SegmentRef, rewrite: &SegmentRewrite) -> Result<Vec<bool>, StoreError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        let resolutions = loop {
            match self.metadata.resolve_commit(self.status.session(), std::slice::from_ref(reference)).await {
                Ok(resolutions) => break resolutions,
                Err(StoreError::Fenced) => return Err(StoreError::Fenced),
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(error) => tracing::debug!(%error, "a swap of rows is not resolved yet"),
            }
            attempts += 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        let happened = |replacement: &RangesReplacement| match resolutions.first() {
            Some(Resolution::Committed(ranges)) => ranges.iter().any(|range| {
                range.key == replacement.key
                    && replacement.ranges.first().is_some_and(|first| first.base_offset == range.base_offset)
            }),
            Some(Resolution::Failed) | None => false,
        };
        Ok(rewrite.replacements.iter().map(happened).collect())
    }
}

/// Consecutive ranges of one partition that are swapped together.
struct Replacement {
    partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
    replaced: Vec<Offset>,
    ranges: Vec<NewRange>,
    bytes: u64,
    replaced_bytes: u64,
    end: Offset,
}

impl Replacement {
    fn new(partition: Arc<Partition>) -> Self {
        let leader_epoch = partition.state.lock().leader_epoch();
        Self { partition, leader_epoch, replaced: Vec::new(), ranges: Vec::new(), bytes: 0, replaced_bytes: 0, end: -1 }
    }

    fn push(&mut self, mut next: Rewritten) {
        self.end = next.range.next_offset;
        self.bytes += next.range.byte_len;
        self.replaced_bytes += next.replaced_bytes;
        self.replaced.append(&mut next.replaced);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.ranges.push(NewRange {
            base_offset: next.range.base_offset,
            next_offset: next.range.next_offset,
            leader_epoch: next.range.leader_epoch,
            byte_start: signed(next.range.byte_start),
            byte_len: signed(next.range.byte_len),
            checksum: next.range.checksum,
            max_timestamp: next.range.max_timestamp,
        });
    }

    fn to_metadata(&self, snapshot: Option<SnapshotAt>) -> RangesReplacement {
        RangesReplacement {
            key: self.partition.key,
            leader_epoch: self.leader_epoch,
            replaced: self.replaced.clone(),
            ranges: self.ranges.clone(),
            snapshot,
        }
    }
}
