//! A limit on everything a member of a consumer group can make grow, and the settings `group.consumer.*`.

use std::time::Duration;

/// Topics one member subscribes to by name.
pub(crate) const SUBSCRIBED_NAMES_MAX: usize = 10_000;
/// The text of one regular expression.
pub(super) const REGEX_BYTES_MAX: usize = 4_096;
/// One regular expression, compiled; the same again for what matching keeps.
pub(super) const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Member id, instance id, rack id: each. A member id is part of a row's key.
pub(crate) const ID_BYTES_MAX: usize = 512;

/// What a member takes in memory beside what it says, about.
pub(super) const MEMBER_BYTES: usize = 1_024;
/// What a partition that a member holds takes in memory, about.
pub(super) const PARTITION_BYTES: usize = 192;

/// Heartbeats of members while their group is not settled…
pub(super) const UNSETTLED_INTERVAL: Duration = Duration::from_millis(500);
/// …and what each member adds to it at least.
pub(super) const UNSETTLED_INTERVAL_OF_EACH: Duration = Duration::from_millis(1);

/// Settings of KIP-848 groups, with Kafka's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.consumer.session.timeout.ms`: a member without a heartbeat for so long is out.
    pub session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: told to members of a settled group.
    pub heartbeat_interval: Duration,
    /// `group.consumer.max.size`; Kafka has no limit of its own.
    pub max_size: usize,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { session_timeout: Duration::from_secs(45), heartbeat_interval: Duration::from_secs(5), max_size: 2_000 }
    }
}

/// Within these a group may have settings of its own; Kafka's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerBounds {
    /// `group.consumer.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.consumer.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub heartbeat_interval_min: Duration,
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub heartbeat_interval_max: Duration,
}

impl Default for ConsumerBounds {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(45),
            session_timeout_max: Duration::from_secs(60),
            heartbeat_interval_min: Duration::from_secs(5),
            heartbeat_interval_max: Duration::from_secs(15),
        }
    }
}
