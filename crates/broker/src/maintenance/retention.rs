//! Retention: what Apache Kafka deletes by `retention.ms` and `retention.bytes`, this deletes too. A range is the unit, as a
//! log segment is there: the oldest go, while their greatest timestamp is too old or the log is large enough without them;
//! the newest may go as well, the log then is empty.
//!
//! The log start moves in one metadata transaction, which deletes the ranges below it and retires objects that lose their last;
//! garbage collection deletes those after its grace. Only then does it move in memory: a reader in between finds no range,
//! and asks again. If the transaction fails, or its reply is lost, the rows are read anew: where they begin, the log does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metadata::{LogChangeOutcome, LogStartMove, MetadataStore, RangeRow, StoreError};
use segment::{Offset, PartitionKey, TimestampMs};
use tokio::time::MissedTickBehavior;

use super::log_bytes::count;
use super::snapshot_above;
use super::upkeep::{Oldest, is_surplus, is_too_old, unsigned};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::session::SessionStatus;
use crate::topic_config::Retention;
use crate::writer::partition::Partition;
use crate::writer::pool::WriterPool;

/// Partitions whose log starts move in one transaction.
const MOVES_MAX: usize = 64;
/// Rows of a partition read at once; more are read if all have to go.
const ROWS_PER_LOOK: u32 = 250;
/// Rows that one transaction deletes, at most: segment commits wait for it.
const ROWS_PER_MOVE: u32 = 2_000;

/// The task.
pub(crate) struct Retainer {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) interval: Duration,
}

/// What is to be deleted of one partition.
struct Expired {
    partition: Arc<Partition>,
    /// Where its log will begin.
    start: Offset,
    /// Where it begins.
    from: Offset,
    /// Where it ends.
    end: Offset,
    bytes: u64,
    /// What is oldest then.
    oldest: Oldest,
}

impl Retainer {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut rounds = tokio::time::interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if self.status.is_fenced() {
                return;
            }
            if let Err(error) = self.round().await {
                self.status.failed("retention", &error);
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        let mut expired = Vec::new();
        for topic in self.catalog.topics() {
            let Some(found) = self.catalog.by_id(topic.organization, topic.topic_id) else { continue };
            let retention = found.log_config.retention;
            if !retention.deletes {
                continue;
            }
            for index in 0..topic.partition_count {
                let Some(partition) = self.pool.partition(topic.topic_id, index) else { continue };
                while let Some(found) = self.look(&partition, retention).await? {
                    // A whole read of rows: there may be more to go.
                    let (again, start) = (found.oldest == Oldest::Unknown, found.start);
                    expired.push(found);
                    if expired.len() >= MOVES_MAX || again {
                        self.delete(std::mem::take(&mut expired)).await?;
                    }
                    if !again || ends_of(&partition).0 < start {
                        break;
                    }
                }
            }
        }
        self.delete(expired).await
    }

    /// What of the partition has been kept long enough, if anything.
    async fn look(&self, partition: &Arc<Partition>, retention: Retention) -> Result<Option<Expired>, StoreError> {
        let now = self.clock.now();
        if !partition.upkeep.lock().may_expire(retention, now) {
            return Ok(None);
        }
        if retention.bytes_max.is_some() {
            count(partition, &*self.metadata).await?;
        }
        let (from, end) = ends_of(partition);
        let mut rows = self.metadata.ranges_from(partition.key, from, ROWS_PER_LOOK).await?;
        let is_all = rows.len() < ROWS_PER_LOOK as usize;
        let found_start = rows.first().map_or(end, |first| first.base_offset);
        if found_start > from {
            // A move whose reply was lost, or is on its way: what was counted before it is not there any more.
            partition.start_at(found_start);
            partition.upkeep.lock().forget_log();
        }
        // What is committed and not yet published here is not there yet.
        rows.retain(|row| row.next_offset <= end);
        let log_bytes = partition.upkeep.lock().log_bytes();
        let gone = expired(&rows, retention, now, log_bytes);
        let oldest = match Oldest::of(&rows[gone..], now) {
            Oldest::Nothing if !is_all => Oldest::Unknown,
            oldest => oldest,
        };
        let Some(start) = gone.checked_sub(1).map(|last| rows[last].next_offset) else {
            remember(partition, oldest, 0, end);
            return Ok(None);
        };
        let bytes = rows[..gone].iter().map(|row| unsigned(row.byte_len)).sum();
        Ok(Some(Expired { partition: Arc::clone(partition), start, from, end, bytes, oldest }))
    }

    async fn delete(&self, expired: Vec<Expired>) -> Result<(), StoreError> {
        let mut by_key: BTreeMap<PartitionKey, Expired> = BTreeMap::new();
        let mut moves = Vec::with_capacity(expired.len());
        for expired in expired {
            moves.push(move_of(&expired.partition, expired.start, &*self.metadata).await?);
            by_key.insert(expired.partition.key, expired);
        }
        while !moves.is_empty() {
            let outcomes = self.metadata.move_log_starts(self.status.session(), &moves, ROWS_PER_MOVE).await;
            let outcomes = outcomes.inspect_err(|_| {
                by_key.values().for_each(|expired| expired.partition.upkeep.lock().forget_log());
            })?;
            let mut unfinished = Vec::new();
            for (moved, outcome) in moves.into_iter().zip(outcomes) {
                let Some(expired) = by_key.get(&moved.key) else { continue };
                match outcome {
                    LogChangeOutcome::Done { more } => {
                        self.applied(expired, &moved);
                        if more {
                            unfinished.push(moved);
                        }
                    }
                    // Another round reads anew what is there, if it is still led here.
                    LogChangeOutcome::Stale => expired.partition.upkeep.lock().forget_log(),
                    LogChangeOutcome::NotLeader | LogChangeOutcome::TopicDeleted => {}
                }
            }
            moves = unfinished;
        }
        Ok(())
    }

    /// The transaction happened: memory follows, once.
    fn applied(&self, expired: &Expired, moved: &LogStartMove) {
        if ends_of(&expired.partition).0 >= expired.start {
            return;
        }
        let records = u64::try_from(expired.start - expired.from).unwrap_or(0);
        apply(&expired.partition, moved);
        remember(&expired.partition, expired.oldest, expired.bytes, expired.end);
        self.metrics.records_deleted(records, expired.bytes);
        tracing::debug!(partition = ?moved.key, start = moved.log_start_offset, records, "records were deleted");
    }
}

/// Moves the log start of a partition that this agent leads to `start`.
pub(super) async fn move_of(
    partition: &Partition,
    start: Offset,
    metadata: &dyn MetadataStore,
) -> Result<LogStartMove, StoreError> {
    let snapshot = snapshot_above(partition, start, metadata).await?;
    let leader_epoch = partition.state.lock().leader_epoch();
    Ok(LogStartMove { key: partition.key, leader_epoch, log_start_offset: start, snapshot })
}

/// Takes over in memory what a transaction did.
pub(super) fn apply(partition: &Partition, moved: &LogStartMove) {
    partition.start_at(moved.log_start_offset);
    if let Some(snapshot) = &moved.snapshot {
        partition.upkeep.lock().took_snapshot(snapshot.as_of_offset);
    }
}

/// Notes what is oldest in a log that ended at `end` when it was read.
fn remember(partition: &Partition, oldest: Oldest, deleted_bytes: u64, end: Offset) {
    // Held, so that no commit comes in between.
    let state = partition.state.lock();
    let is_empty = oldest == Oldest::Nothing && state.high_watermark() == end;
    let oldest = if oldest == Oldest::Nothing && !is_empty { Oldest::Unknown } else { oldest };
    partition.upkeep.lock().oldest_is(oldest, deleted_bytes);
}

/// How many of these, the oldest of a log, have been kept long enough.
fn expired(rows: &[RangeRow], retention: Retention, now: TimestampMs, mut log_bytes: Option<u64>) -> usize {
    let mut gone = 0;
    for (position, row) in rows.iter().enumerate() {
        let bytes = unsigned(row.byte_len);
        let too_old = retention.age_max_ms.is_some_and(|age_max| is_too_old(row.max_timestamp, now, age_max));
        let too_many = |bytes_max| log_bytes.is_some_and(|log_bytes| is_surplus(log_bytes, bytes, bytes_max));
        if too_old || retention.bytes_max.is_some_and(too_many) {
            gone = position + 1;
        } else if row.max_timestamp >= 0 {
            break;
        }
        // One without a time goes with what comes after it.
        log_bytes = log_bytes.map(|log_bytes| log_bytes.saturating_sub(bytes));
    }
    gone
}

/// Where the log begins, and where it ends.
pub(super) fn ends_of(partition: &Partition) -> (Offset, Offset) {
    let state = partition.state.lock();
    (state.log_start_offset(), state.high_watermark())
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
