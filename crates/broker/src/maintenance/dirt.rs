//! How dirty a compacted log is: what was appended since it was cleaned. Kafka's rules of when it is cleaned, on what a leader remembers.

use metadata::LeaseRow;
use segment::{Offset, TimestampMs};

use crate::topic_config::Compaction;

/// See the module.
#[derive(Debug)]
pub(super) struct Dirt {
    /// First offset that was not cleaned: Kafka's checkpoint.
    pub(super) cleaned_to: Offset,
    /// How far the last pass looked: the newest range is looked at and never cleaned.
    looked_to: Offset,
    /// What is beyond `cleaned_to`, once it was counted.
    counted: Option<Counted>,
    /// Its rows are about to be replaced: no rewrite meanwhile.
    pub(super) is_being_cleaned: bool,
}

/// Ranges that were not cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) bytes: u64,
    /// The time of the oldest, -1 = none has one.
    pub(super) since: TimestampMs,
}

impl Counted {
    pub(super) const NOTHING: Self = Self { bytes: 0, since: -1 };

    pub(super) fn add(&mut self, bytes: u64, timestamp: TimestampMs) {
        self.bytes += bytes;
        if timestamp >= 0 && (self.since < 0 || timestamp < self.since) {
            self.since = timestamp;
        }
    }

    /// Whether a log that has `clean` bytes besides is to be cleaned of these now.
    pub(super) fn is_worth_it(self, clean: u64, compaction: Compaction, now: TimestampMs) -> bool {
        let is_too_old = self.since >= 0 && now.saturating_sub(self.since) > compaction.lag_max_ms;
        self.bytes > 0
            && (is_too_old || as_float(self.bytes) > compaction.dirty_ratio_min * as_float(clean + self.bytes))
    }
}

impl Dirt {
    pub(super) fn new(lease: &LeaseRow) -> Self {
        let cleaned_to = lease.cleaned_offset;
        Self { cleaned_to, looked_to: cleaned_to, counted: None, is_being_cleaned: false }
    }

    /// A range was committed.
    pub(super) fn committed(&mut self, bytes: u64, max_timestamp: TimestampMs) {
        if let Some(counted) = &mut self.counted {
            counted.add(bytes, max_timestamp);
        }
    }

    /// Whether the rows of a log that ends at `end` are worth a look.
    pub(super) fn may_be_due(
        &self,
        end: Offset,
        log_bytes: Option<u64>,
        compaction: Compaction,
        now: TimestampMs,
    ) -> bool {
        let is_worth_it =
            |(dirt, log_bytes): (Counted, u64)| dirt.is_worth_it(log_bytes.saturating_sub(dirt.bytes), compaction, now);
        end > self.looked_to && self.counted.zip(log_bytes).is_none_or(is_worth_it)
    }

    /// All that is beyond `cleaned_to` was counted.
    pub(super) fn counted(&mut self, found: Counted) {
        self.counted = Some(found);
    }

    /// A pass looked up to here, and cleaned up to there.
    pub(super) fn cleaned(&mut self, looked_to: Offset, cleaned_to: Offset) {
        self.looked_to = looked_to;
        self.cleaned_to = self.cleaned_to.max(cleaned_to);
        self.counted = None;
    }

    /// A record cannot be read: nothing more is cleaned under this leadership.
    pub(super) fn give_up(&mut self) {
        self.looked_to = Offset::MAX;
    }
}

/// Sizes are far below 2^53, where `f64` is exact.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
const fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compaction(dirty_ratio_min: f64, lag_max_ms: i64) -> Compaction {
        Compaction { dirty_ratio_min, lag_min_ms: 0, lag_max_ms, delete_retention_ms: 0 }
    }

    #[test]
    fn a_log_is_cleaned_when_more_than_a_part_of_it_is_dirty() {
        let dirt = Counted { bytes: 50, since: 1_000 };
        let half = compaction(0.5, i64::MAX);
        assert!(!dirt.is_worth_it(50, half, i64::MAX), "no more than half");
        assert!(dirt.is_worth_it(49, half, 0));
        assert!(dirt.is_worth_it(1 << 40, compaction(0.0, i64::MAX), 0));
        assert!(!dirt.is_worth_it(0, compaction(1.0, i64::MAX), 0));
        assert!(!Counted::NOTHING.is_worth_it(0, compaction(0.0, 1), 10));
    }

    #[test]
    fn what_waited_for_long_does_not_wait_for_more() {
        let dirt = Counted { bytes: 1, since: 1_000 };
        assert!(!dirt.is_worth_it(1_000, compaction(0.5, 500), 1_500));
        assert!(dirt.is_worth_it(1_000, compaction(0.5, 500), 1_501));
        let timeless = Counted { bytes: 1, since: -1 };
        assert!(!timeless.is_worth_it(1_000, compaction(0.5, 500), i64::MAX));
    }

    #[test]
    fn the_oldest_time_counts() {
        let mut dirt = Counted::NOTHING;
        for (timestamp, since) in [(-1, -1), (7, 7), (9, 7), (-1, 7), (3, 3)] {
            dirt.add(1, timestamp);
            assert_eq!(dirt.since, since);
        }
    }
}
