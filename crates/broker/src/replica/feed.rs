//! What a leader tells one follower.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use metadata::RangeRow;
use segment::{Offset, SessionId};
use tokio::sync::Notify;

use super::{PartitionId, Progress, RECENT_RANGES, hear};
use crate::broker::Broker;
use crate::writer::partition::Partition;

/// The newest ranges of a led partition, kept while somebody follows it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    followers: usize,
    ranges: VecDeque<RangeRow>,
}

impl Recent {
    /// A range was committed.
    pub(crate) fn push(&mut self, range: impl FnOnce() -> RangeRow) {
        if self.followers > 0 {
            self.ranges.push_back(range());
            let surplus = self.ranges.len().saturating_sub(RECENT_RANGES);
            self.ranges.drain(..surplus);
        }
    }

    /// Ranges up to there were replaced: who begins to follow is not told of them.
    pub(crate) fn forget_below(&mut self, end: Offset) {
        self.ranges.retain(|range| range.base_offset >= end);
    }

    fn enter(&mut self) {
        self.followers += 1;
    }

    fn leave(&mut self) {
        self.followers -= 1;
        if self.followers == 0 {
            self.ranges.clear();
        }
    }
}

/// The news of those partitions that one follower reads.
pub struct Feed {
    broker: Broker,
    follower: SessionId,
    followed: BTreeMap<PartitionId, Followed>,
    changed: Arc<Notify>,
}

struct Followed {
    partition: Arc<Partition>,
    /// Told up to here; -1: nothing yet.
    told: Offset,
    /// The log start that was told with it.
    told_start: Offset,
}

impl Feed {
    /// A feed without partitions.
    #[must_use]
    pub fn new(broker: Broker, follower: SessionId) -> Self {
        Self { broker, follower, followed: BTreeMap::new(), changed: Arc::new(Notify::new()) }
    }

    /// Follows these partitions from now on, and no others; those that are not led here are passed over.
    pub fn follow(&mut self, wanted: impl IntoIterator<Item = PartitionId>) {
        hear(&self.broker.replicas().followers, self.follower);
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        let led = |id: PartitionId| self.broker.led(id.0, id.1);
        let is_current = |id: &PartitionId, known: &Followed| {
            wanted.contains(id) && led(*id).is_some_and(|led| Arc::ptr_eq(&led, &known.partition))
        };
        self.followed.retain(|id, known| {
            let keep = is_current(id, known);
            if !keep {
                known.leave(&self.changed);
            }
            keep
        });
        for id in wanted {
            if !self.followed.contains_key(&id)
                && let Some(partition) = led(id)
            {
                partition.tail.lock().recent.enter();
                self.followed.insert(id, Followed { partition, told: -1, told_start: -1 });
            }
        }
        self.changed.notify_one();
    }

    /// Waits for news of any of them. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<Progress> {
        loop {
            // Registered before the look: a commit between the look and the wait is not missed.
            self.followed.values().for_each(|known| known.partition.waiters.register(&self.changed));
            let news: Vec<_> = self.followed.iter_mut().filter_map(|(id, known)| known.news(*id)).collect();
            if !news.is_empty() {
                return news;
            }
            self.changed.notified().await;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.followed.values().for_each(|known| known.leave(&self.changed));
    }
}

impl Followed {
    fn leave(&self, changed: &Arc<Notify>) {
        self.partition.waiters.unregister(changed);
        self.partition.tail.lock().recent.leave();
    }

    fn news(&mut self, id: PartitionId) -> Option<Progress> {
        let tail = self.partition.tail.lock();
        let state = self.partition.state.lock();
        let (log_start_offset, high_watermark) = (state.log_start_offset(), state.high_watermark());
        if (log_start_offset, high_watermark) == (self.told_start, self.told) {
            return None;
        }
        let is_new = |range: &&RangeRow| range.base_offset >= self.told;
        let ranges = tail.recent.ranges.iter().filter(is_new).cloned().collect();
        (self.told_start, self.told) = (log_start_offset, high_watermark);
        Some(Progress { partition: id, leader_epoch: state.leader_epoch(), log_start_offset, high_watermark, ranges })
    }
}
