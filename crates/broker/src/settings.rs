//! What the agent decides once and hands to the broker.

use std::time::Duration;

use crate::cache::CacheSettings;
use crate::clock::TimeSource;
pub use crate::groups::{ConsumerBounds, ConsumerSettings, MigrationPolicy};

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
    /// `GARBAGE_INTERVAL`: how often one agent of the cluster lists the store for objects that were never committed.
    pub garbage_interval: Duration,
    /// `GARBAGE_GRACE`: how old such an object must be. A courtesy to uploads under way; safety does not rest on it.
    pub garbage_grace: Duration,
    /// `FILE_DELETE_DELAY`: how long ago an object lost its last record when it is deleted, at most the grace. A courtesy to readers.
    pub file_delete_delay: Duration,
    /// `RETENTION_INTERVAL`: how often records are looked for that have been kept long enough.
    pub retention_interval: Duration,
    /// `REWRITE_BYTES`: so many bytes in small ranges of one partition become an object of their own.
    pub rewrite_bytes: u64,
    /// `REWRITE_AGE`: how old records are when they are rewritten.
    pub rewrite_age: Duration,
    /// `REWRITE_BYTES_PER_SECOND`: how fast, each byte counted when it is read and when it is written. 0: not at all.
    pub rewrite_bytes_per_second: u64,
    /// `COMPACTION_INTERVAL`: how often logs are looked at that are to be compacted.
    pub compaction_interval: Duration,
    /// `FLUSH_INTERVAL_MS`: how long the first batch of a flush waits for company. 0: as soon as the PUT before it is
    /// durable. With an object store that bills requests this is a price: 100 ms is at most 26 M PUTs a month.
    pub flush_interval: Duration,
    /// `FLUSH_BYTES`: a flush starts when this much waits.
    pub flush_bytes: usize,
    /// `MEMORY_BYTES`: produce permits, tail and frames together.
    pub memory_bytes: usize,
    /// `STREAMHOUSE_CACHE`, `CACHE_BYTES`: `None` where the objects are on this machine already.
    pub cache: Option<CacheSettings>,
    /// Uploads that may overlap.
    pub uploads_in_flight: usize,
    /// After this long an upload is begun once more beside the first (and later a third time); the first that ends counts.
    /// `None` where a second copy would only wait behind the first.
    pub upload_hedge: Option<Duration>,
    /// Whether Metadata creates unknown topics (Kafka's `auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Kafka's `num.partitions`.
    pub default_partitions: i32,
    /// What is settable of consumer groups.
    pub groups: GroupSettings,
    /// What measures elapsed time.
    pub time_source: TimeSource,
    /// Ends the process at this point, the given time it is passed: for crash tests.
    pub stop_at: Option<(StopPoint, usize)>,
}

impl BrokerSettings {
    /// What tests and the simulation start from: everything at once, time by the runtime.
    #[must_use]
    pub fn for_tests(agent_id: &str) -> Self {
        Self {
            agent_id: agent_id.to_owned(),
            group: "default".to_owned(),
            zone: "default".to_owned(),
            managed_topics: String::new(),
            kafka_address: String::new(),
            grpc_address: String::new(),
            heartbeat_interval: Duration::from_secs(20),
            lease_duration: Duration::from_secs(30),
            garbage_interval: Duration::from_secs(3_600),
            garbage_grace: Duration::from_secs(900),
            file_delete_delay: Duration::from_secs(60),
            retention_interval: Duration::from_secs(3_600),
            rewrite_bytes: 64 << 20,
            rewrite_age: Duration::from_secs(10),
            rewrite_bytes_per_second: 0,
            compaction_interval: Duration::from_secs(3_600),
            flush_interval: Duration::ZERO,
            flush_bytes: 1 << 20,
            memory_bytes: 256 << 20,
            cache: None,
            uploads_in_flight: 4,
            upload_hedge: None,
            auto_create_topics: true,
            default_partitions: 1,
            groups: GroupSettings::default(),
            time_source: TimeSource::Runtime,
            stop_at: None,
        }
    }
}

/// Settings of consumer groups, under Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `offsets.topic.num.partitions`: among so many coordinators groups are shared out, once and for ever.
    pub offsets_topic_partitions: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before its first rebalance.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `offsets.retention.minutes`: how long the offsets of a group without members are kept.
    pub offsets_retention: Duration,
    /// `group.max.size`: members of one group.
    pub group_size_max: usize,
    /// `group.consumer.*` of groups that have none of their own.
    pub consumer: ConsumerSettings,
    /// What configs of a group may be.
    pub consumer_bounds: ConsumerBounds,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// `GROUP_MEMORY_BYTES`: what all groups coordinated by this agent may take in memory.
    pub memory_bytes: usize,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            offsets_topic_partitions: 50,
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            offsets_retention: Duration::from_secs(7 * 24 * 3_600),
            group_size_max: 10_000,
            consumer: ConsumerSettings::default(),
            consumer_bounds: ConsumerBounds::default(),
            migration_policy: MigrationPolicy::default(),
            memory_bytes: 256 << 20,
        }
    }
}

/// Where a crash test may end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopPoint {
    /// An object is durable, its segment commit not begun.
    AfterPut,
    /// A segment commit is durable, nobody was answered.
    AfterCommit,
    /// A rewritten object is durable, its rows are not swapped.
    AfterRewrite,
}
