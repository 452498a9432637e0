//! Partitions that others lead, as far as this agent reads them for the consumers of its zone (KIP-392).
//!
//! Nothing is copied ahead. A leader tells how far a partition goes and where its newest ranges are ([`feed`]); the
//! bytes come from the object store when somebody reads them, and are kept for the next reader. What is told is committed, so
//! it stays true whoever leads: a leader that turns out to be none can only be late. A follower that was not told
//! anything for a while says NOT_LEADER, and its consumers go back to the leader.

mod feed;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metadata::RangeRow;
use parking_lot::Mutex;
use segment::{LeaderEpoch, Offset, PartitionIndex, SessionId, TopicId};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::change_count::{ChangeCount, ChangesSeen};
use crate::reader::cold::PLAN_AGE_MAX;
use crate::topics::Topic;
use crate::waiters::Waiters;

pub use feed::Feed;
pub(crate) use feed::Recent;

/// A partition by topic and index.
pub type PartitionId = (TopicId, PartitionIndex);

/// Ranges that are remembered of one partition: some seconds of a busy one. Older ones are looked up.
pub(crate) const RECENT_RANGES: usize = 64;
/// A leader that was not heard for so long may be cut off: what it said last is not the newest.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a fetch waits to be told of a partition nobody asked for before, or of an offset beyond what is known.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// A partition that nobody reads is followed for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How far a partition goes, as its leader tells its followers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which partition.
    pub partition: PartitionId,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// First readable offset.
    pub log_start_offset: Offset,
    /// First offset not committed.
    pub high_watermark: Offset,
    /// The newest ranges, in order, ending at the high watermark; not always all that are new.
    pub ranges: Vec<RangeRow>,
}

/// What a follower knows of a partition.
#[derive(Debug)]
pub(crate) struct Replica {
    told: Mutex<Told>,
    pub(crate) waiters: Waiters,
}

#[derive(Debug)]
struct Told {
    progress: Option<Progress>,
    /// Each with when it was told.
    ranges: VecDeque<(Instant, RangeRow)>,
    used: Instant,
}

impl Replica {
    fn new() -> Self {
        let told = Told { progress: None, ranges: VecDeque::new(), used: Instant::now() };
        Self { told: Mutex::new(told), waiters: Waiters::default() }
    }

    /// What was told last; without ranges.
    fn known(&self) -> Option<Progress> {
        self.told.lock().progress.clone()
    }

    /// The ranges from the one that holds `offset` on, if they are remembered and not old: what was replaced since is not told.
    pub(crate) fn ranges_from(&self, offset: Offset) -> Vec<RangeRow> {
        let told = self.told.lock();
        let first = told.ranges.partition_point(|(_, range)| range.next_offset <= offset);
        match told.ranges.get(first) {
            Some((at, range)) if range.base_offset <= offset && at.elapsed() <= PLAN_AGE_MAX => {
                told.ranges.range(first..).map(|(_, range)| range.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What was told of its ranges is old (objects were replaced): until more is told, metadata is asked.
    pub(crate) fn forget_ranges(&self) {
        self.told.lock().ranges.clear();
    }

    fn take(&self, mut progress: Progress) {
        {
            let mut told = self.told.lock();
            let is_older = |known: &Progress| {
                progress.leader_epoch < known.leader_epoch || progress.high_watermark < known.high_watermark
            };
            if told.progress.as_ref().is_some_and(is_older) {
                return;
            }
            let now = Instant::now();
            for range in std::mem::take(&mut progress.ranges) {
                if told.ranges.back().is_some_and(|(_, last)| last.next_offset != range.base_offset) {
                    told.ranges.clear();
                }
                told.ranges.push_back((now, range));
            }
            if told.ranges.back().is_some_and(|(_, last)| last.next_offset != progress.high_watermark) {
                told.ranges.clear();
            }
            let surplus = told.ranges.len().saturating_sub(RECENT_RANGES);
            told.ranges.drain(..surplus);
            told.progress = Some(progress);
        }
        self.waiters.wake();
    }

    /// Waits a moment until what is known goes up to `offset`; `None` if it does not.
    pub(crate) async fn known_to(&self, offset: Offset) -> Option<Progress> {
        let (waiting, deadline) = (self.waiters.enter(), Instant::now() + TOLD_WITHIN);
        loop {
            waiting.register();
            if let Some(known) = self.known().filter(|known| known.high_watermark >= offset) {
                return Some(known);
            }
            tokio::time::timeout_at(deadline, waiting.news()).await.ok()?;
        }
    }
}

/// Both sides of following: what this agent reads of others, and who reads what it leads.
#[derive(Debug)]
pub(crate) struct Replicas {
    followed: Mutex<HashMap<PartitionId, Arc<Replica>>>,
    /// When each leader was heard last.
    leaders: Mutex<HashMap<SessionId, Instant>>,
    /// When each follower was heard last.
    followers: Mutex<HashMap<SessionId, Instant>>,
    /// Partitions that somebody began to read.
    wanted: ChangeCount,
}

impl Replicas {
    pub(crate) fn new() -> Self {
        Self {
            followed: Mutex::default(),
            leaders: Mutex::default(),
            followers: Mutex::default(),
            wanted: ChangeCount::default(),
        }
    }

    /// The replica of a partition; from now on it is followed.
    pub(crate) fn of(&self, id: PartitionId) -> Arc<Replica> {
        let mut followed = self.followed.lock();
        if let Some(replica) = followed.get(&id) {
            replica.told.lock().used = Instant::now();
            return Arc::clone(replica);
        }
        let replica = Arc::new(Replica::new());
        followed.insert(id, Arc::clone(&replica));
        drop(followed);
        self.wanted.add();
        replica
    }

    /// Whether this leader tells what it commits.
    pub(crate) fn hears(&self, leader: SessionId) -> bool {
        is_recent(&self.leaders, leader)
    }

    /// Whether this follower asks for what it does not know.
    fn is_heard_by(&self, follower: SessionId) -> bool {
        is_recent(&self.followers, follower)
    }
}

fn is_recent(heard: &Mutex<HashMap<SessionId, Instant>>, session: SessionId) -> bool {
    heard.lock().get(&session).is_some_and(|at| at.elapsed() < SILENCE_MAX)
}

fn hear(heard: &Mutex<HashMap<SessionId, Instant>>, session: SessionId) {
    let mut heard = heard.lock();
    heard.retain(|_, at| at.elapsed() < SILENCE_MAX);
    heard.insert(session, Instant::now());
}

impl Broker {
    /// Hears of partitions that somebody here begins to read although another agent leads them.
    #[must_use]
    pub fn replicas_wanted(&self) -> ChangesSeen {
        self.replicas().wanted.subscribe()
    }

    /// What this agent follows of a leader. Forgets what nobody reads any more.
    #[must_use]
    pub fn followed_of(&self, leader: SessionId) -> Vec<PartitionId> {
        let mut followed = self.replicas().followed.lock();
        followed.retain(|_, replica| replica.told.lock().used.elapsed() < IDLE_MAX);
        let of_leader = |id: &&PartitionId| self.view().lease(id.0, id.1).session == Some(leader);
        followed.keys().filter(of_leader).copied().collect()
    }

    /// Takes over what a leader told; an empty message says that it is there.
    pub fn take_progress(&self, leader: SessionId, news: Vec<Progress>) {
        hear(&self.replicas().leaders, leader);
        for progress in news {
            let replica = self.replicas().followed.lock().get(&progress.partition).cloned();
            if let Some(replica) = replica {
                replica.take(progress);
            }
        }
    }

    /// Where a consumer of that rack should read a partition this agent leads: the replica of its zone, if it follows, and
    /// this agent is of another zone. The same one for all consumers of the zone, so that it reads the bytes once.
    pub(crate) fn preferred_replica(
        &self,
        rack: Option<&str>,
        topic: &Topic,
        partition: PartitionIndex,
    ) -> Option<i32> {
        let rack = rack.filter(|rack| !rack.is_empty() && *rack != self.settings().zone)?;
        // To be handed over, perhaps to that very replica: who is sent there now is refused there under the next epoch.
        let stays = self.view().owner(topic, partition) == Some(self.session());
        stays.then_some(())?;
        let cluster = self.cluster();
        let of_zone = |node: &i32| {
            let mut agents = cluster.agents.iter();
            let agent = agents.find(|agent| agent.node_id == *node && agent.zone == rack);
            agent.is_some_and(|agent| self.replicas().is_heard_by(agent.session))
        };
        self.view().partition(topic, partition).replicas.into_iter().find(of_zone)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
