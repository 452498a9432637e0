//! One rewrite: reads ranges, writes one object, swaps the rows.
//!
//! Crash table: before the object is whole there is nothing, or what the store keeps of an upload in parts; after it an object
//! without a row (garbage, found by its name); between two swaps an object that holds the ranges of those that happened,
//! beside the old ones of the others, which are read as before. A swap that is refused (the lease is lost, the topic
//! deleted, retention was faster) leaves the old rows in force. Nobody waits for any of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use metadata::{
    LogChangeOutcome, NewRange, RangeRow, RangesReplacement, Resolution, SegmentRef, SegmentRewrite, SnapshotAt,
    StoreError,
};
use opendal::{Buffer, ErrorKind, Writer};
use rand::Rng;
use segment::{
    DataBuilder, FinishedSegment, LeaderEpoch, ObjectKey, ObjectPurpose, Offset, PartitionKey, REWRITE_SEQUENCE_BASE,
    RangeMeta, SegmentIdentity, TopicId,
};
use tokio::time::Instant;

use super::rewrite::Rewriter;
use super::rewrite_plan::{RANGE_BYTES_MAX, Run, Span, spans};
use super::snapshot_above;
use super::upkeep::unsigned;
use crate::costs::{Purpose, charge};
use crate::reader::cold::{Batches, ColdError};
use crate::writer::partition::Partition;

/// Rows that one transaction swaps, at most: segment commits wait for it.
const ROWS_PER_SWAP: usize = 1_000;
/// A part of an upload.
const CHUNK_BYTES: usize = 8 << 20;
/// Ranges read at the same time.
const READS_IN_FLIGHT: usize = 4;
/// Attempts at a transaction that did not happen, and the pauses between them.
const ATTEMPTS_MAX: usize = 8;
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// What becomes one object.
pub(super) struct Job {
    pub(super) pieces: Vec<Piece>,
    /// Of many partitions: what is to be read lies side by side in few objects.
    pub(super) is_shared: bool,
}

/// One run of a partition.
pub(super) struct Piece {
    pub(super) partition: Arc<Partition>,
    pub(super) run: Run,
    /// How far the partition was looked at, with the last run of the look; see `Upkeep::looked`.
    pub(super) looked: Option<(Offset, bool)>,
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

/// Ranges that were read before they are written, by object and place.
type Read<'a> = HashMap<(&'a str, i64), Bytes>;

/// A range of the new object, and the rows it stands for.
struct Rewritten<'a> {
    partition: &'a Arc<Partition>,
    replaced: Vec<Offset>,
    range: RangeMeta,
}

/// The new object.
struct Written<'a> {
    reference: SegmentRef,
    object_bytes: u64,
    ranges: Vec<Rewritten<'a>>,
}

/// What became of the rows.
#[derive(Default)]
struct Swapped {
    rows: u64,
    bytes: u64,
    refused: u64,
}

impl Job {
    /// One that grows.
    pub(super) fn shared() -> Self {
        Self { pieces: Vec::new(), is_shared: true }
    }

    pub(super) fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.run.rows.len()).sum()
    }

    /// Bytes by topic.
    fn topics(&self) -> Vec<(TopicId, u64)> {
        let mut topics = BTreeMap::new();
        for piece in &self.pieces {
            *topics.entry(piece.partition.key.topic_id).or_insert(0) += piece.run.bytes();
        }
        topics.into_iter().collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.run.bytes()).sum()
    }
}

impl Rewriter {
    /// Does a job. Whatever is refused or cannot be read is left as it is.
    ///
    /// # Errors
    /// A store did not answer; the job may be tried again.
    pub(super) async fn run_job(&mut self, job: Job) -> Result<(), JobError> {
        let topics = job.topics();
        let result = charge(Purpose::Rewrite, &topics, self.write_and_swap(&job)).await;
        let outcome = match &result {
            Ok(swapped) if swapped.refused == 0 => "done",
            Ok(swapped) if swapped.rows > 0 => "partly",
            Ok(_) => "refused",
            Err(_) => "failed",
        };
        self.metrics.rewrite_job(outcome);
        if !matches!(result, Err(JobError::Metadata(_) | JobError::Store(_))) {
            // What was refused, or cannot be read, is not tried again before there is more.
            for piece in &job.pieces {
                if let Some((from, all)) = piece.looked {
                    piece.partition.upkeep.lock().looked(from, all);
                }
            }
        }
        result.map(drop)
    }

    async fn write_and_swap(&mut self, job: &Job) -> Result<Swapped, JobError> {
        let Some(first) = job.pieces.first() else { return Ok(Swapped::default()) };
        let (organization, session) = (first.partition.key.organization, self.status.session());
        let lane_sequence = REWRITE_SEQUENCE_BASE + self.next_sequence;
        self.next_sequence += 1;
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
        let mut writer = self.store.writer_with(&object_key).chunk(CHUNK_BYTES).await?;
        let written = self.write(job, DataBuilder::new(identity), &mut writer).await;
        let (finished, sources) = match written {
            Ok(written) => written,
            Err(error) => {
                // What cannot be taken back is garbage by its name.
                let _ = writer.abort().await;
                return Err(error);
            }
        };
        self.pass();
        let reference = SegmentRef { lane_sequence, object_key, organization };
        let rewritten = sources.into_iter().zip(finished.ranges);
        let ranges = rewritten.map(|((partition, replaced), range)| Rewritten { partition, replaced, range }).collect();
        self.swap(Written { reference, object_bytes: finished.object_bytes, ranges }).await
    }

    /// Ends the process between object and swap, for crash tests.
    fn pass(&mut self) {
        if let Some(left) = &mut self.stop_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                tracing::error!("stop point reached, ending the process");
                std::process::abort();
            }
        }
    }

    /// Writes the object; returns what it is, and for each of its ranges the partition and the rows it stands for.
    async fn write<'a>(
        &mut self,
        job: &'a Job,
        mut builder: DataBuilder,
        writer: &mut Writer,
    ) -> Result<(FinishedSegment, Vec<(&'a Arc<Partition>, Vec<Offset>)>), JobError> {
        let read = if job.is_shared { self.read_ahead(job).await? } else { Read::new() };
        let cold = Arc::clone(&self.cold);
        let range = async |row| match read.get(&place(row)) {
            Some(bytes) => verified(row, bytes),
            None => cold.background_range(row).await,
        };
        let mut sources: Vec<(&Arc<Partition>, Vec<Offset>)> = Vec::new();
        let mut pending = 0;
        for piece in &job.pieces {
            let mut ahead = piece.run.rows.iter();
            let mut reads: FuturesOrdered<_> = ahead.by_ref().take(READS_IN_FLIGHT).map(&range).collect();
            let mut last = None;
            for row in &piece.run.rows {
                let bytes = unsigned(row.byte_len);
                // Each byte is read once (or was) and written once.
                self.pace.pass(if job.is_shared { bytes } else { 2 * bytes }).await;
                let Some(batches) = reads.next().await else { break };
                let batches = batches?;
                reads.extend(ahead.next().map(&range));
                check(row, batches.iter().map(|(header, _)| (header.base_offset, header.next_offset())))?;
                let replaced = sources.last().map_or(0, |(_, replaced)| replaced.len());
                let fits = builder.range_bytes() + bytes <= RANGE_BYTES_MAX && replaced < ROWS_PER_SWAP;
                let follows =
                    last.replace((row.leader_epoch, row.next_offset)) == Some((row.leader_epoch, row.base_offset));
                if !follows || !fits {
                    builder.begin_range(piece.partition.key, row.leader_epoch);
                    sources.push((&piece.partition, Vec::new()));
                }
                if let Some((_, replaced)) = sources.last_mut() {
                    replaced.push(row.base_offset);
                }
                batches.iter().for_each(|(header, batch)| builder.push(header, batch.clone()));
                pending += bytes;
                if pending >= CHUNK_BYTES as u64 {
                    pending = 0;
                    writer.write(Buffer::from(builder.take_chunks())).await?;
                }
            }
            builder.end_run(piece.run.successor.clone());
        }
        let mut finished = builder.finish();
        writer.write(Buffer::from(std::mem::take(&mut finished.chunks))).await?;
        writer.close().await?;
        Ok((finished, sources))
    }

    /// Reads all ranges of a job, those together that lie together. The job is bounded so that they fit in memory.
    async fn read_ahead<'a>(&mut self, job: &'a Job) -> Result<Read<'a>, JobError> {
        let rows = job.pieces.iter().flat_map(|piece| &piece.run.rows);
        let mut read = HashMap::new();
        for Span { object_key, bytes, rows } in spans(rows) {
            let start = bytes.start;
            self.pace.pass(bytes.end - start).await;
            let span = self.get(object_key, bytes).await?;
            for row in rows {
                let at = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX).min(span.len());
                let from = unsigned(row.byte_start);
                let range = at(from)..at(from + unsigned(row.byte_len));
                // Copied: the rest of what was read goes.
                read.insert(place(row), Bytes::copy_from_slice(&span[range]));
            }
        }
        Ok(read)
    }

    async fn get(&self, object_key: &str, bytes: Range<u64>) -> Result<Bytes, JobError> {
        let (started, len) = (Instant::now(), bytes.end - bytes.start);
        let read = self.store.read_with(object_key).range(bytes).await;
        self.metrics.object_get(started.elapsed().as_secs_f64(), len, read.is_ok());
        match read {
            Ok(read) => Ok(read.to_bytes()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ColdError::Store(error.to_string()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the new ranges take the place of the old ones, in order.
    async fn swap(&self, written: Written<'_>) -> Result<Swapped, JobError> {
        let Written { reference, object_bytes, ranges } = written;
        let mut swapped = Swapped::default();
        let mut ranges = ranges.into_iter().peekable();
        while ranges.peek().is_some() {
            let mut part: BTreeMap<PartitionKey, Replacement<'_>> = BTreeMap::new();
            let mut rows = 0;
            while let Some(next) = ranges.next_if(|next| {
                let known = part.get(&next.partition.key);
                let follows = known.is_none_or(|known| known.end == next.range.base_offset);
                follows && (rows == 0 || rows + next.replaced.len() <= ROWS_PER_SWAP)
            }) {
                rows += next.replaced.len();
                let replacement = part.entry(next.partition.key).or_insert_with(|| Replacement::new(next.partition));
                replacement.push(next);
            }
            self.swap_part(&reference, object_bytes, part.into_values().collect(), &mut swapped).await?;
        }
        Ok(swapped)
    }

    async fn swap_part(
        &self,
        reference: &SegmentRef,
        object_bytes: u64,
        part: Vec<Replacement<'_>>,
        swapped: &mut Swapped,
    ) -> Result<(), JobError> {
        let mut replacements = Vec::with_capacity(part.len());
        for replacement in &part {
            let snapshot = snapshot_above(replacement.partition, replacement.end, &*self.metadata).await?;
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
                swapped.refused += rows;
                continue;
            }
            swapped.rows += rows;
            swapped.bytes += replacement.bytes;
            self.metrics.rewritten(replacement.bytes, rows, replacement.ranges.len() as u64);
            if let Some(snapshot) = &sent.snapshot {
                replacement.partition.upkeep.lock().took_snapshot(snapshot.as_of_offset);
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
                    tracing::warn!(%error, "a rewrite's swap lost its reply, resolving");
                    return self.resolve(reference, rewrite).await;
                }
                Err(StoreError::Fenced) => return Err(StoreError::Fenced),
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(error) => tracing::debug!(%error, "a rewrite's swap did not happen, trying again"),
            }
            attempts += 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Whether a swap whose reply was lost happened. Should it happen later after all, nothing is wrong: the records are the
    /// same, and the next look reads the rows that are there.
    async fn resolve(&self, reference: &SegmentRef, rewrite: &SegmentRewrite) -> Result<Vec<bool>, StoreError> {
        let mut pause = PAUSE_MIN;
        let mut attempts = 0;
        let resolutions = loop {
            match self.metadata.resolve_commit(self.status.session(), std::slice::from_ref(reference)).await {
                Ok(resolutions) => break resolutions,
                Err(StoreError::Fenced) => return Err(StoreError::Fenced),
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(error) => tracing::debug!(%error, "a rewrite's swap is not resolved yet"),
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
struct Replacement<'a> {
    partition: &'a Arc<Partition>,
    leader_epoch: LeaderEpoch,
    replaced: Vec<Offset>,
    ranges: Vec<NewRange>,
    bytes: u64,
    end: Offset,
}

impl<'a> Replacement<'a> {
    fn new(partition: &'a Arc<Partition>) -> Self {
        let leader_epoch = partition.state.lock().leader_epoch();
        Self { partition, leader_epoch, replaced: Vec::new(), ranges: Vec::new(), bytes: 0, end: -1 }
    }

    fn push(&mut self, mut next: Rewritten<'a>) {
        self.end = next.range.next_offset;
        self.bytes += next.range.byte_len;
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

fn place(row: &RangeRow) -> (&str, i64) {
    (&row.object_key, row.byte_start)
}

fn verified(row: &RangeRow, bytes: &Bytes) -> Result<Batches, ColdError> {
    let damaged = |error: segment::FormatError| ColdError::Damaged {
        object_key: row.object_key.clone(),
        reason: error.to_string(),
    };
    segment::verify_range(bytes, row.checksum).map(Arc::new).map_err(damaged)
}

/// What was read must be what the row says: batches one after the other, from its first offset to its end.
fn check(row: &RangeRow, batches: impl Iterator<Item = (Offset, Offset)>) -> Result<(), ColdError> {
    let mut expected = row.base_offset;
    for (base_offset, next_offset) in batches {
        // A hole makes it no offset at all.
        expected = if base_offset == expected { next_offset } else { -1 };
    }
    if expected == row.next_offset && expected > row.base_offset {
        return Ok(());
    }
    let reason = format!("its batches do not reach from {} to {}", row.base_offset, row.next_offset);
    Err(ColdError::Damaged { object_key: row.object_key.clone(), reason })
}
