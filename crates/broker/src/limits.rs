//! A limit on everything that a client or a fault could make grow.

/// Largest Kafka frame (`socket.request.max.bytes`), as Kafka's default.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;
/// With a flush interval of 0: how long those whom the last commit answered are waited for, at least.
pub const FLUSH_PATIENCE_MIN: std::time::Duration = std::time::Duration::from_micros(500);
/// The same at most, for batches whose producers collected them for as long.
pub const FLUSH_PATIENCE_MAX: std::time::Duration = std::time::Duration::from_millis(4);
/// What makes a flush worth its cost: with an interval of 0 this much waits for nobody.
pub const FLUSH_FULL_BYTES: usize = 128 * 1024;
/// With a flush interval of 0: each upload in flight doubles `FLUSH_BYTES` for the next one, so often at most.
pub const FLUSH_DOUBLINGS_MAX: usize = 3;
/// Largest answer to a fetch, whatever the client asks for.
pub const FETCH_BYTES_MAX: usize = 50 * 1024 * 1024;
/// Most that one fetch reads from the object store: what it reads is charged to a budget until it is written out, and a
/// consumer that catches up comes back for more.
pub const FETCH_COLD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest a fetch may wait, whatever the client asks for.
pub const FETCH_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(600);
/// Longest a produce request may wait for its decision.
pub const PRODUCE_TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(600);
/// Fetch sessions that are kept, as Kafka's default (`max.incremental.fetch.session.cache.slots`).
pub const FETCH_SESSIONS_MAX: usize = 1_000;
/// Partitions of all fetch sessions together; each takes some 200 bytes.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 200_000;
/// Requests one connection may have in flight.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1_000;
/// Most partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;
/// Most partitions of all topics.
pub const PARTITIONS_MAX: usize = 200_000;
/// Replicas of a topic whose creator leaves the number to us, at most.
pub const REPLICAS_DEFAULT_MAX: i16 = 3;
/// Kafka's default `max.message.bytes`.
pub const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
/// Connections that wait to be accepted; a client beyond it tries again after a second. The kernel's own bound is as high.
pub const LISTEN_BACKLOG: u32 = 4096;
/// Connections to one listener.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections from one address to one listener.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 5_000;
/// Topics with series of their own in the costs; the others share one.
pub const COST_TOPICS_MAX: usize = 50;
/// Topics counted at all to find those, at the same time.
pub const COST_TOPICS_COUNTED_MAX: usize = 10_000;
/// Organizations with series of their own in the costs.
pub const COST_ORGANIZATIONS_MAX: usize = 64;
/// Ranges of a partition between two producer-state snapshots.
pub const RANGES_PER_SNAPSHOT: u32 = 1_000;
/// Partitions acquired in one transaction.
pub const LEASES_PER_ACQUISITION_MAX: usize = 1_000;
/// `producer.id.expiration.ms`.
pub const PRODUCER_ID_EXPIRATION_MS: i64 = 86_400_000;
