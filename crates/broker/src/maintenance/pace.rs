//! How fast background work may go: so many bytes a second, and not while producers wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::writer::pool::WriterPool;

/// Bytes that may pass at once after a pause, as time at the full rate.
const BURST: Duration = Duration::from_millis(100);
/// How often the lane is looked at.
const STEP_BYTES: u64 = 1 << 20;
/// A batch that waits for longer than a flush does shows that the lane is behind.
const BEHIND: Duration = Duration::from_millis(20);
/// Pause while it is, and how long it is given in one go: an agent that is always busy must rewrite, too.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES_MAX: usize = 50;

/// See the module.
pub(crate) struct Pace {
    pool: Arc<WriterPool>,
    bytes_per_second: u64,
    flush_interval: Duration,
    /// When the next byte is due.
    next: Instant,
    /// Since the lane was looked at.
    passed: u64,
}

impl Pace {
    pub(crate) fn new(pool: Arc<WriterPool>, bytes_per_second: u64, flush_interval: Duration) -> Self {
        Self { pool, bytes_per_second, flush_interval, next: Instant::now(), passed: 0 }
    }

    /// Waits until so many bytes may pass.
    pub(super) async fn pass(&mut self, bytes: u64) {
        let earliest = Instant::now().checked_sub(BURST).unwrap_or(self.next);
        let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_second.max(1));
        self.next = self.next.max(earliest) + takes;
        if self.next > Instant::now() {
            tokio::time::sleep_until(self.next).await;
        }
        self.passed += bytes;
        if self.passed >= STEP_BYTES {
            self.passed = 0;
            self.let_the_lane_pass().await;
        }
    }

    async fn let_the_lane_pass(&self) {
        for _ in 0..PAUSES_MAX {
            let waiting = self.pool.waiting_since().map_or(Duration::ZERO, |since| since.elapsed());
            if waiting <= self.flush_interval + BEHIND {
                return tokio::task::yield_now().await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
