//! DescribeLogDirs 1–4 and AlterReplicaLogDirs 1–2.
//!
//! There is one directory, the object store, under the name [`LOG_DIR`]. It lists the partitions that this agent leads, with their bytes
//! as stored: each partition is listed by one agent, so that a sum over all agents counts it once. Sizes of the store itself
//! are unknown (-1). A partition that is asked for and not led here, or unknown, is left out, as in Apache Kafka.
//!
//! A replica is where it is told to be moved if that is the one directory; any other is LOG_DIR_NOT_FOUND, and what is not led here
//! REPLICA_NOT_AVAILABLE.

use std::collections::HashSet;
use std::sync::Arc;

use broker::{LOG_DIR, Topic};
use futures::{StreamExt as _, stream};
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName,
};

use crate::context::{Context, text};
use crate::error_code::Code;

/// Partitions whose bytes are asked for at the same time: the first time each takes a read of metadata.
const COUNTED_AT_ONCE: usize = 8;
/// Of a size that nobody knows.
const UNKNOWN_BYTES: i64 = -1;

pub(crate) async fn describe(
    context: Arc<Context>,
    _version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let dir = DescribeLogDirsResult::default()
        .with_log_dir(text(LOG_DIR))
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    let dir = match listed(&context, request).await {
        Ok(topics) => dir.with_topics(topics),
        Err(error) => {
            tracing::warn!(error, "the bytes of partitions could not be counted");
            dir.with_error_code(Code::KafkaStorageError.code())
        }
    };
    DescribeLogDirsResponse::default().with_results(vec![dir])
}

pub(crate) fn describe_has_error(response: &DescribeLogDirsResponse) -> bool {
    response.results.iter().any(|dir| dir.error_code != 0)
}

async fn listed(context: &Context, request: DescribeLogDirsRequest) -> Result<Vec<DescribeLogDirsTopic>, String> {
    let mut topics = Vec::new();
    match request.topics {
        None => {
            for topic in context.broker.topics(context.organization) {
                let partitions = partitions(context, &topic, 0..topic.partition_count).await?;
                topics.push((topic, partitions));
            }
        }
        Some(asked) => {
            let mut seen = HashSet::new();
            for asked in asked {
                let Some(topic) = context.topic(&asked.topic) else { continue };
                let id = topic.topic_id;
                let new = asked.partitions.into_iter().filter(|partition| seen.insert((id, *partition)));
                let partitions = partitions(context, &topic, new).await?;
                topics.push((topic, partitions));
            }
        }
    }
    let led = topics.into_iter().filter(|(_, partitions)| !partitions.is_empty());
    let answer = |(topic, partitions): (Arc<Topic>, Vec<DescribeLogDirsPartition>)| {
        let name = TopicName(text(topic.name.as_str()));
        DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions)
    };
    Ok(led.map(answer).collect())
}

async fn partitions(
    context: &Context,
    topic: &Topic,
    indexes: impl Iterator<Item = i32>,
) -> Result<Vec<DescribeLogDirsPartition>, String> {
    let counted = indexes.map(|index| async move { (index, context.broker.log_bytes(topic, index).await) });
    let mut counted = stream::iter(counted).buffered(COUNTED_AT_ONCE);
    let mut partitions = Vec::new();
    while let Some((index, bytes)) = counted.next().await {
        if let Some(bytes) = bytes? {
            let size = i64::try_from(bytes).unwrap_or(i64::MAX);
            partitions.push(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size));
        }
    }
    Ok(partitions)
}

pub(crate) async fn alter(
    context: Arc<Context>,
    _version: i16,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let own = context.broker.cluster().node_id;
    let mut results = Vec::new();
    for dir in request.dirs {
        for asked in dir.topics {
            let topic = context.topic(&asked.name);
            let partitions = asked.partitions.into_iter().map(|index| {
                let leader = topic.as_ref().and_then(|topic| context.leader(topic, index));
                let code = match leader {
                    _ if dir.path.as_str() != LOG_DIR => Code::LogDirNotFound.code(),
                    Some((leader, _)) if leader == own => 0,
                    _ => Code::ReplicaNotAvailable.code(),
                };
                AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code)
            });
            let partitions = partitions.collect();
            results
                .push(AlterReplicaLogDirTopicResult::default().with_topic_name(asked.name).with_partitions(partitions));
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}

pub(crate) fn alter_has_error(response: &AlterReplicaLogDirsResponse) -> bool {
    response.results.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}
