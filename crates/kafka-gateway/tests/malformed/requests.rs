//! Requests that several rows vary.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};
use uuid::Uuid;

use crate::harness::topic_name;

/// Of partition 0, without waiting.
pub(crate) fn fetch(name: &str, id: Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(name)).with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default().with_min_bytes(0).with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic])
}

/// The latest offsets of these partitions.
pub(crate) fn list_offsets(name: &str, partitions: &[i32]) -> ListOffsetsRequest {
    let latest = |index: &i32| {
        let partition = ListOffsetsPartition::default().with_partition_index(*index).with_current_leader_epoch(-1);
        partition.with_timestamp(-1)
    };
    let partitions = partitions.iter().map(latest).collect();
    let topic = ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}
