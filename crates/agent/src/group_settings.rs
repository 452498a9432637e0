//! Settings of consumer groups, named as Kafka names them.

use std::time::Duration;

use broker::GroupSettings;

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
}

impl GroupArguments {
    /// What it means.
    ///
    /// # Errors
    /// The setting that is out of its range, and the range.
    pub(crate) fn settings(&self) -> Result<GroupSettings, String> {
        let settings = GroupSettings {
            offsets_topic_partitions: self.offsets_topic_num_partitions,
            initial_rebalance_delay: Duration::from_millis(self.group_initial_rebalance_delay_ms.into()),
            session_timeout_min: Duration::from_millis(self.group_min_session_timeout_ms.into()),
            session_timeout_max: Duration::from_millis(self.group_max_session_timeout_ms.into()),
            offsets_retention: Duration::from_secs(60 * u64::from(self.offsets_retention_minutes)),
            group_size_max: self.group_max_size as usize,
        };
        check(&settings)?;
        Ok(settings)
    }
}

fn check(groups: &GroupSettings) -> Result<(), String> {
    let within = |name: &str, ok: bool, rule: &str| if ok { Ok(()) } else { Err(format!("{name} must be {rule}")) };
    let partitions = (1..=1_000).contains(&groups.offsets_topic_partitions);
    within("OFFSETS_TOPIC_NUM_PARTITIONS", partitions, "between 1 and 1000")?;
    let delay = groups.initial_rebalance_delay <= Duration::from_secs(300);
    within("GROUP_INITIAL_REBALANCE_DELAY_MS", delay, "at most 300000")?;
    let (min, max) = (groups.session_timeout_min, groups.session_timeout_max);
    within("GROUP_MIN_SESSION_TIMEOUT_MS", !min.is_zero() && min <= max, "more than 0 and no more than the longest")?;
    within("GROUP_MAX_SESSION_TIMEOUT_MS", max <= Duration::from_secs(86_400), "at most 86400000")?;
    within("OFFSETS_RETENTION_MINUTES", !groups.offsets_retention.is_zero(), "more than 0")?;
    within("GROUP_MAX_SIZE", (1..=10_000).contains(&groups.group_size_max), "between 1 and 10000")
}
