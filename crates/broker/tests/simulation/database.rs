//! One agent's way to the in-memory metadata model: latency before and after a transaction, and a way that is cut, so that what
//! was sent may have happened, and its answer is an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metadata::{
    AgentRow, AlterTopicConfigsError, Changes, Claim, CleanedLog, ClusterInfo, CommitOutcome, CoordinatorKey,
    CoordinatorOutcome, CoordinatorRow, CoordinatorWrite, Coordinators, CreatePartitionsError, CreateTopicError,
    DeleteTopicError, FoundObject, LaneReport, LastSegment, LeaseHolder, LeaseRow, LogChangeOutcome, LogChanges,
    LogStartMove, MemoryStore, NewTopic, OpenedSession, ProducerHistory, RangeRow, Registration, Resolution,
    SegmentCommit, SegmentRef, SegmentRewrite, Segments, Sessions, StoreError, TopicRow, Topics,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use segment::{
    LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, ProducerId, SessionId, TimestampMs, TopicId,
};
use tokio::time::{Instant, sleep, sleep_until};

/// A call that has no answer for so long is given up.
const CALL_MAX: Duration = Duration::from_secs(10);

/// See the module. A clone is the same agent's.
#[derive(Clone)]
pub(crate) struct Database {
    store: Arc<MemoryStore>,
    rng: Arc<Mutex<StdRng>>,
    cut_until: Arc<Mutex<Instant>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

use Kind::{Read, Write};

impl Database {
    pub(crate) fn new(store: Arc<MemoryStore>, seed: u64) -> Self {
        let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self { store, rng, cut_until: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Cuts this agent off from the database.
    pub(crate) fn cut(&self, until: Instant) {
        let mut cut_until = self.cut_until.lock();
        *cut_until = until.max(*cut_until);
    }

    /// The way is there again.
    pub(crate) fn heal(&self) {
        *self.cut_until.lock() = Instant::now();
    }

    fn cut_until(&self) -> Option<Instant> {
        Some(*self.cut_until.lock()).filter(|until| *until > Instant::now())
    }

    fn latency(&self) -> Duration {
        let mut rng = self.rng.lock();
        let longest = if rng.random_bool(0.03) { 100_000 } else { 3_000 };
        Duration::from_micros(rng.random_range(0..longest))
    }

    /// Waits until the way is there again, or the caller's patience ends.
    async fn is_lost(&self) -> bool {
        let Some(until) = self.cut_until() else { return false };
        sleep_until(until.min(Instant::now() + CALL_MAX)).await;
        true
    }

    async fn call<T, E: From<StoreError>>(&self, kind: Kind, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let lost = || match kind {
            Read => E::from(StoreError::NotCommitted("simulated: cut off".into())),
            Write => E::from(StoreError::Unknown("simulated: cut off".into())),
        };
        sleep(self.latency()).await;
        if self.cut_until().is_some() {
            if kind == Write && self.rng.lock().random_bool(0.3) {
                let _ = call.await;
            }
            self.is_lost().await;
            return Err(lost());
        }
        let result = call.await;
        sleep(self.latency()).await;
        if self.is_lost().await { Err(lost()) } else { result }
    }
}

#[async_trait]
impl Topics for Database {
    async fn organization(&self, name: &str) -> Result<Option<OrganizationId>, StoreError> {
        self.call(Read, self.store.organization(name)).await
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
        self.call(Write, self.store.create_topic(topic)).await
    }

    async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), DeleteTopicError> {
        self.call(Write, self.store.delete_topic(organization, topic_id)).await
    }

    async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
    ) -> Result<TopicRow, CreatePartitionsError> {
        self.call(Write, self.store.create_partitions(organization, topic_id, total)).await
    }

    async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        expected: &BTreeMap<String, String>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRow, AlterTopicConfigsError> {
        self.call(Write, self.store.alter_topic_configs(organization, topic_id, expected, configs)).await
    }

    async fn list_topics(&self) -> Result<Vec<TopicRow>, StoreError> {
        self.call(Read, self.store.list_topics()).await
    }

    async fn purge_deleted(&self, rows: u32) -> Result<u64, StoreError> {
        self.call(Write, self.store.purge_deleted(rows)).await
    }

    async fn leader_epochs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<(LeaderEpoch, i64)>, StoreError> {
        self.call(Read, self.store.leader_epochs(organization, topic_id, partition)).await
    }
}

#[async_trait]
impl Sessions for Database {
    async fn cluster(&self) -> Result<ClusterInfo, StoreError> {
        self.call(Read, self.store.cluster()).await
    }

    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError> {
        self.call(Write, self.store.open_session(registration)).await
    }

    async fn renew_session(&self, session: SessionId, lane: LaneReport) -> Result<TimestampMs, StoreError> {
        self.call(Write, self.store.renew_session(session, lane)).await
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        self.call(Write, self.store.update_registration(session, registration)).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.call(Write, self.store.close_session(session)).await
    }

    async fn suspect_session(&self, session: SessionId, target: SessionId) -> Result<(), StoreError> {
        self.call(Write, self.store.suspect_session(session, target)).await
    }

    async fn fence_session(&self, session: SessionId, target: SessionId, renewals: i64) -> Result<bool, StoreError> {
        self.call(Write, self.store.fence_session(session, target, renewals)).await
    }

    async fn changes_since(&self, version: i64) -> Result<Changes, StoreError> {
        self.call(Read, self.store.changes_since(version)).await
    }

    async fn change_hint(&self, version: i64) {
        self.store.change_hint(version).await;
        self.is_lost().await;
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.call(Read, self.store.list_agents()).await
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        self.call(Write, self.store.acquire_leases(session, keys)).await
    }

    async fn hand_over_leases(
        &self,
        session: SessionId,
        to: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<LeaseHolder>, StoreError> {
        self.call(Write, self.store.hand_over_leases(session, to, keys)).await
    }

    async fn held_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        self.call(Read, self.store.held_leases(session, keys)).await
    }

    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        self.call(Read, self.store.confirm_leases(session, keys)).await
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError> {
        self.call(Write, self.store.allocate_producer_ids(count)).await
    }
}

#[async_trait]
impl Segments for Database {
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError> {
        self.call(Write, self.store.commit_segments(session, segments)).await
    }

    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError> {
        self.call(Write, self.store.resolve_commit(session, segments)).await
    }

    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
        self.call(Write, self.store.claim_objects(session, objects)).await
    }

    async fn claim_unreferenced(
        &self,
        session: SessionId,
        older_than_ms: i64,
        limit: u32,
    ) -> Result<Vec<FoundObject>, StoreError> {
        self.call(Read, self.store.claim_unreferenced(session, older_than_ms, limit)).await
    }

    async fn forget_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<u64, StoreError> {
        self.call(Write, self.store.forget_objects(session, objects)).await
    }

    async fn ranges_from(&self, key: PartitionKey, from: Offset, limit: u32) -> Result<Vec<RangeRow>, StoreError> {
        self.call(Read, self.store.ranges_from(key, from, limit)).await
    }

    async fn range_at_timestamp(
        &self,
        key: PartitionKey,
        from: Offset,
        timestamp: TimestampMs,
    ) -> Result<Option<RangeRow>, StoreError> {
        self.call(Read, self.store.range_at_timestamp(key, from, timestamp)).await
    }

    async fn range_of_max_timestamp(&self, key: PartitionKey, from: Offset) -> Result<Option<RangeRow>, StoreError> {
        self.call(Read, self.store.range_of_max_timestamp(key, from)).await
    }

    async fn producer_history(&self, key: PartitionKey) -> Result<ProducerHistory, StoreError> {
        self.call(Read, self.store.producer_history(key)).await
    }

    async fn last_segments(&self) -> Result<Vec<LastSegment>, StoreError> {
        self.call(Read, self.store.last_segments()).await
    }
}

#[async_trait]
impl LogChanges for Database {
    async fn move_log_starts(
        &self,
        session: SessionId,
        moves: &[LogStartMove],
        rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        self.call(Write, self.store.move_log_starts(session, moves, rows_max)).await
    }

    async fn replace_ranges(
        &self,
        session: SessionId,
        rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        self.call(Write, self.store.replace_ranges(session, rewrite)).await
    }

    async fn note_cleaned(&self, session: SessionId, cleaned: &[CleanedLog]) -> Result<(), StoreError> {
        self.call(Write, self.store.note_cleaned(session, cleaned)).await
    }
}

#[async_trait]
impl Coordinators for Database {
    async fn coordinator_sequence(
        &self,
        session: SessionId,
        partition: PartitionKey,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<i64>, StoreError> {
        self.call(Read, self.store.coordinator_sequence(session, partition, leader_epoch)).await
    }

    async fn coordinator_rows(
        &self,
        partition: PartitionKey,
        after: Option<&CoordinatorKey>,
        limit: u32,
    ) -> Result<Vec<CoordinatorRow>, StoreError> {
        self.call(Read, self.store.coordinator_rows(partition, after, limit)).await
    }

    async fn write_coordinators(
        &self,
        session: SessionId,
        writes: &[CoordinatorWrite],
    ) -> Result<Vec<CoordinatorOutcome>, StoreError> {
        self.call(Write, self.store.write_coordinators(session, writes)).await
    }
}
