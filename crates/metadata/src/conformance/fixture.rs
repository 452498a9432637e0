//! What the cases build their scenes from.

use std::collections::BTreeMap;

use bytes::Bytes;
use segment::{LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, SessionId, TopicId};
use uuid::Uuid;

use crate::{
    FoundObject, LeaseRow, MetadataStore, NewTopic, RangeCommit, RangeOutcome, Registration, SegmentCommit, SegmentRef,
    TopicRow,
};

/// An agent that says something in every field.
pub fn registration(agent_id: &str) -> Registration {
    Registration {
        agent_id: agent_id.to_owned(),
        group: "default".to_owned(),
        zone: "zone-1".to_owned(),
        managed_topics: String::new(),
        kafka_address: format!("{agent_id}:9092"),
        grpc_address: format!("{agent_id}:9090"),
        accepts_leases: true,
    }
}

/// A topic id that depends on `number` alone.
pub fn topic_id(number: u32) -> TopicId {
    TopicId(Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + u128::from(number)))
}

/// A topic to create in the default organization.
pub fn new_topic(number: u32, name: &str, partition_count: i32) -> NewTopic {
    NewTopic {
        organization: OrganizationId::DEFAULT,
        topic_id: topic_id(number),
        name: name.to_owned(),
        partition_count,
        agent_group: "group".to_owned(),
        replication_factor: 3,
        configs: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
    }
}

/// A partition of a topic of the default organization.
pub fn key(topic: u32, partition: PartitionIndex) -> PartitionKey {
    PartitionKey { organization: OrganizationId::DEFAULT, topic_id: topic_id(topic), partition }
}

/// Creates a topic.
pub async fn create(store: &dyn MetadataStore, number: u32, name: &str, partitions: i32) -> TopicRow {
    store.create_topic(new_topic(number, name, partitions)).await.expect("topic is created")
}

/// Opens a session.
pub async fn open(store: &dyn MetadataStore, agent_id: &str) -> SessionId {
    store.open_session(&registration(agent_id)).await.expect("session opens").session
}

/// Acquires leases.
pub async fn acquire(store: &dyn MetadataStore, session: SessionId, keys: &[PartitionKey]) -> Vec<LeaseRow> {
    store.acquire_leases(session, keys).await.expect("acquisition answers")
}

/// A store with topic 1 of `partitions` partitions, all leased (epoch 0) by the returned session.
pub async fn leased(store: &dyn MetadataStore, partitions: i32) -> SessionId {
    create(store, 1, "orders", partitions).await;
    let session = open(store, "agent-1").await;
    let keys: Vec<_> = (0..partitions).map(|partition| key(1, partition)).collect();
    assert_eq!(acquire(store, session, &keys).await.len(), keys.len());
    session
}

/// A range whose timestamps equal its base offset.
pub fn range(key: PartitionKey, leader_epoch: LeaderEpoch, base_offset: Offset, next_offset: Offset) -> RangeCommit {
    RangeCommit {
        key,
        leader_epoch,
        base_offset,
        next_offset,
        byte_start: 100 + base_offset,
        byte_len: next_offset - base_offset,
        checksum: u32::MAX,
        max_timestamp: base_offset,
        append_time: base_offset,
        producers: Bytes::new(),
        snapshot: None,
    }
}

/// The object key of a segment of the default organization.
pub fn object_key(session: SessionId, lane_sequence: LaneSequence) -> String {
    format!("org-1/flush/{}/{lane_sequence}-x", session.0)
}

/// A segment of the default organization.
pub fn segment(session: SessionId, lane_sequence: LaneSequence, ranges: Vec<RangeCommit>) -> SegmentCommit {
    SegmentCommit {
        lane_sequence,
        object_key: object_key(session, lane_sequence),
        organization: OrganizationId::DEFAULT,
        object_bytes: 4096,
        ranges,
    }
}

/// The reference of [`segment`].
pub fn reference(session: SessionId, lane_sequence: LaneSequence) -> SegmentRef {
    SegmentRef { lane_sequence, object_key: object_key(session, lane_sequence), organization: OrganizationId::DEFAULT }
}

/// Commits one segment.
pub async fn commit(
    store: &dyn MetadataStore,
    session: SessionId,
    lane_sequence: LaneSequence,
    ranges: Vec<RangeCommit>,
) -> Vec<RangeOutcome> {
    let segments = [segment(session, lane_sequence, ranges)];
    let mut outcome = store.commit_segments(session, &segments).await.expect("commit answers");
    assert_eq!(outcome.segments.len(), 1);
    outcome.segments.remove(0)
}

/// The object of [`segment`], as a listing finds it.
pub fn found(session: SessionId, lane_sequence: LaneSequence) -> FoundObject {
    let object_key = object_key(session, lane_sequence);
    FoundObject { session, lane_sequence, organization: OrganizationId::DEFAULT, object_key }
}

/// What may be collected without any grace.
pub async fn unreferenced(store: &dyn MetadataStore, collector: SessionId) -> Vec<FoundObject> {
    store.claim_unreferenced(collector, 0, 100).await.expect("claims are answered")
}
