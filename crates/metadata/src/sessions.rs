//! Sessions and leases: which agents live, and which of them may write what.

use async_trait::async_trait;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionKey, ProducerId, SessionId, TimestampMs, TopicId};
use uuid::Uuid;

use crate::{StoreError, TopicRow};

/// What an agent says of itself when it opens a session; refreshed by `update_registration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `AGENT_ID`: unique among live agents; the node id is allocated to it once and for ever.
    pub agent_id: String,
    /// `AGENT_GROUP`.
    pub group: String,
    /// `AGENT_ZONE`, Kafka's rack.
    pub zone: String,
    /// `MANAGED_TOPICS` as configured, empty = all.
    pub managed_topics: String,
    /// `host:port` given to Kafka clients; empty when each client is given the address it connected to.
    pub kafka_address: String,
    /// `host:port` given to gRPC clients.
    pub grpc_address: String,
    /// Whether placement may give it partitions: false while it drains, or while it cannot commit.
    pub accepts_leases: bool,
}

/// A session just opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// Never reused.
    pub session: SessionId,
    /// Kafka's broker id of this AGENT_ID, stable, from 1.
    pub node_id: i32,
    /// The former session of the same AGENT_ID, which this transaction fenced (none after a clean close).
    pub fenced: Option<SessionId>,
    /// The database's clock.
    pub database_time: TimestampMs,
}

/// The cluster as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Written once when the database was created.
    pub cluster_id: Uuid,
    /// Whether no session was ever opened: an empty database must not meet a bucket that holds data.
    pub empty: bool,
}

/// What an agent says of its lane with each renewal, so that one that cannot commit learns whether others can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// Something waits in line, and for too long nothing was committed. Others are to show whether they are better off.
    pub stuck: bool,
    /// How often this session has shown, each time begun while it saw another one stuck, that it can write an object and
    /// commit. Only rises.
    pub proofs: i64,
}

/// A live agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its active session.
    pub session: SessionId,
    /// Its Kafka broker id.
    pub node_id: i32,
    /// What it said of itself.
    pub registration: Registration,
    /// How often it renewed. One that stands still, as seen by another agent's clock, is what a dead agent looks like.
    pub renewals: i64,
    /// Another agent doubts that it lives; its next renewal says that it does.
    pub suspected: bool,
    /// What its last renewal said of its lane; not stuck and without proofs before the first.
    pub lane: LaneReport,
}

/// Who holds a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Which partition.
    pub key: PartitionKey,
    /// The session in its row (it may be active no longer); `None` = never leased.
    pub session: Option<SessionId>,
    /// The epoch of its last acquisition, or where epochs start.
    pub leader_epoch: LeaderEpoch,
}

/// What an agent did not know yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be named in the next call.
    pub version: i64,
    /// All active sessions by node id, always.
    pub agents: Vec<AgentRow>,
    /// Topics created or changed since, not deleted ones.
    pub topics: Vec<TopicRow>,
    /// Topics deleted since (none in an answer to version 0).
    pub deleted: Vec<(OrganizationId, TopicId)>,
    /// Partitions of topics that are not deleted, whose holder or epoch changed since, new ones among them.
    pub leases: Vec<LeaseHolder>,
}

/// A partition's row as its lease holder needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Which partition.
    pub key: PartitionKey,
    /// The epoch of this acquisition.
    pub leader_epoch: LeaderEpoch,
    /// First offset not committed.
    pub next_offset: Offset,
    /// First offset still readable.
    pub log_start_offset: Offset,
    /// LogAppendTime (or greatest commit time) of the last commit, -1 if none: later stamps never go below it.
    pub last_append_time: TimestampMs,
    /// Object key of the segment that holds the partition's last range, empty if none.
    pub last_object: String,
    /// First offset that compaction has not reached; 0 if it never ran.
    pub cleaned_offset: Offset,
}

/// Transactions on sessions, leases and producer ids.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// The cluster id, created with the database.
    async fn cluster(&self) -> Result<ClusterInfo, StoreError>;

    /// Opens a session. A session of the same AGENT_ID that is still active is fenced in the same transaction.
    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError>;

    /// Proves that the session is active and counts one renewal, which also ends a suspicion and replaces what the session
    /// says of its lane; returns the database's clock. `Fenced` if it is not active.
    async fn renew_session(&self, session: SessionId, lane: LaneReport) -> Result<TimestampMs, StoreError>;

    /// Refreshes the registry entry (`HEARTBEAT_INTERVAL`). `Fenced` if the session is not active.
    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError>;

    /// Ends the session: its partitions are without a lease, and nothing of it commits any more. Idempotent.
    async fn close_session(&self, session: SessionId) -> Result<(), StoreError>;

    /// Doubts that another session lives: sets its `suspected`. Nothing happens if it is not active. `Fenced` if the
    /// session that asks is not active.
    async fn suspect_session(&self, session: SessionId, target: SessionId) -> Result<(), StoreError>;

    /// Fences another session if it renewed no more since its counter was seen at `renewals`: waits for its commits in
    /// flight, after that nothing of it commits. True if it is not active now (fenced by this call or before), false if
    /// it renewed. `Fenced` if the session that asks is not active.
    async fn fence_session(&self, session: SessionId, target: SessionId, renewals: i64) -> Result<bool, StoreError>;

    /// What changed since a version of an earlier answer; 0 asks for everything. Every transaction that changes topics,
    /// the set of active sessions, a registration or a lease, or begins a suspicion, raises the version; renewals and
    /// segment commits do not. Versions are in commit order: nothing is ever missed.
    async fn changes_since(&self, version: i64) -> Result<Changes, StoreError>;

    /// Returns once there may be changes after this version; a hint, which may come late or never. May be dropped.
    async fn change_hint(&self, version: i64);

    /// Active sessions, by node id.
    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// Acquires partitions for a session: leader epoch + 1, and `(epoch, next_offset)` into the epoch history, in one
    /// transaction. Only partitions that are unleased, or whose lease holder is no longer active (or is this session),
    /// and that are not deleted are acquired; the others are left out of the answer. At most 1,000 keys a call.
    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError>;

    /// Gives partitions of a session to another active one: its session, leader epoch + 1, and `(epoch, next_offset)`
    /// into the epoch history, in one transaction. Keys that `session` does not hold are left out of the answer, which
    /// says where each went. Nothing is given (an empty answer) if `to` is not active. `Fenced` if `session` is not. At
    /// most 1,000 keys a call.
    async fn hand_over_leases(
        &self,
        session: SessionId,
        to: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<LeaseHolder>, StoreError>;

    /// A read begun now: the rows, among `keys`, of partitions that this session holds, if it is active. What was handed
    /// over to it is taken up with this.
    async fn held_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError>;

    /// A read begun now: for each key, the leader epoch if this session is active and holds it, else `None`.
    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError>;

    /// Takes `count` producer ids that nobody else will ever get; returns the first.
    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError>;
}
