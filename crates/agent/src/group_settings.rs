//! Settings of consumer groups, named as Kafka names them.

use std::time::Duration;

use broker::{ConsumerBounds, ConsumerSettings, GroupSettings, MigrationPolicy};

/// What was said of groups.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArguments {
    /// Partitions of `__consumer_offsets` (Kafka's offsets.topic.num.partitions): among so many coordinators groups are shared out.
    /// Read once, when the first group comes. More shares them out more evenly; each costs a lease.
    #[arg(long, env, hide_env_values = true, default_value = "50")]
    offsets_topic_num_partitions: i32,

    /// How long a group that was empty waits for more members before its first rebalance, in ms
    /// (group.initial.rebalance.delay.ms). Less is a faster start, and more rebalances while members arrive.
    #[arg(long, env, hide_env_values = true, default_value = "3000")]
    group_initial_rebalance_delay_ms: u32,

    /// Shortest session time-out a member of a group may ask for, in ms (group.min.session.timeout.ms). Less notices dead
    /// consumers sooner, for more heartbeats.
    #[arg(long, env, hide_env_values = true, default_value = "6000")]
    group_min_session_timeout_ms: u32,

    /// Longest session time-out a member of a group may ask for, in ms (group.max.session.timeout.ms).
    #[arg(long, env, hide_env_values = true, default_value = "1800000")]
    group_max_session_timeout_ms: u32,

    /// How long the offsets of a group without members are kept, in minutes (offsets.retention.minutes).
    #[arg(long, env, hide_env_values = true, default_value = "10080")]
    offsets_retention_minutes: u32,

    /// Members of one group at most (group.max.size). What one member holds in memory times this is what a group may hold.
    #[arg(long, env, hide_env_values = true, default_value = "10000")]
    group_max_size: u32,

    /// A member of a KIP-848 group without a heartbeat for so long is out, in ms (group.consumer.session.timeout.ms). Less notices dead
    /// consumers sooner; more forgives longer pauses. A group can have its own (consumer.session.timeout.ms).
    #[arg(long, env, hide_env_values = true, default_value = "45000")]
    group_consumer_session_timeout_ms: u32,

    /// Shortest session time-out that a KIP-848 group may have, in ms (group.consumer.min.session.timeout.ms).
    #[arg(long, env, hide_env_values = true, default_value = "45000")]
    group_consumer_min_session_timeout_ms: u32,

    /// Longest session time-out that a KIP-848 group may have, in ms (group.consumer.max.session.timeout.ms).
    #[arg(long, env, hide_env_values = true, default_value = "60000")]
    group_consumer_max_session_timeout_ms: u32,

    /// How often members of a settled KIP-848 group send heartbeats, in ms (group.consumer.heartbeat.interval.ms). Less makes rebalances
    /// begin sooner, for more requests. A group can have its own (consumer.heartbeat.interval.ms).
    #[arg(long, env, hide_env_values = true, default_value = "5000")]
    group_consumer_heartbeat_interval_ms: u32,

    /// Shortest heartbeat interval that a KIP-848 group may have, in ms (group.consumer.min.heartbeat.interval.ms).
    #[arg(long, env, hide_env_values = true, default_value = "5000")]
    group_consumer_min_heartbeat_interval_ms: u32,

    /// Longest heartbeat interval that a KIP-848 group may have, in ms (group.consumer.max.heartbeat.interval.ms).
    #[arg(long, env, hide_env_values = true, default_value = "15000")]
    group_consumer_max_heartbeat_interval_ms: u32,

    /// Members of one KIP-848 group at most (group.consumer.max.size). The coordinator computes their assignment.
    #[arg(long, env, hide_env_values = true, default_value = "2000")]
    group_consumer_max_size: u32,

    /// Whether a group with members may go from the classic protocol to KIP-848 and back, as its members do
    /// (group.consumer.migration.policy): bidirectional, upgrade (to KIP-848 only), downgrade or disabled.
    #[arg(long, env, hide_env_values = true, default_value = "bidirectional")]
    group_consumer_migration_policy: String,

    /// Memory for the groups that this agent coordinates, about, in bytes: members, assignments, and some 150 bytes for each committed
    /// offset. When it is used up nobody can join or commit anew (COORDINATOR_NOT_AVAILABLE); who is there goes on.
    #[arg(long, env, hide_env_values = true, default_value = "268435456")]
    group_memory_bytes: usize,
}

impl GroupArguments {
    /// What it means.
    ///
    /// # Errors
    /// The setting that is out of its range, and the range.
    pub(crate) fn settings(&self) -> Result<GroupSettings, String> {
        let name = self.group_consumer_migration_policy.to_ascii_lowercase();
        let policy = MigrationPolicy::ALL.into_iter().find(|policy| policy.name() == name);
        let names = MigrationPolicy::ALL.map(MigrationPolicy::name).join(", ");
        let settings = GroupSettings {
            offsets_topic_partitions: self.offsets_topic_num_partitions,
            initial_rebalance_delay: ms(self.group_initial_rebalance_delay_ms),
            session_timeout_min: ms(self.group_min_session_timeout_ms),
            session_timeout_max: ms(self.group_max_session_timeout_ms),
            offsets_retention: Duration::from_secs(60 * u64::from(self.offsets_retention_minutes)),
            group_size_max: self.group_max_size as usize,
            consumer: ConsumerSettings {
                session_timeout: ms(self.group_consumer_session_timeout_ms),
                heartbeat_interval: ms(self.group_consumer_heartbeat_interval_ms),
                max_size: self.group_consumer_max_size as usize,
            },
            consumer_bounds: ConsumerBounds {
                session_timeout_min: ms(self.group_consumer_min_session_timeout_ms),
                session_timeout_max: ms(self.group_consumer_max_session_timeout_ms),
                heartbeat_interval_min: ms(self.group_consumer_min_heartbeat_interval_ms),
                heartbeat_interval_max: ms(self.group_consumer_max_heartbeat_interval_ms),
            },
            memory_bytes: self.group_memory_bytes,
            migration_policy: policy.ok_or(format!("GROUP_CONSUMER_MIGRATION_POLICY must be one of {names}"))?,
        };
        check(&settings)?;
        Ok(settings)
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn within(name: &str, ok: bool, rule: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("{name} must be {rule}")) }
}

fn check(groups: &GroupSettings) -> Result<(), String> {
    let partitions = (1..=1_000).contains(&groups.offsets_topic_partitions);
    within("OFFSETS_TOPIC_NUM_PARTITIONS", partitions, "between 1 and 1000")?;
    let delay = groups.initial_rebalance_delay <= Duration::from_secs(300);
    within("GROUP_INITIAL_REBALANCE_DELAY_MS", delay, "at most 300000")?;
    let (min, max) = (groups.session_timeout_min, groups.session_timeout_max);
    within("GROUP_MIN_SESSION_TIMEOUT_MS", !min.is_zero() && min <= max, "more than 0 and no more than the longest")?;
    within("GROUP_MAX_SESSION_TIMEOUT_MS", max <= Duration::from_secs(86_400), "at most 86400000")?;
    within("OFFSETS_RETENTION_MINUTES", !groups.offsets_retention.is_zero(), "more than 0")?;
    within("GROUP_MAX_SIZE", (1..=10_000).contains(&groups.group_size_max), "between 1 and 10000")?;
    within("GROUP_MEMORY_BYTES", groups.memory_bytes >= 1 << 20, "at least 1048576")?;
    check_consumer(&groups.consumer, &groups.consumer_bounds)
}

fn check_consumer(consumer: &ConsumerSettings, bounds: &ConsumerBounds) -> Result<(), String> {
    let (min, max) = (bounds.session_timeout_min, bounds.session_timeout_max);
    let sane = !min.is_zero() && min <= max;
    within("GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS", sane, "more than 0 and no more than the longest")?;
    within("GROUP_CONSUMER_MAX_SESSION_TIMEOUT_MS", max <= Duration::from_secs(86_400), "at most 86400000")?;
    let timeout = consumer.session_timeout;
    within(
        "GROUP_CONSUMER_SESSION_TIMEOUT_MS",
        (min..=max).contains(&timeout),
        "between the shortest and the longest",
    )?;
    let (min, max) = (bounds.heartbeat_interval_min, bounds.heartbeat_interval_max);
    let sane = !min.is_zero() && min <= max;
    within("GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS", sane, "more than 0 and no more than the longest")?;
    within("GROUP_CONSUMER_MAX_HEARTBEAT_INTERVAL_MS", max <= Duration::from_secs(86_400), "at most 86400000")?;
    let interval = consumer.heartbeat_interval;
    let rule = "between the shortest and the longest, and less than the session time-out";
    let sane = (min..=max).contains(&interval) && interval < timeout;
    within("GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS", sane, rule)?;
    within("GROUP_CONSUMER_MAX_SIZE", (1..=2_000).contains(&consumer.max_size), "between 1 and 2000")
}
