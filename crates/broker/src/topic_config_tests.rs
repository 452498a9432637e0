//! The table of configs against what Kafka accepts, refuses and describes.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::Agent;

fn set(name: &str, value: &str) -> Result<BTreeMap<String, String>, String> {
    validate(&[(name.to_owned(), Some(value.to_owned()))])
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_valid() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for config in TOPIC_CONFIGS {
        set(config.name, config.default).unwrap();
    }
    assert_eq!(TOPIC_CONFIGS.len(), 33);
}

#[test]
fn what_tools_set_is_accepted() {
    let accepted = [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact, delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-5"),
        ("segment.bytes", "1048576"),
        ("min.insync.replicas", "2"),
        ("preallocate", "TRUE"),
        ("compression.type", "zstd"),
        ("compression.gzip.level", "-1"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("leader.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "0:1,1:2"),
        ("retention.ms", " 1000 "),
    ];
    for (name, value) in accepted {
        assert_eq!(set(name, value).unwrap()[name], value, "stored as it was given");
    }
}

#[test]
fn what_kafka_refuses_is_refused_in_its_words() {
    let refused = [
        ("no.such.config", "1", "Unknown topic config name: no.such.config"),
        ("message.format.version", "2.8", "Unknown topic config name: message.format.version"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ("retention.ms", "week", "Invalid value week for configuration retention.ms: Not a number of type LONG"),
        ("segment.bytes", "1", "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"),
        (
            "max.message.bytes",
            "3000000000",
            "Invalid value 3000000000 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "cleanup.policy",
            "keep",
            "Invalid value keep for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "cleanup.policy",
            "",
            "Invalid value  for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "preallocate",
            "yes",
            "Invalid value yes for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "2",
            "Invalid value 2 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "Invalid value NaN for configuration min.cleanable.dirty.ratio: Value must be at least 0",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
        ),
        (
            "message.timestamp.type",
            "createtime",
            "Invalid value createtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
    ];
    for (name, value, message) in refused {
        assert_eq!(set(name, value).unwrap_err(), message);
    }
    assert!(set("leader.replication.throttled.replicas", "1:").is_err());
    assert!(set("remote.storage.enable", "true").unwrap_err().starts_with("Tiered Storage functionality is disabled"));
    let null = validate(&[("retention.ms".to_owned(), None)]);
    assert_eq!(null.unwrap_err(), "Null value not supported for topic configs: retention.ms");
    let lags = ["min", "max"]
        .map(|end| (format!("{end}.compaction.lag.ms"), Some(if end == "min" { "10" } else { "9" }.to_owned())));
    let message = "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (9)";
    assert_eq!(validate(&lags).unwrap_err(), message);
}

#[test]
fn a_topic_is_described_with_all_its_configs() {
    let own = set("retention.ms", "1000").unwrap();
    let entries = describe(&own);
    assert_eq!(entries.len(), TOPIC_CONFIGS.len());
    let retention = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.source), (Some("1000"), ConfigSource::TopicConfig));
    let synonyms: Vec<_> = retention.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.source)).collect();
    let expected = [
        ("retention.ms", Some("1000"), ConfigSource::TopicConfig),
        ("log.retention.ms", Some("604800000"), ConfigSource::Default),
    ];
    assert_eq!(synonyms, expected);
    let policy = entries.iter().find(|entry| entry.name == "cleanup.policy").unwrap();
    assert_eq!(
        (policy.value.as_deref(), policy.source, policy.config_type),
        (Some("delete"), ConfigSource::Default, ConfigType::List)
    );
    assert!(entries.iter().all(|entry| !entry.documentation.is_empty() && !entry.synonyms.is_empty()));
}

#[test]
fn appends_get_what_they_need() {
    let default = LogConfig::from_configs(&BTreeMap::new());
    let expected = LogConfig {
        max_message_bytes: 1_048_588,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compacted: false,
        compaction: Compaction {
            dirty_ratio_min: 0.5,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
            delete_retention_ms: 86_400_000,
        },
        retention: Retention { deletes: true, age_max_ms: Some(604_800_000), bytes_max: None },
    };
    assert_eq!(default, expected);
    let own = [
        ("max.message.bytes", "10"),
        ("message.timestamp.type", "LogAppendTime"),
        ("message.timestamp.before.max.ms", "5"),
        ("message.timestamp.after.max.ms", "6"),
        ("cleanup.policy", "delete, compact"),
        ("retention.ms", "-1"),
        ("retention.bytes", "7"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "8"),
        ("max.compaction.lag.ms", "9"),
        ("delete.retention.ms", "0"),
    ];
    let own = validate(&own.map(|(name, value)| (name.to_owned(), Some(value.to_owned())))).unwrap();
    let expected = LogConfig {
        max_message_bytes: 10,
        log_append_time: true,
        timestamp_before_max_ms: 5,
        timestamp_after_max_ms: 6,
        compacted: true,
        compaction: Compaction { dirty_ratio_min: 0.01, lag_min_ms: 8, lag_max_ms: 9, delete_retention_ms: 0 },
        retention: Retention { deletes: true, age_max_ms: None, bytes_max: Some(7) },
    };
    assert_eq!(LogConfig::from_configs(&own), expected);
    let compacted =
        [("cleanup.policy".to_owned(), "compact".to_owned()), ("retention.bytes".to_owned(), "-5".to_owned())];
    let compacted = LogConfig::from_configs(&BTreeMap::from(compacted));
    assert_eq!((compacted.retention.deletes, compacted.retention.bytes_max), (false, None));
}

#[test]
fn a_broker_is_described_with_what_tools_read() {
    let agent = Agent {
        session: segment::SessionId(1),
        node_id: 7,
        kafka_address: "a:9092".to_owned(),
        grpc_address: "a:9090".to_owned(),
        zone: "z".to_owned(),
    };
    let cluster =
        Cluster { cluster_id: Uuid::nil(), node_id: 7, controller_id: 7, agents: vec![agent], departed: Vec::new() };
    let mut settings = BrokerSettings::for_tests("a");
    settings.kafka_address = "a:9092".to_owned();
    let entries = describe_broker(&cluster, &settings, 3);
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "sorted, none twice");
    let value = |name| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
    assert_eq!(value("broker.id"), Some("7"));
    assert_eq!(value("advertised.listeners"), Some("PLAINTEXT://a:9092"));
    assert_eq!(value("inter.broker.protocol.version"), Some("4.1"));
    assert_eq!(value("message.max.bytes"), Some("1048588"));
    assert_eq!(value("log.cleanup.policy"), Some("delete"));
    assert_eq!(value("delete.topic.enable"), Some("true"));
    assert_eq!(value("default.replication.factor"), Some("3"));
    assert_eq!(value("log.dirs"), Some("object-store"));
}
