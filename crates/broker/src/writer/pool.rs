//! The writer pool: which partitions this agent leads, and the one door through which batches enter them.
//!
//! An append checks its batch off the partition's lock, takes its place under it, and tells the lane. Nothing is
//! shared between partitions but the list of those that have something to flush, touched once per partition and
//! flush.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use metadata::{LeaseRow, MetadataStore};
use parking_lot::{Mutex, RwLock};
use segment::{PartitionIndex, PartitionKey, TimestampMs, TopicId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pacing::Pacing;
use super::partition::{Partition, PlacedAppend};
use super::partition_state::{Answers, Candidate, PartitionState, Placed};
use super::producer_state::Interrupted;
use super::turned_away::TurnedAway;
use crate::append::AppendError;
use crate::clock::Clock;
use crate::limits::{FLUSH_DOUBLINGS_MAX, FLUSH_FULL_BYTES};
use crate::seeded_bugs::SeededBug;

/// Partitions with something to flush, oldest first.
#[derive(Debug, Default)]
struct Dirty {
    partitions: VecDeque<Arc<Partition>>,
    /// When the first of them was put here.
    since: Option<Instant>,
}

/// Partitions led by this agent.
#[derive(Debug)]
pub(crate) struct WriterPool {
    led: RwLock<BTreeMap<TopicId, BTreeMap<PartitionIndex, Arc<Partition>>>>,
    /// Of partitions that were given up: a producer's next batch may be on its way here, and be met by the same agent as their
    /// new leader. Locked after `led`.
    interrupted: Mutex<BTreeMap<(TopicId, PartitionIndex), Interrupted>>,
    dirty: Mutex<Dirty>,
    /// Signed: a gather may count a batch before the append that placed it does.
    waiting_bytes: AtomicI64,
    pub(crate) pacing: Pacing,
    pub(crate) turned_away: TurnedAway,
    draining: AtomicBool,
    /// Those who want what waits to be flushed now.
    hurrying: AtomicUsize,
    /// `FLUSH_BYTES`.
    flush_bytes: usize,
    /// Whether uploads in flight ask for more: they do where a flush waits for nothing but the disk.
    doubles: bool,
    /// Tells the lane that something waits, or that an upload ended.
    pub(crate) changed: Notify,
    pub(crate) seeded_bug: Mutex<Option<SeededBug>>,
}

impl WriterPool {
    pub(crate) fn new(flush_bytes: usize, flush_interval: Duration) -> Self {
        Self {
            flush_bytes,
            doubles: flush_interval.is_zero(),
            led: RwLock::default(),
            interrupted: Mutex::default(),
            dirty: Mutex::default(),
            waiting_bytes: AtomicI64::new(0),
            pacing: Pacing::new(),
            turned_away: TurnedAway::default(),
            draining: AtomicBool::new(false),
            hurrying: AtomicUsize::new(0),
            changed: Notify::new(),
            seeded_bug: Mutex::default(),
        }
    }

    /// Leads these partitions from now on. One that is led already stays as it is: batches of it may be in flight, and
    /// if its epoch is no longer the right one, the lane will hear so from the segment commit.
    pub(crate) fn lead(&self, leases: &[LeaseRow]) {
        let mut led = self.led.write();
        for lease in leases {
            let topic = led.entry(lease.key.topic_id).or_default();
            topic.entry(lease.key.partition).or_insert_with(|| {
                let inherited = self.interrupted.lock().remove(&(lease.key.topic_id, lease.key.partition));
                let partition = Partition::new(lease, inherited.unwrap_or_default());
                partition.state.lock().seeded_bug = *self.seeded_bug.lock();
                Arc::new(partition)
            });
        }
    }

    /// The partition, if this agent leads it.
    pub(crate) fn partition(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.led.read().get(&topic_id)?.get(&partition).cloned()
    }

    /// All led partitions.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.led.read().values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Stops leading one partition: its line fails with `error`, readers wake.
    pub(crate) fn abandon(&self, key: PartitionKey, error: &AppendError) {
        self.abandon_if(key, error, |_| true);
    }

    /// The same for one that has nothing in line; false if it has.
    pub(crate) fn abandon_idle(&self, key: PartitionKey, error: &AppendError) -> bool {
        self.abandon_if(key, error, PartitionState::is_idle)
    }

    fn abandon_if(&self, key: PartitionKey, error: &AppendError, may: impl FnOnce(&PartitionState) -> bool) -> bool {
        let mut led = self.led.write();
        let Some(topic) = led.get_mut(&key.topic_id) else { return true };
        let Some(partition) = topic.get(&key.partition).cloned() else { return true };
        let (waiting, answers) = {
            let mut state = partition.state.lock();
            if !may(&state) {
                return false;
            }
            let failed = state.close(error.clone());
            let interrupted = state.take_interrupted();
            if !interrupted.is_empty() {
                self.interrupted.lock().insert((key.topic_id, key.partition), interrupted);
            }
            failed
        };
        topic.remove(&key.partition);
        if topic.is_empty() {
            led.remove(&key.topic_id);
        }
        drop(led);
        self.forget_waiting(waiting, answers);
        partition.waiters.wake();
        true
    }

    /// Stops leading all of a topic (it is deleted).
    pub(crate) fn abandon_topic(&self, topic_id: TopicId, error: &AppendError) {
        let partitions = self.led.write().remove(&topic_id);
        self.interrupted.lock().retain(|(topic, _), _| *topic != topic_id);
        for partition in partitions.into_iter().flat_map(BTreeMap::into_values) {
            self.close(&partition, error);
        }
    }

    /// Stops leading everything (fenced, or the outcome of a commit will stay unknown).
    pub(crate) fn abandon_all(&self, error: &AppendError) {
        let led = std::mem::take(&mut *self.led.write());
        for partition in led.into_values().flat_map(BTreeMap::into_values) {
            self.close(&partition, error);
        }
    }

    fn close(&self, partition: &Partition, error: &AppendError) {
        let (waiting, answers) = partition.state.lock().close(error.clone());
        self.forget_waiting(waiting, answers);
        partition.waiters.wake();
    }

    /// Fails a partition's line; the partition goes on from what is committed.
    pub(crate) fn fail(&self, partition: &Partition, error: &AppendError) {
        let (waiting, answers) = partition.state.lock().fail(error);
        self.forget_waiting(waiting, answers);
        partition.waiters.wake();
    }

    fn forget_waiting(&self, bytes: usize, answers: Answers) {
        self.waiting_bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
        answers.send();
    }

    /// Forgets producers that expired.
    pub(crate) fn expire_producers(&self, now: TimestampMs) {
        for partition in self.partitions() {
            partition.state.lock().expire_producers(now);
        }
        self.interrupted.lock().retain(|_, interrupted| {
            interrupted.expire(now);
            !interrupted.is_empty()
        });
    }

    /// Whether new batches are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Refuses new batches from now on; those in line go on.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Flushes at once what waits, until what is returned is dropped.
    pub(crate) fn hurry(&self) -> Hurry<'_> {
        self.hurrying.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        Hurry(self)
    }

    /// Whether flushes should not wait for company.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurrying.load(Ordering::Acquire) > 0 || self.is_draining()
    }

    /// Puts a checked batch in line. While its partition is being handed over it waits, until `deadline`.
    pub(crate) async fn append(
        &self,
        partition: &Arc<Partition>,
        mut candidate: Box<Candidate>,
        metadata: &dyn MetadataStore,
        clock: &Clock,
        deadline: Instant,
    ) -> Result<PlacedAppend, AppendError> {
        if self.is_draining() {
            return Err(AppendError::Draining);
        }
        if let Err(error) = partition.load_producers(metadata).await {
            tracing::warn!(partition = ?partition.key, %error, "producer state could not be loaded");
            return Err(AppendError::Unavailable);
        }
        let header = candidate.header;
        let placed = loop {
            match partition.place(candidate, clock.now()) {
                Ok(placed) => break placed,
                Err(paused) => candidate = paused,
            }
            if tokio::time::timeout_at(deadline, partition.resumed()).await.is_err() {
                // It has no place, but an earlier copy of it may: "not written" would not be true of both.
                return Err(AppendError::TimedOut);
            }
        };
        if let Placed::InLine { bytes, .. } = placed.placed {
            let before = self.waiting_bytes.fetch_add(signed(bytes), Ordering::Relaxed);
            if placed.newly_dirty {
                self.mark_dirty(Arc::clone(partition));
            }
            if self.pacing.arrives(&header) || self.passes_a_bound(before, before.saturating_add(signed(bytes))) {
                self.changed.notify_one();
            }
        }
        Ok(placed)
    }

    /// So much starts a flush beside `uploads` in flight: what comes while they take their time is better in fewer, larger objects.
    pub(crate) fn enough(&self, uploads: usize) -> usize {
        if self.doubles { self.flush_bytes << uploads.min(FLUSH_DOUBLINGS_MAX) } else { self.flush_bytes }
    }

    /// Whether the lane may start earlier than it planned to.
    fn passes_a_bound(&self, before: i64, after: i64) -> bool {
        let passes = |bound: usize| before < signed(bound) && after >= signed(bound);
        passes(FLUSH_FULL_BYTES) || (0..=FLUSH_DOUBLINGS_MAX).any(|uploads| passes(self.enough(uploads)))
    }

    /// The first one is always told of: a lane with nothing to flush waits for nothing else.
    fn mark_dirty(&self, partition: Arc<Partition>) {
        let mut dirty = self.dirty.lock();
        let is_first = dirty.since.is_none();
        dirty.since.get_or_insert_with(Instant::now);
        dirty.partitions.push_back(partition);
        drop(dirty);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Since when the oldest batch waits; `None` if none does.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.dirty.lock().since
    }

    /// Bytes that wait to be gathered.
    pub(crate) fn waiting_bytes(&self) -> usize {
        usize::try_from(self.waiting_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Takes the list of partitions with something to flush.
    pub(crate) fn take_dirty(&self) -> VecDeque<Arc<Partition>> {
        let mut dirty = self.dirty.lock();
        self.pacing.gathers(dirty.since.take(), Instant::now());
        std::mem::take(&mut dirty.partitions)
    }

    /// Puts partitions back that a flush had no room for, ahead of all others.
    pub(crate) fn put_back(&self, partitions: VecDeque<Arc<Partition>>) {
        if partitions.is_empty() {
            return;
        }
        let mut dirty = self.dirty.lock();
        for partition in partitions.into_iter().rev() {
            dirty.partitions.push_front(partition);
        }
        dirty.since.get_or_insert_with(Instant::now);
    }

    /// So many segments, with so many batches, are committed or failed: the lane may go on.
    pub(crate) fn decided(&self, segments: usize, batches: usize) {
        self.pacing.decides(segments, batches, Instant::now());
        self.changed.notify_one();
    }

    /// Bytes were gathered and no longer wait.
    pub(crate) fn gathered(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }
}

/// See [`WriterPool::hurry`].
pub(crate) struct Hurry<'a>(&'a WriterPool);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurrying.fetch_sub(1, Ordering::AcqRel);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
