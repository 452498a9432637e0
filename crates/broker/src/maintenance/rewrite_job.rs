//! One rewrite: reads ranges, writes one [object](super::open_object), [swaps](super::swap) the rows. Batches stay as they are.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use metadata::RangeRow;
use opendal::ErrorKind;
use segment::{Offset, TopicId};
use tokio::time::Instant;

use super::open_object::{JobError, OpenObject, check};
use super::rewrite::Rewriter;
use super::rewrite_plan::{Run, Span, spans};
use super::swap::{Order, Swapped};
use super::upkeep::unsigned;
use crate::costs::{Purpose, charge};
use crate::reader::cold::{Batches, ColdError};
use crate::writer::partition::Partition;

/// Ranges read at the same time.
const READS_IN_FLIGHT: usize = 4;

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

/// Ranges that were read before they are written, by object and place.
type Read<'a> = HashMap<(&'a str, i64), Bytes>;

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
            Ok(swapped) if swapped.refused.is_empty() => "done",
            Ok(swapped) if swapped.rows > 0 => "partly",
            Ok(_) => "refused",
            Err(_) => "failed",
        };
        let metrics = &self.workbench.metrics;
        if let Ok(swapped) = &result {
            metrics.rewritten(swapped.bytes, swapped.rows, swapped.ranges);
        }
        metrics.rewrite_job(outcome);
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
        let mut object = self.workbench.open(first.partition.key.organization).await?;
        if let Err(error) = self.write(job, &mut object).await {
            object.abort().await;
            return Err(error);
        }
        let written = self.workbench.close(object).await?;
        Ok(self.workbench.swap(written, Order::Any).await?)
    }

    async fn write(&self, job: &Job, object: &mut OpenObject) -> Result<(), JobError> {
        let read = if job.is_shared { self.read_ahead(job).await? } else { Read::new() };
        let cold = Arc::clone(&self.workbench.cold);
        let range = async |row| match read.get(&place(row)) {
            Some(bytes) => verified(row, bytes),
            None => cold.background_range(row).await,
        };
        for piece in &job.pieces {
            let mut ahead = piece.run.rows.iter();
            let mut reads: FuturesOrdered<_> = ahead.by_ref().take(READS_IN_FLIGHT).map(&range).collect();
            for row in &piece.run.rows {
                let bytes = unsigned(row.byte_len);
                // Each byte is read once (or was) and written once.
                self.workbench.pass(if job.is_shared { bytes } else { 2 * bytes }).await;
                let Some(batches) = reads.next().await else { break };
                let batches = batches?;
                reads.extend(ahead.next().map(&range));
                check(row, &batches)?;
                object.push_row(&piece.partition, row, &batches).await?;
            }
            object.end_run(&piece.run.successor);
        }
        Ok(())
    }

    /// Reads all ranges of a job, those together that lie together. The job is bounded so that they fit in memory.
    async fn read_ahead<'a>(&self, job: &'a Job) -> Result<Read<'a>, JobError> {
        let rows = job.pieces.iter().flat_map(|piece| &piece.run.rows);
        let mut read = HashMap::new();
        for Span { object_key, bytes, rows } in spans(rows) {
            let start = bytes.start;
            self.workbench.pass(bytes.end - start).await;
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
        let read = self.workbench.store.read_with(object_key).range(bytes).await;
        self.workbench.metrics.object_get(started.elapsed().as_secs_f64(), len, read.is_ok());
        match read {
            Ok(read) => Ok(read.to_bytes()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(ColdError::Store(error.to_string()).into()),
            Err(error) => Err(error.into()),
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
