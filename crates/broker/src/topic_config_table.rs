//! The table of Kafka's topic configs, sorted by name: defaults and ranges of Apache Kafka 4.1.

use crate::topics::ConfigType;

/// One row.
pub(super) struct TopicConfig {
    /// Its name on a topic.
    pub(super) name: &'static str,
    /// Its name on a broker, where the default of all topics is set.
    pub(super) broker_name: Option<&'static str>,
    /// As DescribeConfigs prints it.
    pub(super) default: &'static str,
    /// What it may be.
    pub(super) values: Values,
    /// What it means here.
    pub(super) documentation: &'static str,
}

/// What a config may be.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// true or false.
    Boolean,
    /// 32 bits.
    Int { min: i32, max: i32 },
    /// 64 bits.
    Long { min: i64 },
    /// 0 to 1.
    Ratio,
    /// -1, or 1 to 9.
    GzipLevel,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// At least one of these, comma-separated.
    ListOf(&'static [&'static str]),
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
}

impl Values {
    /// Kafka's type.
    pub(super) fn config_type(self) -> ConfigType {
        match self {
            Self::Boolean => ConfigType::Boolean,
            Self::Int { .. } | Self::GzipLevel => ConfigType::Int,
            Self::Long { .. } => ConfigType::Long,
            Self::Ratio => ConfigType::Double,
            Self::OneOf(_) => ConfigType::String,
            Self::ListOf(_) | Self::ThrottledReplicas => ConfigType::List,
        }
    }
}

const fn config(
    name: &'static str,
    broker_name: &'static str,
    default: &'static str,
    values: Values,
    documentation: &'static str,
) -> TopicConfig {
    let broker_name = if broker_name.is_empty() { None } else { Some(broker_name) };
    TopicConfig { name, broker_name, default, values, documentation }
}

const fn int(min: i32) -> Values {
    Values::Int { min, max: i32::MAX }
}

const fn long(min: i64) -> Values {
    Values::Long { min }
}

const LONG_MAX: &str = "9223372036854775807";
const COMPRESSION_TYPES: Values = Values::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
const TIMESTAMP_TYPES: Values = Values::OneOf(&["CreateTime", "LogAppendTime"]);
const CLEANUP_POLICIES: Values = Values::ListOf(&["compact", "delete"]);
const BOOLEAN: Values = Values::Boolean;

const NO_LOG_FILES: &str = "Stored and shown; without effect, as there are no log files on a disk.";
const NO_REPLICAS: &str = "Stored and shown; without effect, as the object store replicates.";
const NO_RECOMPRESSION: &str =
    "Stored and shown; without effect while batches are kept as their producer compressed them.";
const NO_TIERS: &str = "Stored and shown; without effect, as all data is in object storage from the start.";

/// All topic configs.
#[rustfmt::skip]
pub(super) static TOPIC_CONFIGS: &[TopicConfig] = &[
    config("cleanup.policy", "log.cleanup.policy", "delete", CLEANUP_POLICIES,
        "With delete, records are kept as retention.ms and retention.bytes say. With compact, the last record of each key is kept, \
         and records without a key are refused."),
    config("compression.gzip.level", "compression.gzip.level", "-1", Values::GzipLevel, NO_RECOMPRESSION),
    config("compression.lz4.level", "compression.lz4.level", "9", Values::Int { min: 1, max: 17 }, NO_RECOMPRESSION),
    config("compression.type", "compression.type", "producer", COMPRESSION_TYPES,
        "Batches are kept as their producer compressed them, whatever this says; other values are stored and shown."),
    config("compression.zstd.level", "compression.zstd.level", "3", Values::Int { min: -131_072, max: 22 }, NO_RECOMPRESSION),
    config("delete.retention.ms", "log.cleaner.delete.retention.ms", "86400000", long(0),
        "How long compaction keeps a record without a value after it removed what it deletes."),
    config("file.delete.delay.ms", "log.segment.delete.delay.ms", "60000", long(0), NO_LOG_FILES),
    config("flush.messages", "log.flush.interval.messages", LONG_MAX, long(1),
        "Without effect: every acknowledged record is durable."),
    config("flush.ms", "log.flush.interval.ms", LONG_MAX, long(0), "Without effect: every acknowledged record is durable."),
    config("follower.replication.throttled.replicas", "", "", Values::ThrottledReplicas, NO_REPLICAS),
    config("index.interval.bytes", "log.index.interval.bytes", "4096", int(0), NO_LOG_FILES),
    config("leader.replication.throttled.replicas", "", "", Values::ThrottledReplicas, NO_REPLICAS),
    config("local.retention.bytes", "log.local.retention.bytes", "-2", long(-2), NO_TIERS),
    config("local.retention.ms", "log.local.retention.ms", "-2", long(-2), NO_TIERS),
    config("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", LONG_MAX, long(1),
        "Older records are compacted whatever min.cleanable.dirty.ratio says; the newest range of a log never is."),
    config("max.message.bytes", "message.max.bytes", "1048588", int(0),
        "Largest record batch, in bytes as the producer sends it."),
    config("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", "3600000", long(0),
        "How far a record's CreateTime may be ahead of the agent's clock."),
    config("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", LONG_MAX, long(0),
        "How far a record's CreateTime may be behind the agent's clock."),
    config("message.timestamp.type", "log.message.timestamp.type", "CreateTime", TIMESTAMP_TYPES,
        "Whether records keep the producer's time or get that of their append."),
    config("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", "0.5", Values::Ratio,
        "A log is compacted when more than this part of its bytes was not compacted yet."),
    config("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", "0", long(0),
        "Younger records are not compacted."),
    config("min.insync.replicas", "min.insync.replicas", "1", int(1), NO_REPLICAS),
    config("preallocate", "log.preallocate", "false", BOOLEAN, NO_LOG_FILES),
    config("remote.log.copy.disable", "", "false", BOOLEAN, NO_TIERS),
    config("remote.log.delete.on.disable", "", "false", BOOLEAN, NO_TIERS),
    config("remote.storage.enable", "", "false", BOOLEAN,
        "Only false: all data is in object storage from the start, there is no second tier."),
    config("retention.bytes", "log.retention.bytes", "-1", long(i64::MIN),
        "Bytes of a partition that are kept at least, where cleanup.policy has delete; -1: no bound."),
    config("retention.ms", "log.retention.ms", "604800000", long(-1),
        "How long records are kept after their timestamp, where cleanup.policy has delete; -1: for ever."),
    config("segment.bytes", "log.segment.bytes", "1073741824", int(1 << 20), NO_LOG_FILES),
    config("segment.index.bytes", "log.index.size.max.bytes", "10485760", int(4), NO_LOG_FILES),
    config("segment.jitter.ms", "log.roll.jitter.ms", "0", long(0), NO_LOG_FILES),
    config("segment.ms", "log.roll.ms", "604800000", long(1), NO_LOG_FILES),
    config("unclean.leader.election.enable", "unclean.leader.election.enable", "false", BOOLEAN,
        "Without effect: a new leader has every acknowledged record."),
];
