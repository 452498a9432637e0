//! The in-memory model: what the store means, in its plainest form.
//!
//! One mutex around ordered maps; each method takes it once, so every method is a transaction. It reads no wall
//! clock and draws no random number (both are arguments), so that a simulation over it repeats exactly. Nothing
//! survives the process.

mod coordinators;
mod log_changes;
mod segments;
mod sessions;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use segment::{
    LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, ProducerId, SessionId,
    TimestampMs, TopicId,
};
use uuid::Uuid;

use tokio::sync::Notify;

use crate::{CoordinatorKey, LaneReport, Registration, SeededBug, SegmentCommit, StoreError, TopicRow};

/// How the next segment commit, resolution, change of a log, write of coordinators, hand-over or fence goes wrong; see [`MemoryStore::fail_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// It does not happen, and the caller is told so (`NotCommitted`).
    NotCommitted,
    /// It happens, and the caller is told `Unknown`.
    CommittedReplyLost,
    /// It does not happen, and the caller is told `Unknown`.
    DroppedReplyLost,
    /// The caller is told `Unknown`; a segment commit happens only when [`MemoryStore::land_late_commits`] is called, anything
    /// else never.
    LandsLate,
}

/// A metadata store in memory, with faults on demand.
pub struct MemoryStore {
    cluster_id: Uuid,
    clock: Box<dyn Fn() -> TimestampMs + Send + Sync>,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    /// The version that was announced.
    version: AtomicI64,
    /// Those who wait for another. They are woken in the order in which they began to wait, so that a simulation repeats.
    announced: Notify,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Faults {
    next: VecDeque<FailPoint>,
    unavailable: bool,
    /// Sessions whose connection for commits is away.
    cannot_commit: BTreeSet<SessionId>,
    /// Segment commits that are still on their way.
    late: Vec<(SessionId, Vec<SegmentCommit>)>,
}

impl MemoryStore {
    /// An empty store. `clock` is what the traits call the database's clock, in ms since the Unix epoch.
    pub fn new(cluster_id: Uuid, clock: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        Self {
            cluster_id,
            clock: Box::new(clock),
            state: Mutex::new(State::default()),
            faults: Mutex::new(Faults::default()),
            version: AtomicI64::new(0),
            announced: Notify::new(),
        }
    }

    /// Lets the next `commit_segments`, `resolve_commit`, `move_log_starts`, `replace_ranges`, `note_cleaned`,
    /// `write_coordinators`, `hand_over_leases` or `fence_session`, whichever comes first, fail in this way. Repeated calls queue: one fail point
    /// per such call.
    pub fn fail_next(&self, point: FailPoint) {
        self.faults.lock().next.push_back(point);
    }

    /// While set, every call answers `NotCommitted`: the database cannot be reached.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.faults.lock().unavailable = unavailable;
    }

    /// While set, every segment commit and resolution of that session answers `NotCommitted`, unless a fail point is its
    /// turn: the connection it has for them is away.
    pub fn set_commits_unavailable(&self, session: SessionId, unavailable: bool) {
        let sessions = &mut self.faults.lock().cannot_commit;
        if unavailable {
            sessions.insert(session)
        } else {
            sessions.remove(&session)
        };
    }

    /// One with a bug, to prove that it is seen.
    #[doc(hidden)]
    #[must_use]
    pub fn with_seeded_bug(self, bug: SeededBug) -> Self {
        self.state.lock().seeded_bug = Some(bug);
        self
    }

    /// Lets the segment commits arrive that a fail point held up; how many ranges of theirs were accepted.
    pub fn land_late_commits(&self) -> usize {
        let late = std::mem::take(&mut self.faults.lock().late);
        let mut state = self.state.lock();
        let now = (self.clock)();
        let landed = late.iter().filter_map(|(session, segments)| state.commit_segments(*session, segments, now).ok());
        let outcomes = landed.flat_map(|landed| landed.segments).flatten();
        outcomes.filter(|outcome| *outcome == crate::RangeOutcome::Accepted).count()
    }

    /// Begins a transaction: the state under its lock, unless the store is unavailable.
    fn begin(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        if self.faults.lock().unavailable {
            return Err(StoreError::NotCommitted("simulated outage".into()));
        }
        Ok(self.state.lock())
    }

    /// Runs a transaction that may change what agents watch; tells them if it did.
    fn change<T, E: From<StoreError>>(&self, apply: impl FnOnce(&mut State) -> Result<T, E>) -> Result<T, E> {
        let mut state = self.begin()?;
        let result = apply(&mut state);
        self.announce(&state);
        result
    }

    fn announce(&self, state: &State) {
        if self.version.swap(state.version, Ordering::AcqRel) != state.version {
            self.announced.notify_waiters();
        }
    }

    /// Runs a transaction on the session's connection for commits.
    fn run_commit_of<T>(
        &self,
        session: SessionId,
        apply: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_away = {
            let faults = self.faults.lock();
            faults.next.is_empty() && faults.cannot_commit.contains(&session)
        };
        if is_away {
            return Err(StoreError::NotCommitted("simulated: no connection for commits".into()));
        }
        self.run_commit(apply)
    }

    /// Runs a transaction of the commit path with the next fail point, if one is queued.
    fn run_commit<T>(&self, apply: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.begin()?;
        match self.faults.lock().next.pop_front() {
            None => {
                let result = apply(&mut state);
                self.announce(&state);
                result
            }
            Some(FailPoint::NotCommitted) => Err(StoreError::NotCommitted("simulated failure".into())),
            Some(FailPoint::DroppedReplyLost | FailPoint::LandsLate) => {
                Err(StoreError::Unknown("simulated lost reply".into()))
            }
            Some(FailPoint::CommittedReplyLost) => {
                apply(&mut state)?;
                self.announce(&state);
                Err(StoreError::Unknown("simulated lost reply".into()))
            }
        }
    }
}

/// The place of one segment: each is taken at most once, by a segment or by a tombstone.
type Slot = (SessionId, LaneSequence, OrganizationId);

/// The tables. Deleted topics stay (with `deleted` set) until they are purged.
#[derive(Default)]
struct State {
    /// Raised by every transaction that changes topics, sessions or leases; rows carry the version that changed them.
    version: i64,
    /// Topics deleted, by version.
    deleted_topics: BTreeMap<i64, (OrganizationId, TopicId)>,
    topics: BTreeMap<(OrganizationId, TopicId), Topic>,
    name_floors: BTreeMap<(OrganizationId, String), LeaderEpoch>,
    partitions: BTreeMap<PartitionKey, Partition>,
    /// Keyed by start offset, so that an acquisition at the same offset replaces.
    leader_epochs: BTreeMap<(PartitionKey, Offset), LeaderEpoch>,
    node_ids: BTreeMap<String, i32>,
    sessions: BTreeMap<SessionId, Session>,
    segments: BTreeMap<Slot, Segment>,
    ranges: BTreeMap<(PartitionKey, Offset), Range>,
    snapshots: BTreeMap<(PartitionKey, Offset), bytes::Bytes>,
    coordinator_rows: BTreeMap<PartitionKey, BTreeMap<CoordinatorKey, bytes::Bytes>>,
    next_producer_id: ProducerId,
    seeded_bug: Option<SeededBug>,
}

struct Topic {
    row: TopicRow,
    deleted: bool,
    changed: i64,
}

struct Partition {
    session: Option<SessionId>,
    leader_epoch: LeaderEpoch,
    next_offset: Offset,
    log_start_offset: Offset,
    last_append_time: TimestampMs,
    /// Where its last commit went.
    last_segment: Option<Slot>,
    cleaned_offset: Offset,
    /// Writes of coordinators so far.
    coordinator_sequence: i64,
    deleted: bool,
    changed: i64,
}

impl Partition {
    fn is_led(&self, session: SessionId, leader_epoch: LeaderEpoch) -> bool {
        !self.deleted && self.session == Some(session) && self.leader_epoch == leader_epoch
    }
}

struct Session {
    registration: Registration,
    node_id: i32,
    active: bool,
    renewals: i64,
    suspected: bool,
    lane: LaneReport,
    /// Highest lane sequence of a committed segment that was collected, -1 if none was.
    last_collected: LaneSequence,
}

struct Segment {
    object_key: String,
    kind: Kind,
    /// When it became what it is.
    since: TimestampMs,
}

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It never commits.
    Tombstone,
    /// It has ranges.
    Committed,
    /// It has none any more, or never had, and never will.
    Retired,
}

struct Range {
    row: crate::RangeRow,
    slot: Slot,
    producers: bytes::Bytes,
}

impl State {
    fn is_active(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|s| s.active)
    }

    fn has(&self, bug: SeededBug) -> bool {
        self.seeded_bug == Some(bug)
    }

    fn require_active(&self, session: SessionId) -> Result<(), StoreError> {
        if self.is_active(session) { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// The version of a transaction that changes what agents watch.
    fn next_version(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    /// Adds unleased partitions that start at the name's leader-epoch floor.
    fn add_partitions(&mut self, topic: &TopicRow, indexes: std::ops::Range<PartitionIndex>) {
        let floor = self.name_floors.get(&(topic.organization, topic.name.clone())).copied().unwrap_or(-1);
        let changed = self.version;
        for partition in indexes {
            let key = PartitionKey { organization: topic.organization, topic_id: topic.topic_id, partition };
            self.partitions.insert(
                key,
                Partition {
                    session: None,
                    leader_epoch: floor,
                    next_offset: 0,
                    log_start_offset: 0,
                    last_append_time: -1,
                    last_segment: None,
                    cleaned_offset: 0,
                    coordinator_sequence: 0,
                    deleted: false,
                    changed,
                },
            );
        }
    }

    /// The keys of a topic's partitions that have a row.
    fn partition_keys(&self, organization: OrganizationId, topic_id: TopicId) -> BTreeSet<PartitionKey> {
        let first = PartitionKey { organization, topic_id, partition: PartitionIndex::MIN };
        let last = PartitionKey { organization, topic_id, partition: PartitionIndex::MAX };
        self.partitions.range(first..=last).map(|(key, _)| *key).collect()
    }
}
