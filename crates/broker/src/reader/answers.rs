//! The memory of answers that are on their way to clients: who gets how much of it, so that those who take their time hold up
//! nobody else.
//!
//! A fetch takes its share before it reads. What it did not need it gives back when it has read, and the rest piece by piece, as
//! pieces are written. A share is at most half of what is free, so that some is free for the next one. How long an answer was held
//! is remembered with its readers: who takes answers at once gets larger ones, up to the whole, and has a third of the memory for
//! itself; who does not gets smaller ones, down to a minimum. A reader that nobody knows yet begins in between. When all is held by those
//! who take nothing, somebody waits, and gateways give those up ([`Answers::is_short`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::limits::FETCH_COLD_BYTES_MAX;
use crate::memory_budget::{MemoryBudget, MemoryPermit};

/// An answer that its client has taken within this is one that it took at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The share of a reader that nobody knows.
const FIRST_BYTES: usize = 1 << 20;
/// The least share that is worth a fetch.
const SHARE_BYTES_MIN: usize = 256 << 10;
/// How long after somebody waited memory is called short.
const SHORT: Duration = Duration::from_secs(5);
/// How long a fetch waits for a share.
const SHARE_WITHIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Answers {
    /// For everybody.
    common: MemoryBudget,
    /// For those who took their last answer at once; half of it for others too, when nothing else is left.
    quick: MemoryBudget,
    /// When somebody waited last.
    waited: Mutex<Option<Instant>>,
}

/// One answer of a reader: how much it could be, and how long the client took for it.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: usize,
    /// When it was read, and when all of it was taken.
    times: Mutex<(Option<Instant>, Option<Instant>)>,
}

/// The share of one fetch.
#[derive(Debug)]
pub(crate) struct Share {
    /// How much it may read.
    pub(crate) bytes: usize,
    left: Mutex<MemoryPermit>,
    held: Arc<Held>,
}

/// Lives as long as anything of an answer does.
#[derive(Debug)]
struct Held(Arc<Pace>);

/// Record bytes with the memory that they are charged to.
struct Charged {
    bytes: Bytes,
    _memory: MemoryPermit,
    _held: Arc<Held>,
}

impl Answers {
    pub(super) fn new(bytes_max: usize) -> Self {
        let quick = bytes_max / 3;
        let common = MemoryBudget::new(bytes_max - quick);
        Self { common, quick: MemoryBudget::new(quick), waited: Mutex::default() }
    }

    /// Whether somebody waited lately.
    pub(super) fn is_short(&self) -> bool {
        self.waited.lock().is_some_and(|at| at.elapsed() < SHORT)
    }

    /// A share of at most `bytes` for readers whose last answer went like this; `None`: there was nothing for a while.
    pub(super) async fn share(&self, bytes: usize, last: Option<&Pace>) -> Option<Share> {
        let (most, is_quick) = last.map_or((FIRST_BYTES, false), Pace::next);
        let most = most.min(bytes);
        let least = SHARE_BYTES_MIN.min(most).min(self.common.bytes() / 4);
        let half = |budget: &MemoryBudget| most.min(budget.available() / 2);
        let budget = if is_quick && half(&self.quick) > half(&self.common) { &self.quick } else { &self.common };
        let share = half(budget).max(least);
        if let Some(memory) = budget.try_acquire(share) {
            return Some(Share::new(share, memory));
        }
        *self.waited.lock() = Some(Instant::now());
        if let Ok(memory) = timeout(SHARE_WITHIN, self.common.acquire(least)).await {
            return Some(Share::new(least, memory));
        }
        let is_free = is_quick || self.quick.available() > self.quick.bytes() / 2;
        let memory = is_free.then(|| self.quick.try_acquire(least)).flatten()?;
        Some(Share::new(least, memory))
    }
}

impl Pace {
    /// How much the next answer may be, and whether this one was taken at once.
    fn next(&self) -> (usize, bool) {
        let (read, taken) = *self.times.lock();
        let took = read.map_or(Duration::ZERO, |read| taken.unwrap_or_else(Instant::now).duration_since(read));
        match taken {
            _ if took > AT_ONCE => ((self.bytes / 2).max(SHARE_BYTES_MIN), false),
            Some(_) => ((2 * self.bytes).clamp(SHARE_BYTES_MIN, FETCH_COLD_BYTES_MAX), true),
            // Still on its way: whoever asks now is another client, that reads at the same place.
            None => (FIRST_BYTES, false),
        }
    }

    /// When it was read.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.times.lock().0
    }
}

impl Share {
    fn new(bytes: usize, memory: MemoryPermit) -> Self {
        let pace = Arc::new(Pace { bytes, times: Mutex::default() });
        Self { bytes, left: Mutex::new(memory), held: Arc::new(Held(pace)) }
    }

    /// Charges so many bytes of an answer to it, as far as it goes; they are given back with the last slice of `bytes`.
    pub(super) fn charge(&self, bytes: Bytes, len: usize) -> Bytes {
        self.held.0.times.lock().0 = Some(Instant::now());
        let memory = self.left.lock().split(len);
        Bytes::from_owner(Charged { bytes, _memory: memory, _held: Arc::clone(&self.held) })
    }

    /// How its client will have taken it.
    pub(super) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.held.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.times.lock().1 = Some(Instant::now());
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
