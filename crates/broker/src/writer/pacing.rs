//! When a flush starts where no interval is set: an idle lane starts one at once, a busy one when those whom the last commit
//! answered are back.
//!
//! Most producers are closed loops: they have a few requests in flight, and each answer brings one more batch. A flush that
//! starts at the first of them leaves the others to the next one, and everybody waits for two. A flush that waits for as
//! many batches as were answered takes all of them, as soon as they are there. Whoever does not come back is waited for as
//! long as the least patient batch was collected by its producer; and where waiting keeps being in vain (some clients send
//! nothing while anything is unanswered, others do not wait for answers at all), nobody is waited for until that has worn off
//! ([ADR 0018](../../../../docs/adr/0018-a-flush-waits-for-those-it-answered.md)).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use segment::RecordBatchHeader;
use tokio::time::Instant;

use crate::limits::{FLUSH_PATIENCE_MAX, FLUSH_PATIENCE_MIN};

/// What a wait in vain adds to the doubt; one that was not takes one off, and so does a flush that waited for nobody.
const DOUBT_PER_MISS: u32 = 3;
/// From here on nobody is waited for: reached when more than a quarter of the waits are in vain.
const DOUBT_TOO_MUCH: u32 = 12;
/// Where doubt begins once it was too much.
const DOUBT_MAX: u32 = 24;

/// Counts of one lane. The counters are read without a lock, and a batch may be counted after it was gathered: being some batches
/// off moves a start. That the lane hears of the first batch at all must not rest on them.
#[derive(Debug)]
pub(crate) struct Pacing {
    /// Batches that came since the last flush was gathered.
    arrived: AtomicUsize,
    /// Batches that are waited for, if the lane has nothing else to wait for.
    expected: AtomicUsize,
    /// Least of the milliseconds that the producers of those that came collected them.
    collected_ms: AtomicU64,
    /// Segments that are neither committed nor failed yet.
    undecided: AtomicUsize,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// When the last segment was decided.
    decided_at: Option<Instant>,
    /// How often waiting was in vain; see the constants.
    doubt: u32,
}

impl Pacing {
    pub(crate) fn new() -> Self {
        Self {
            arrived: AtomicUsize::new(0),
            expected: AtomicUsize::new(0),
            collected_ms: AtomicU64::new(u64::MAX),
            undecided: AtomicUsize::new(0),
            history: Mutex::default(),
        }
    }

    /// A batch takes its place; whether the lane may want to start earlier than it planned.
    pub(crate) fn arrives(&self, header: &RecordBatchHeader) -> bool {
        let collected = collected_ms(header);
        let is_less_patient = self.collected_ms.fetch_min(collected, Ordering::Relaxed) > collected;
        let arrived = self.arrived.fetch_add(1, Ordering::Relaxed) + 1;
        is_less_patient || arrived == self.expected.load(Ordering::Relaxed)
    }

    /// All that waits, since `since`, is about to be gathered.
    pub(crate) fn gathers(&self, since: Option<Instant>, now: Instant) {
        let patience = self.patience();
        let arrived = self.arrived.swap(0, Ordering::Relaxed);
        let expected = self.expected.load(Ordering::Relaxed);
        self.collected_ms.store(u64::MAX, Ordering::Relaxed);
        let mut history = self.history.lock();
        let wait_began = since.max(history.decided_at);
        // Those who came back did so together. Batches that come when they like reach any number too, later.
        let came_back = wait_began.is_none_or(|began| now.saturating_duration_since(began) <= patience);
        if arrived >= expected && (came_back || expected == 0) {
            history.doubt = history.doubt.saturating_sub(1);
        } else {
            history.doubt += DOUBT_PER_MISS;
            if history.doubt >= DOUBT_TOO_MUCH {
                history.doubt = DOUBT_MAX;
            }
        }
    }

    /// A segment is on its way.
    pub(crate) fn begins(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
    }

    /// So many segments are decided, and so many batches were answered.
    pub(crate) fn decides(&self, segments: usize, answered: usize, now: Instant) {
        let mut history = self.history.lock();
        history.decided_at = Some(now);
        let expected = if history.doubt < DOUBT_TOO_MUCH { answered } else { 0 };
        self.expected.store(expected, Ordering::Relaxed);
        self.undecided.fetch_sub(segments, Ordering::Relaxed);
    }

    /// When what waits since `since` should be flushed if nothing changes; `None`: when a segment is decided.
    pub(crate) fn start(&self, since: Instant) -> Option<Instant> {
        if self.undecided.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if self.arrived.load(Ordering::Relaxed) >= self.expected.load(Ordering::Relaxed) {
            return Some(since);
        }
        let decided_at = self.history.lock().decided_at;
        Some(decided_at.map_or(since, |at| since.max(at + self.patience())))
    }

    /// A batch that its producer collected for some milliseconds can wait as long for company; one of a single record is
    /// wanted soon.
    fn patience(&self) -> Duration {
        let collected = Duration::from_millis(self.collected_ms.load(Ordering::Relaxed));
        collected.clamp(FLUSH_PATIENCE_MIN, FLUSH_PATIENCE_MAX)
    }
}

/// Milliseconds between the first record of a batch and its last, as its producer stamped them.
fn collected_ms(header: &RecordBatchHeader) -> u64 {
    u64::try_from(header.max_timestamp.saturating_sub(header.base_timestamp)).unwrap_or(0)
}

#[cfg(test)]
#[path = "pacing_tests.rs"]
mod tests;
