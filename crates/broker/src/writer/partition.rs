//! A partition that this agent leads: its state behind a lock that is never held over an await, its tail in memory,
//! and those who wait for its high watermark.

use std::collections::VecDeque;

use metadata::{LeaseRow, MetadataStore, StoreError};
use parking_lot::Mutex;
use segment::{Offset, PartitionKey};
use tokio::sync::{OnceCell, oneshot};

use super::partition_state::{Candidate, CommittedBatch, PartitionState, Placed};
use super::producer_state::Interrupted;
use crate::append::{AppendError, Appended};
use crate::maintenance::Upkeep;
use crate::replica::Recent;
use crate::waiters::Waiters;

/// Committed batches kept in memory, contiguous, ending at the high watermark.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) batches: VecDeque<CommittedBatch>,
    /// Where the newest ranges are, for followers.
    pub(crate) recent: Recent,
}

impl Tail {
    /// First offset in memory, if any batch is.
    pub(crate) fn base_offset(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.header.base_offset)
    }

    /// Forgets batches below `offset`; returns their bytes.
    pub(crate) fn evict_below(&mut self, offset: Offset) -> usize {
        let mut bytes = 0;
        while self.batches.front().is_some_and(|batch| batch.header.base_offset < offset) {
            bytes += self.batches.pop_front().map_or(0, |batch| batch.header.total_bytes());
        }
        bytes
    }
}

/// A led partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) key: PartitionKey,
    pub(crate) state: Mutex<PartitionState>,
    pub(crate) tail: Mutex<Tail>,
    /// Those who wait for the high watermark, or for an end of it.
    pub(crate) waiters: Waiters,
    /// For retention and rewrite. Locked after the others.
    pub(crate) upkeep: Mutex<Upkeep>,
    producers_loaded: OnceCell<()>,
}

/// What became of an append when it was placed.
pub(crate) struct PlacedAppend {
    pub(crate) placed: Placed,
    /// Whether it is the first to wait, so that the lane must be told of the partition.
    pub(crate) newly_dirty: bool,
    pub(crate) answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

impl Partition {
    pub(crate) fn new(lease: &LeaseRow, inherited: Interrupted) -> Self {
        Self {
            key: lease.key,
            state: Mutex::new(PartitionState::new(lease, inherited)),
            tail: Mutex::default(),
            waiters: Waiters::default(),
            upkeep: Mutex::new(Upkeep::new(lease)),
            producers_loaded: OnceCell::new(),
        }
    }

    /// Loads what the committed log says of producers, once, before the first append.
    pub(crate) async fn load_producers(&self, metadata: &dyn MetadataStore) -> Result<(), StoreError> {
        let load = || async {
            let history = metadata.producer_history(self.key).await?;
            let damaged = |error: segment::FormatError| {
                StoreError::Damaged(format!("producer entries of {:?}: {error}", self.key))
            };
            let mut batches = Vec::new();
            for bytes in history.snapshot.iter().map(|(_, bytes)| bytes).chain(&history.entries) {
                batches.extend(segment::decode_producer_entries(bytes).map_err(damaged)?);
            }
            self.state.lock().restore_producers(batches.into_iter(), history.ranges_since_snapshot);
            Ok(())
        };
        self.producers_loaded.get_or_try_init(load).await.copied()
    }

    /// Gives a checked batch its place. Calls are ordered by the lock. `Err`: the partition is paused, ask again later.
    pub(crate) fn place(
        &self,
        candidate: Box<Candidate>,
        now: segment::TimestampMs,
    ) -> Result<PlacedAppend, Box<Candidate>> {
        let mut state = self.state.lock();
        if state.is_paused() {
            return Err(candidate);
        }
        let (sender, answer) = oneshot::channel();
        let was_waiting = state.has_waiting();
        let placed = state.place(*candidate, now, sender);
        Ok(PlacedAppend { newly_dirty: !was_waiting && state.has_waiting(), placed, answer })
    }

    /// Lets new batches wait until `resume`.
    pub(crate) fn pause(&self) {
        self.state.lock().set_paused(true);
    }

    /// Lets batches that wait go on; those of a partition closed meanwhile hear why.
    pub(crate) fn resume(&self) {
        self.state.lock().set_paused(false);
        self.waiters.wake();
    }

    /// Records below `offset` are deleted: they leave memory too, and whoever waits for them hears of it.
    pub(crate) fn start_at(&self, offset: Offset) {
        let mut tail = self.tail.lock();
        self.state.lock().start_at(offset);
        tail.evict_below(offset);
        drop(tail);
        self.waiters.wake();
    }

    /// Waits until the partition is not paused.
    pub(crate) async fn resumed(&self) {
        let waiting = self.waiters.enter();
        loop {
            waiting.register();
            if !self.state.lock().is_paused() {
                return;
            }
            waiting.news().await;
        }
    }
}
