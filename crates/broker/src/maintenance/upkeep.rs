//! What is remembered of a led partition, so that retention, rewrite and compaction read metadata only when something may be due.
//! Begins anew with each leadership. Decisions only: nothing here awaits.

use std::time::Duration;

use metadata::{LeaseRow, RangeCommit, RangeRow};
use segment::{Offset, TimestampMs};
use tokio::time::Instant;

use super::dirt::Dirt;
use super::rewrite_plan::{ROWS_MIN, SMALL_BYTES};
use crate::topic_config::Retention;

/// How often the age of `REWRITE_AGE` a partition may wait for `REWRITE_BYTES`, before it shares an object with others.
const SHARED_AFTER: u32 = 6;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep {
    oldest: Oldest,
    /// Bytes of all ranges, once they were counted.
    log_bytes: Option<u64>,
    /// Bytes committed under this leadership.
    committed_bytes: u64,
    /// Bytes that compaction took out under it.
    compacted_bytes: u64,
    /// The newest producer snapshot of this leadership, -1 = none.
    snapshot_at: Offset,
    rewrite: Growth,
    pub(super) dirt: Dirt,
}

/// The oldest range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oldest {
    /// Not read yet.
    Unknown,
    /// There is none.
    Nothing,
    /// It has so many bytes; the first range with a time has this one (or it was looked at then).
    Range { timestamp: TimestampMs, bytes: u64 },
}

/// Small ranges since they were last looked at.
#[derive(Debug)]
struct Growth {
    /// Ranges below are as they should be, or are not worth it.
    from: Offset,
    /// Whether those of earlier leaders were looked at.
    is_known: bool,
    ranges: u32,
    bytes: u64,
    /// When the first of them was noticed.
    since: Option<Instant>,
    /// A rewrite is due of what was there then, once that is old enough.
    due: Option<Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    end: Offset,
}

impl Upkeep {
    pub(crate) fn new(lease: &LeaseRow) -> Self {
        let is_empty = lease.log_start_offset == lease.next_offset;
        Self {
            oldest: if is_empty { Oldest::Nothing } else { Oldest::Unknown },
            log_bytes: is_empty.then_some(0),
            committed_bytes: 0,
            compacted_bytes: 0,
            snapshot_at: -1,
            rewrite: Growth {
                from: lease.log_start_offset,
                is_known: is_empty,
                ranges: 0,
                bytes: 0,
                since: None,
                due: None,
            },
            dirt: Dirt::new(lease),
        }
    }

    /// A range was committed.
    pub(crate) fn committed(&mut self, range: &RangeCommit) {
        let bytes = unsigned(range.byte_len);
        self.committed_bytes += bytes;
        self.log_bytes = self.log_bytes.map(|log_bytes| log_bytes + bytes);
        if self.oldest == Oldest::Nothing {
            self.oldest = Oldest::Range { timestamp: range.max_timestamp, bytes };
        }
        if range.snapshot.is_some() {
            self.snapshot_at = range.next_offset;
        }
        self.dirt.committed(bytes, range.max_timestamp);
        if range.byte_len < SMALL_BYTES {
            self.rewrite.ranges += 1;
            self.rewrite.bytes += bytes;
        }
    }

    /// Whether a producer snapshot is known that is as of `end` or later.
    pub(super) fn has_snapshot(&self, end: Offset) -> bool {
        self.snapshot_at >= end
    }

    /// A snapshot was written.
    pub(super) fn took_snapshot(&mut self, as_of_offset: Offset) {
        self.snapshot_at = self.snapshot_at.max(as_of_offset);
    }

    /// Whether the oldest range may have to go.
    pub(super) fn may_expire(&self, retention: Retention, now: TimestampMs) -> bool {
        match self.oldest {
            Oldest::Unknown => true,
            Oldest::Nothing => false,
            Oldest::Range { timestamp, bytes } => {
                let too_many =
                    |bytes_max| self.log_bytes.is_none_or(|log_bytes| is_surplus(log_bytes, bytes, bytes_max));
                retention.age_max_ms.is_some_and(|age_max| is_too_old(timestamp, now, age_max))
                    || retention.bytes_max.is_some_and(too_many)
            }
        }
    }

    pub(super) fn log_bytes(&self) -> Option<u64> {
        self.log_bytes
    }

    pub(super) fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }

    pub(super) fn compacted_bytes(&self) -> u64 {
        self.compacted_bytes
    }

    /// All ranges were counted; `committed_bytes` were committed when that began.
    pub(super) fn counted(&mut self, bytes: u64, committed_bytes: u64) {
        self.log_bytes = Some(bytes + self.committed_bytes - committed_bytes);
    }

    /// Rows with `before` bytes became others, with `after` bytes.
    pub(super) fn replaced(&mut self, before: u64, after: u64) {
        if before == after {
            return;
        }
        self.compacted_bytes += before.saturating_sub(after);
        self.log_bytes = self.log_bytes.map(|log_bytes| (log_bytes + after).saturating_sub(before));
        self.oldest = Oldest::Unknown;
    }

    /// Compaction left so many small ranges, the first of them at `from` or later: a rewrite looks at them again.
    pub(super) fn left_small(&mut self, from: Offset, ranges: u32, bytes: u64) {
        if ranges > 0 {
            self.rewrite.from = self.rewrite.from.min(from);
            self.rewrite.ranges += ranges;
            self.rewrite.bytes += bytes;
        }
    }

    /// What is oldest now, after `bytes` were deleted.
    pub(super) fn oldest_is(&mut self, oldest: Oldest, deleted_bytes: u64) {
        self.oldest = oldest;
        self.log_bytes = self.log_bytes.map(|log_bytes| log_bytes.saturating_sub(deleted_bytes));
    }

    /// Ranges were deleted that nobody counted.
    pub(super) fn forget_log(&mut self) {
        self.oldest = Oldest::Unknown;
        self.log_bytes = None;
    }

    /// Says from where to where the partition's ranges are to be looked at for a rewrite now, if they are. `end` is where it
    /// ends now.
    pub(super) fn rewrite_due(
        &mut self,
        now: Instant,
        end: Offset,
        bytes_min: u64,
        age: Duration,
    ) -> Option<(Offset, Offset)> {
        if self.dirt.is_being_cleaned {
            return None;
        }
        let growth = &mut self.rewrite;
        if growth.due.is_none() {
            if growth.ranges > 0 {
                growth.since.get_or_insert(now);
            }
            let waited = growth.since.is_some_and(|since| now.duration_since(since) >= age * SHARED_AFTER);
            let is_due = !growth.is_known || growth.bytes >= bytes_min || (growth.ranges >= ROWS_MIN && waited);
            if is_due {
                growth.due = Some(Due { at: now, end });
                (growth.ranges, growth.bytes, growth.since) = (0, 0, None);
            }
        }
        let due = growth.due.filter(|due| now.duration_since(due.at) >= age)?;
        Some((growth.from, due.end))
    }

    /// Ranges up to here were looked at, and rewritten where it was worth it. `all`: there are no more to look at now.
    pub(super) fn looked(&mut self, from: Offset, all: bool) {
        self.rewrite.from = self.rewrite.from.max(from);
        if all {
            self.rewrite.is_known = true;
            self.rewrite.due = None;
        }
    }
}

impl Oldest {
    /// The oldest of these ranges, the rest of a log as it was at `now`.
    pub(super) fn of(rows: &[RangeRow], now: TimestampMs) -> Self {
        let Some(first) = rows.first() else { return Self::Nothing };
        let timestamp = rows.iter().map(|row| row.max_timestamp).find(|timestamp| *timestamp >= 0).unwrap_or(now);
        Self::Range { timestamp, bytes: unsigned(first.byte_len) }
    }
}

/// Kafka's rule by time.
pub(super) fn is_too_old(timestamp: TimestampMs, now: TimestampMs, age_max_ms: i64) -> bool {
    timestamp >= 0 && now.saturating_sub(timestamp) > age_max_ms
}

/// Kafka's rule by size: what is left without the range is no less than what is to be kept.
pub(super) fn is_surplus(log_bytes: u64, range_bytes: u64, bytes_max: u64) -> bool {
    log_bytes.checked_sub(range_bytes).is_some_and(|left| left >= bytes_max)
}

pub(super) fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
