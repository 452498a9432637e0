//! The bounds of everything a client could make grow in groups. What can be set is in `crate::settings`.

use std::time::Duration;

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
/// How long a new member may wait in JoinGroup before it counts as gone: it has no id yet to send heartbeats with. Kafka's.
pub(crate) const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);
