//! What the agent decides once and hands to the broker.

use std::time::Duration;

/// Settings of one broker; parsed in `agent`.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `AGENT_ID`.
    pub agent_id: String,
    /// `AGENT_GROUP`.
    pub group: String,
    /// `AGENT_ZONE`.
    pub zone: String,
    /// `MANAGED_TOPICS`.
    pub managed_topics: String,
    /// Kafka address given to clients; empty = the address the client connected to.
    pub kafka_address: String,
    /// gRPC address given to clients.
    pub grpc_address: String,
    /// `HEARTBEAT_INTERVAL`.
    pub heartbeat_interval: Duration,
    /// `LEASE_DURATION`; the session is renewed every third of it.
    pub lease_duration: Duration,
    /// `FLUSH_INTERVAL_MS`: how long the first batch of a flush waits for company. 0: as soon as the PUT before it is
    /// durable. With an object store that bills requests this is a price: 100 ms is at most 26 M PUTs a month.
    pub flush_interval: Duration,
    /// `FLUSH_BYTES`: a flush starts when this much waits.
    pub flush_bytes: usize,
    /// `MEMORY_BYTES`: produce permits, tail and frames together.
    pub memory_bytes: usize,
    /// Uploads that may overlap.
    pub uploads_in_flight: usize,
    /// Whether Metadata creates unknown topics (Kafka's `auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Kafka's `num.partitions`.
    pub default_partitions: i32,
}
