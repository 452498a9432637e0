//! What can be set about groups, and the bounds of everything a client could make grow in them.

use std::time::Duration;

use segment::TimestampMs;

use super::consumer::ConsumerSettings;

/// Bytes of one member: its protocols with their metadata, its names. Kafka's bound is that of a record.
pub(crate) const MEMBER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of all members of a group.
pub(crate) const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that a leader may assign to all members together.
pub(crate) const ASSIGNMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of the metadata of a committed offset (`offset.metadata.max.bytes`).
pub(crate) const OFFSET_METADATA_BYTES_MAX: usize = 4096;
/// Partitions that one request may commit, and changes that one round of expiry makes.
pub(crate) const OFFSETS_PER_REQUEST_MAX: usize = 10_000;
/// Partitions that a group may have offsets of.
pub(crate) const OFFSETS_PER_GROUP_MAX: usize = 200_000;
/// Where the members of a rebalance ask for less, the next try to complete it comes after this.
pub(crate) const REBALANCE_RETRY_MIN: Duration = Duration::from_secs(1);

/// Settings of groups, under Kafka's names and with its defaults.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for others to join. Longer
    /// means fewer rebalances at the start of an application, and a later start.
    pub(crate) initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub(crate) session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub(crate) session_timeout_max: Duration,
    /// `group.max.size`: members of a group, and as many ids may be given out that have not joined yet.
    pub(crate) group_max_size: usize,
    /// How long a new member may wait in JoinGroup before it counts as gone: it has no id yet to send heartbeats with.
    pub(crate) new_member_join_timeout: Duration,
    /// `offsets.retention.minutes`.
    pub(crate) offsets_retention_ms: TimestampMs,
    /// Of KIP-848 groups.
    pub(crate) consumer: ConsumerSettings,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            group_max_size: 5_000,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            consumer: ConsumerSettings::default(),
        }
    }
}
