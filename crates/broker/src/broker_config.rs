//! What clients and tools read of a Kafka broker's configs beside the defaults of topics: each says what is true here. What has no
//! true value (threads, replication, controllers, log files) is left out.

use super::broker_entry;
use crate::limits;
use crate::settings::BrokerSettings;
use crate::topics::{ConfigEntry, ConfigSource, ConfigType};

/// What was decided at the start or follows from who is there.
pub(super) fn describe_decided(settings: &BrokerSettings, default_replication_factor: i16) -> Vec<ConfigEntry> {
    let entry = |name, value: String, kind, text| broker_entry(name, &value, kind, ConfigSource::StaticBroker, text);
    let retention_check = settings.retention_interval.as_millis().to_string();
    vec![
        entry(
            "default.replication.factor",
            default_replication_factor.to_string(),
            ConfigType::Int,
            "One for each zone that has agents, at most 3. It says how many agents are named as replicas; the object store keeps \
             the data.",
        ),
        entry(
            "log.cleaner.backoff.ms",
            settings.compaction_interval.as_millis().to_string(),
            ConfigType::Long,
            "COMPACTION_INTERVAL.",
        ),
        entry("log.retention.check.interval.ms", retention_check, ConfigType::Long, "RETENTION_INTERVAL."),
    ]
}

/// What is the same for every agent.
pub(super) fn describe_bounds() -> Vec<ConfigEntry> {
    use ConfigType::{Boolean, Int, List, Long, String};
    let entry = |name, value: &str, kind, text| broker_entry(name, value, kind, ConfigSource::Default, text);
    let number = |name, value: u64, kind, text| entry(name, &value.to_string(), kind, text);
    let size = |value: usize| value as u64;
    vec![
        entry(
            "auto.leader.rebalance.enable",
            "true",
            Boolean,
            "Leaders move to where placement wants them, by themselves.",
        ),
        entry("authorizer.class.name", "", String, "There is no authorizer: every operation is allowed."),
        number("connections.max.idle.ms", 900_000, Long, "A connection without requests is closed after it."),
        entry(
            "controlled.shutdown.enable",
            "true",
            Boolean,
            "SIGTERM hands all partitions over before the agent stops.",
        ),
        entry("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT", String, "There is one listener, without TLS."),
        entry("log.dir", crate::LOG_DIR, String, "The object store, under the name that DescribeLogDirs gives it."),
        entry("log.dirs", crate::LOG_DIR, String, "The object store, under the name that DescribeLogDirs gives it."),
        number("log.roll.hours", 168, Int, "log.roll.ms in hours."),
        number("max.connection.creation.rate", u64::from(i32::MAX.unsigned_abs()), Int, "Not bounded."),
        number("max.connections", size(limits::CONNECTIONS_MAX), Int, "Of one listener."),
        number("max.connections.per.ip", size(limits::CONNECTIONS_PER_ADDRESS_MAX), Int, "Of one listener."),
        number(
            "max.incremental.fetch.session.cache.slots",
            size(limits::FETCH_SESSIONS_MAX),
            Int,
            "Fetch sessions that are kept.",
        ),
        number("max.request.partition.size.limit", 2_000, Int, "Partitions in an answer to DescribeTopicPartitions."),
        number(
            "producer.id.expiration.ms",
            limits::PRODUCER_ID_EXPIRATION_MS.unsigned_abs(),
            Int,
            "Of idle producers.",
        ),
        entry("remote.log.storage.system.enable", "false", Boolean, "There is one tier."),
        entry(
            "replica.selector.class",
            "org.apache.kafka.common.replica.RackAwareReplicaSelector",
            String,
            "Consumers read from an agent of their zone.",
        ),
        entry("sasl.enabled.mechanisms", "", List, "There is no authentication."),
        number(
            "socket.listen.backlog.size",
            u64::from(limits::LISTEN_BACKLOG),
            Int,
            "Connections that wait to be accepted.",
        ),
    ]
}
