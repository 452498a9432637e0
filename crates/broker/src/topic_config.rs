//! Kafka's topic configs (all of 4.1): names, types, defaults, ranges, and what each means here.
//!
//! Any config that Kafka accepts is accepted, checked as Kafka checks it, stored and described, so that tools which set
//! them (Connect, Streams, Schema Registry, MirrorMaker) work unchanged. Which of them the agent does not act on is said in
//! each one's documentation and in docs/compat.md. A broker's own configs are these under their broker names, and a few
//! facts that tools read; none is offered that is not true.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::groups::limits::OFFSET_METADATA_BYTES_MAX;
use crate::limits::{FETCH_BYTES_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_DEFAULT};
use crate::topics::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigType};
use crate::{BrokerSettings, Cluster, GroupSettings};

#[path = "broker_config.rs"]
mod broker;
#[path = "topic_config_changes.rs"]
mod changes;
#[path = "topic_config_table.rs"]
mod table;

pub use changes::{ConfigChange, ConfigChanges};
use table::{TOPIC_CONFIGS, TopicConfig, Values};

/// What the agent acts on of a topic's configs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogConfig {
    /// Largest batch, as sent.
    pub(crate) max_message_bytes: usize,
    /// Records get the time of their append.
    pub(crate) log_append_time: bool,
    /// How far behind the clock a CreateTime may be.
    pub(crate) timestamp_before_max_ms: i64,
    /// How far ahead of the clock a CreateTime may be.
    pub(crate) timestamp_after_max_ms: i64,
    /// `cleanup.policy` has `compact`: records need keys, and the last one of each is kept.
    pub(crate) compacted: bool,
    /// When it is compacted, if it is.
    pub(crate) compaction: Compaction,
    /// What is deleted when.
    pub(crate) retention: Retention,
}

/// When a log is compacted, and what stays then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Compaction {
    /// `min.cleanable.dirty.ratio`: what was not compacted yet is more than this part of the log.
    pub(crate) dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`: younger records stay.
    pub(crate) lag_min_ms: i64,
    /// `max.compaction.lag.ms`: if there are older ones, the ratio does not count.
    pub(crate) lag_max_ms: i64,
    /// `delete.retention.ms`: how long records without a value stay after what they delete is gone.
    pub(crate) delete_retention_ms: i64,
}

/// How long records are kept, and how many bytes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// `cleanup.policy` has `delete`: records may be deleted, by their age, by the log's size, or on request.
    pub(crate) deletes: bool,
    /// `retention.ms`; `None` = for ever.
    pub(crate) age_max_ms: Option<i64>,
    /// `retention.bytes`, of each partition; `None` = any number.
    pub(crate) bytes_max: Option<u64>,
}

impl LogConfig {
    /// Of a topic's own configs; defaults where it has none (or, which `validate` excludes, one that cannot be read).
    pub(crate) fn from_configs(configs: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| effective(configs, name).trim();
        let number = |name: &str, default: i64| value(name).parse().unwrap_or(default);
        let has_policy = |wanted: &str| list_items(value("cleanup.policy")).any(|policy| policy == wanted);
        let retention = Retention {
            deletes: has_policy("delete"),
            age_max_ms: Some(number("retention.ms", -1)).filter(|ms| *ms >= 0),
            bytes_max: u64::try_from(number("retention.bytes", -1)).ok(),
        };
        Self {
            max_message_bytes: value("max.message.bytes").parse().unwrap_or(MESSAGE_BYTES_DEFAULT),
            log_append_time: value("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: number("message.timestamp.before.max.ms", i64::MAX),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms", 3_600_000),
            compacted: has_policy("compact"),
            compaction: Compaction {
                dirty_ratio_min: value("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
                lag_min_ms: number("min.compaction.lag.ms", 0),
                lag_max_ms: number("max.compaction.lag.ms", i64::MAX),
                delete_retention_ms: number("delete.retention.ms", 86_400_000),
            },
            retention,
        }
    }
}

fn effective<'a>(configs: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    match configs.get(name) {
        Some(value) => value,
        None => TOPIC_CONFIGS.iter().find(|config| config.name == name).map_or("", |config| config.default),
    }
}

/// Checks the configs of a topic that is to be created, and gives them back by name (of a repeated one the last).
///
/// # Errors
/// What is wrong with the first bad one, in Kafka's words.
pub(crate) fn validate(configs: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, String> {
    let nulls: Vec<&str> = configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(format!("Null value not supported for topic configs: {}", nulls.join(",")));
    }
    let mut checked = BTreeMap::new();
    for (name, value) in configs {
        let Some(config) = TOPIC_CONFIGS.iter().find(|config| config.name == name) else {
            return Err(format!("Unknown topic config name: {name}"));
        };
        let value = value.as_deref().unwrap_or_default();
        check_value(config, value.trim())
            .map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))?;
        checked.insert(name.clone(), value.to_owned());
    }
    check_together(&checked)?;
    Ok(checked)
}

fn check_value(config: &TopicConfig, value: &str) -> Result<(), String> {
    match config.values {
        Values::Boolean if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => Ok(()),
        Values::Boolean => Err("Expected value to be either true or false".to_owned()),
        Values::Int { min, max } => {
            let number: i32 = value.parse().map_err(|_| not_a_number("INT"))?;
            check_range(number.into(), min.into(), max.into())
        }
        Values::Long { min } => {
            let number = value.parse().map_err(|_| not_a_number("LONG"))?;
            check_range(number, min, i64::MAX)
        }
        Values::Ratio => {
            let number: f64 = value.parse().map_err(|_| not_a_number("DOUBLE"))?;
            match number {
                0.0..=1.0 => Ok(()),
                number if number > 1.0 => Err("Value must be no more than 1".to_owned()),
                _ => Err("Value must be at least 0".to_owned()),
            }
        }
        Values::GzipLevel => match value.parse::<i32>().map_err(|_| not_a_number("INT"))? {
            -1 | 1..=9 => Ok(()),
            _ => Err("Value must be between 1 and 9 or equal to -1".to_owned()),
        },
        Values::OneOf(allowed) => check_one_of(value, allowed),
        Values::ListOf(allowed) if value.is_empty() => check_one_of(value, allowed),
        Values::ListOf(allowed) => list_items(value).try_for_each(|item| check_one_of(item, allowed)),
        Values::ThrottledReplicas => check_throttled_replicas(config.name, value),
    }
}

fn not_a_number(type_name: &str) -> String {
    format!("Not a number of type {type_name}")
}

fn check_range(number: i64, min: i64, max: i64) -> Result<(), String> {
    if number < min {
        return Err(format!("Value must be at least {min}"));
    }
    if number > max {
        return Err(format!("Value must be no more than {max}"));
    }
    Ok(())
}

fn check_one_of(value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value) { Ok(()) } else { Err(format!("String must be one of: {}", allowed.join(", "))) }
}

fn check_throttled_replicas(name: &str, value: &str) -> Result<(), String> {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_replica =
        |item: &str| item.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker));
    if value.is_empty() || value == "*" || list_items(value).all(is_replica) {
        return Ok(());
    }
    Err(format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    ))
}

/// Rules over more than one config, with defaults where the topic has no value of its own.
fn check_together(configs: &BTreeMap<String, String>) -> Result<(), String> {
    let lag = |name: &str| effective(configs, name).trim().parse::<i64>().unwrap_or_default();
    let (min, max) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    if min > max {
        let names = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        return Err(format!("conflict topic config setting {} ({min}) > {} ({max})", names.0, names.1));
    }
    if effective(configs, "remote.storage.enable").trim().eq_ignore_ascii_case("true") {
        let why = "Tiered Storage functionality is disabled in the broker. \
                   Topic cannot be configured with remote log storage.";
        return Err(why.to_owned());
    }
    Ok(())
}

fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// All configs of a topic, by name: its own values where it has them, else the defaults.
pub(crate) fn describe(configs: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    TOPIC_CONFIGS.iter().map(|config| describe_topic_config(config, configs.get(config.name))).collect()
}

fn describe_topic_config(config: &TopicConfig, own: Option<&String>) -> ConfigEntry {
    let synonym = |name: &str, value: &str, source| ConfigSynonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let mut synonyms = Vec::new();
    if let Some(value) = own {
        synonyms.push(synonym(config.name, value, ConfigSource::TopicConfig));
    }
    let default_name = config.broker_name.unwrap_or(config.name);
    synonyms.push(synonym(default_name, config.default, ConfigSource::Default));
    ConfigEntry {
        name: config.name.to_owned(),
        value: Some(own.map_or(config.default, String::as_str).to_owned()),
        source: if own.is_some() { ConfigSource::TopicConfig } else { ConfigSource::Default },
        config_type: config.values.config_type(),
        read_only: false,
        sensitive: false,
        documentation: config.documentation.to_owned(),
        synonyms,
    }
}

/// The configs of this agent as a Kafka broker, by name. All are read-only: they are set where the agent is started.
pub(crate) fn describe_broker(
    cluster: &Cluster,
    settings: &BrokerSettings,
    default_replication_factor: i16,
) -> Vec<ConfigEntry> {
    let mut entries: Vec<ConfigEntry> = TOPIC_CONFIGS
        .iter()
        .filter_map(|config| {
            let source = ConfigSource::Default;
            let (kind, text) = (config.values.config_type(), config.documentation);
            Some(broker_entry(config.broker_name?, config.default, kind, source, text))
        })
        .collect();
    entries.extend(describe_settings(cluster, settings));
    entries.extend(broker::describe_decided(settings, default_replication_factor));
    entries.extend(describe_facts());
    entries.extend(broker::describe_bounds());
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// What differs from agent to agent.
fn describe_settings(cluster: &Cluster, settings: &BrokerSettings) -> Vec<ConfigEntry> {
    use ConfigType::{Boolean, Int, String};
    let entry = |name, value: &str, kind, text| broker_entry(name, value, kind, ConfigSource::StaticBroker, text);
    let node_id = cluster.node_id.to_string();
    let auto_create = settings.auto_create_topics.to_string();
    let mut entries = vec![
        entry("broker.id", &node_id, Int, "Allocated for this AGENT_ID by the metadata store."),
        entry("node.id", &node_id, Int, "Allocated for this AGENT_ID by the metadata store."),
        entry("broker.rack", &settings.zone, String, "AGENT_ZONE."),
        entry("num.partitions", &settings.default_partitions.to_string(), Int, "Of topics whose creator says -1."),
        entry("auto.create.topics.enable", &auto_create, Boolean, "Metadata requests create unknown topics."),
    ];
    entries.extend(describe_groups(&settings.groups));
    // Empty: every client is given the address that it connected to, which is no single value.
    if !settings.kafka_address.is_empty() {
        let listener = format!("PLAINTEXT://{}", settings.kafka_address);
        entries.push(entry("advertised.listeners", &listener, String, "KAFKA_ADVERTISED_ADDRESS."));
    }
    entries
}

/// What is settable of groups.
fn describe_groups(groups: &GroupSettings) -> Vec<ConfigEntry> {
    let number = |name, value: u128, text| {
        broker_entry(name, &value.to_string(), ConfigType::Int, ConfigSource::StaticBroker, text)
    };
    let ms = |name, value: Duration, text| number(name, value.as_millis(), text);
    let (consumer, bounds) = (&groups.consumer, &groups.consumer_bounds);
    let partitions = u128::from(groups.offsets_topic_partitions.unsigned_abs());
    let retention = groups.offsets_retention.as_millis() / 60_000;
    let policy = broker_entry(
        "group.consumer.migration.policy",
        groups.migration_policy.name(),
        ConfigType::String,
        ConfigSource::StaticBroker,
        "Between which protocols groups with members may go.",
    );
    let interval_max = bounds.heartbeat_interval_max;
    vec![
        policy,
        number("offsets.topic.num.partitions", partitions, "Coordinators among which groups are shared out."),
        number("offsets.retention.minutes", retention, "Of a group without members."),
        ms(
            "group.initial.rebalance.delay.ms",
            groups.initial_rebalance_delay,
            "How long an empty group waits for more members.",
        ),
        ms("group.min.session.timeout.ms", groups.session_timeout_min, "Shortest time-out of a member."),
        ms("group.max.session.timeout.ms", groups.session_timeout_max, "Longest time-out of a member."),
        number("group.max.size", groups.group_size_max as u128, "Members of one group."),
        ms("group.consumer.session.timeout.ms", consumer.session_timeout, "Of members of KIP-848 groups."),
        ms("group.consumer.min.session.timeout.ms", bounds.session_timeout_min, "Shortest that a group may have."),
        ms("group.consumer.max.session.timeout.ms", bounds.session_timeout_max, "Longest that a group may have."),
        ms("group.consumer.heartbeat.interval.ms", consumer.heartbeat_interval, "Of members of KIP-848 groups."),
        ms(
            "group.consumer.min.heartbeat.interval.ms",
            bounds.heartbeat_interval_min,
            "Shortest that a group may have.",
        ),
        ms("group.consumer.max.heartbeat.interval.ms", interval_max, "Longest that a group may have."),
        number("group.consumer.max.size", consumer.max_size as u128, "Members of one KIP-848 group."),
    ]
}

/// What is the same for every agent.
fn describe_facts() -> Vec<ConfigEntry> {
    use ConfigType::{Boolean, Int, List, Short, String};
    let entry = |name, value: &str, kind, text| broker_entry(name, value, kind, ConfigSource::Default, text);
    let replicas = "Replication is the object store's; a topic's own factor is stored as its creator asked.";
    vec![
        entry("offsets.topic.replication.factor", "1", Short, replicas),
        entry("transaction.state.log.replication.factor", "1", Short, replicas),
        entry("transaction.state.log.min.isr", "1", Int, replicas),
        entry("delete.topic.enable", "true", Boolean, "Topics can be deleted."),
        entry("inter.broker.protocol.version", "4.1", String, "The Kafka release whose protocol is spoken."),
        entry("log.retention.hours", "168", Int, "log.retention.ms in hours."),
        entry("socket.request.max.bytes", &FRAME_BYTES_MAX.to_string(), Int, "Largest request."),
        entry("offset.metadata.max.bytes", &OFFSET_METADATA_BYTES_MAX.to_string(), Int, "Of a committed offset."),
        entry("group.consumer.assignors", "uniform,range", List, "The assignors that members may ask for."),
        entry("group.coordinator.rebalance.protocols", "classic,consumer", List, "The protocols of groups."),
        entry("fetch.max.bytes", &FETCH_BYTES_MAX.to_string(), Int, "Largest answer to a fetch."),
    ]
}

fn broker_entry(name: &str, value: &str, kind: ConfigType, source: ConfigSource, documentation: &str) -> ConfigEntry {
    let value = Some(value.to_owned());
    ConfigEntry {
        name: name.to_owned(),
        value: value.clone(),
        source,
        config_type: kind,
        read_only: true,
        sensitive: false,
        documentation: documentation.to_owned(),
        synonyms: vec![ConfigSynonym { name: name.to_owned(), value, source }],
    }
}

#[cfg(test)]
#[path = "topic_config_tests.rs"]
mod tests;
