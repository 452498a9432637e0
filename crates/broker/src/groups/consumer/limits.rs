//! A limit on everything a member of a consumer group can make grow, and Kafka's defaults of `group.consumer.*`.

use std::time::Duration;

/// `group.consumer.session.timeout.ms`.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
/// `group.consumer.heartbeat.interval.ms`.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// `group.consumer.max.size`; Kafka has no limit of its own.
pub(crate) const MEMBERS_MAX: usize = 2_000;
/// Topics one member subscribes to by name.
pub(crate) const SUBSCRIBED_NAMES_MAX: usize = 10_000;
/// The text of one regular expression.
pub(crate) const REGEX_BYTES_MAX: usize = 4_096;
/// One regular expression, compiled; the same again for what matching keeps.
pub(crate) const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Member id, instance id, rack id: each.
pub(crate) const ID_BYTES_MAX: usize = 1_024;
