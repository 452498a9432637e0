//! A lane that breaks down (a bug) must not look like a healthy agent that never answers.

use std::time::Duration;

use broker::AppendError;
use metadata::{NewTopic, RangeCommit, Registration, SegmentCommit, Segments, Sessions, Topics};
use segment::{PartitionKey, TopicId};

use crate::rig::{ORG, Rig, append};

/// A partition whose offsets are used up: committing one more breaks invariant I2.
async fn use_up_offsets(rig: &Rig) {
    let topic_id = TopicId(uuid::Uuid::from_u128(99));
    let topic = NewTopic {
        organization: ORG,
        topic_id,
        name: "t".to_owned(),
        partition_count: 1,
        agent_group: String::new(),
        replication_factor: 1,
        configs: Default::default(),
    };
    rig.metadata.create_topic(topic).await.expect("created");
    let registration = Registration {
        agent_id: "a".to_owned(),
        group: String::new(),
        zone: String::new(),
        managed_topics: String::new(),
        kafka_address: String::new(),
        grpc_address: String::new(),
        accepts_leases: true,
    };
    let session = rig.metadata.open_session(&registration).await.expect("opened").session;
    let key = PartitionKey { organization: ORG, topic_id, partition: 0 };
    rig.metadata.acquire_leases(session, &[key]).await.expect("acquired");
    let range = RangeCommit {
        key,
        leader_epoch: 0,
        base_offset: 0,
        next_offset: i64::MAX,
        byte_start: 0,
        byte_len: 0,
        checksum: 0,
        max_timestamp: 0,
        append_time: 0,
        producers: bytes::Bytes::new(),
        snapshot: None,
    };
    let object_key = "org-1/flush/1/0-0000000000000000".to_owned();
    let ranges = vec![range];
    let commit = SegmentCommit { lane_sequence: 0, object_key, organization: ORG, object_bytes: 0, ranges };
    rig.metadata.commit_segments(session, &[commit]).await.expect("committed");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_breaks_down_ends_its_agent_at_once() {
    let rig = Rig::new();
    use_up_offsets(&rig).await;
    let broker = rig.start().await;
    let topic = broker.topic(ORG, "t").expect("there");
    let started = tokio::time::Instant::now();
    let unknown = append(&broker, &topic, 1, None).await;
    assert!(matches!(unknown, Err(AppendError::Unknown)), "what was committed cannot be said: {unknown:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "not at the request's time-out");
    tokio::time::timeout(Duration::from_secs(1), broker.fenced()).await.expect("the process should end");
    assert!(broker.readiness().await.is_err());
}
