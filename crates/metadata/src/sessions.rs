//! Sessions and leases: which agents live, and which of them may write what.

use async_trait::async_trait;
use segment::{LeaderEpoch, Offset, PartitionKey, ProducerId, SessionId, TimestampMs};
use uuid::Uuid;

use crate::StoreError;

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

/// A live agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its active session.
    pub session: SessionId,
    /// Its Kafka broker id.
    pub node_id: i32,
    /// What it said of itself.
    pub registration: Registration,
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
}

/// Transactions on sessions, leases and producer ids.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// The cluster id, created with the database.
    async fn cluster(&self) -> Result<ClusterInfo, StoreError>;

    /// Opens a session. A session of the same AGENT_ID that is still active is fenced in the same transaction.
    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError>;

    /// Proves that the session is active and counts one renewal; returns the database's clock. `Fenced` otherwise.
    async fn renew_session(&self, session: SessionId) -> Result<TimestampMs, StoreError>;

    /// Refreshes the registry entry (`HEARTBEAT_INTERVAL`). `Fenced` if the session is not active.
    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError>;

    /// Ends the session: its partitions are without a lease, and nothing of it commits any more. Idempotent.
    async fn close_session(&self, session: SessionId) -> Result<(), StoreError>;

    /// Active sessions, by node id.
    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// Acquires partitions for a session: leader epoch + 1, and `(epoch, next_offset)` into the epoch history, in one
    /// transaction. Only partitions that are unleased, or whose lease holder is no longer active (or is this session),
    /// and that are not deleted are acquired; the others are left out of the answer. At most 1,000 keys a call.
    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError>;

    /// A read begun now: for each key, the leader epoch if this session is active and holds it, else `None`.
    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError>;

    /// Takes `count` producer ids that nobody else will ever get; returns the first.
    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError>;
}
