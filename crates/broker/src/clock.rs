//! Time that is written down: the database's clock at the last renewal plus what has passed here since.
//!
//! The agent's own wall clock is never used, so agents whose clocks differ by an hour stamp alike.

use std::time::Duration;

use parking_lot::Mutex;
use segment::TimestampMs;
use tokio::time::Instant;

/// What measures elapsed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// `CLOCK_BOOTTIME`: goes on while the machine is suspended.
    Boottime,
    /// The runtime's clock, which a paused runtime controls (simulation, tests).
    Runtime,
}

/// The database's clock, carried forward.
#[derive(Debug)]
pub(crate) struct Clock {
    source: TimeSource,
    started: Instant,
    base: Mutex<(TimestampMs, Duration)>,
}

impl Clock {
    pub(crate) fn new(source: TimeSource, database_time: TimestampMs) -> Self {
        let clock = Self { source, started: Instant::now(), base: Mutex::new((database_time, Duration::ZERO)) };
        clock.set(database_time);
        clock
    }

    /// Time since a fixed moment; goes on while the machine is suspended, never jumps.
    pub(crate) fn monotonic(&self) -> Duration {
        match self.source {
            TimeSource::Runtime => self.started.elapsed(),
            TimeSource::Boottime => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
            }
        }
    }

    /// Takes over the database's clock, as read by a renewal.
    pub(crate) fn set(&self, database_time: TimestampMs) {
        *self.base.lock() = (database_time, self.monotonic());
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> TimestampMs {
        let (base, at) = *self.base.lock();
        let passed = self.monotonic().saturating_sub(at).as_millis();
        base.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
