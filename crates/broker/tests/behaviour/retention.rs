//! Records that were kept long enough are deleted, others are not, and what is left is as it was.

use std::time::Duration;

use broker::{Broker, BrokerSettings, DeleteRecordsError, FetchError, ListOffsetsPartition, OffsetSpec, Topic};
use metadata::{FailPoint, Segments};
use segment::PartitionKey;

use crate::rig::{NOW, ORG, Rig, append, batches, create, create_with, encode_at, fetch, request};

fn settings() -> BrokerSettings {
    BrokerSettings { retention_interval: Duration::from_secs(1), ..BrokerSettings::for_tests("a") }
}

/// Appends values to partition 0, each in a range of its own, as of `age` ms ago.
async fn append_old(broker: &Broker, topic: &Topic, age: i64, values: std::ops::Range<u64>) {
    for value in values {
        let appended = broker.append(request(topic, 0, encode_at(NOW - age, value, None))).await.expect("placed");
        appended.acked().await.expect("acked");
    }
}

async fn a_few_rounds() {
    tokio::time::sleep(Duration::from_millis(3_500)).await;
}

async fn earliest(broker: &Broker, topic: &Topic) -> i64 {
    let wanted = ListOffsetsPartition {
        topic_id: topic.topic_id,
        partition: 0,
        current_leader_epoch: None,
        spec: OffsetSpec::Earliest,
    };
    broker.list_offsets(ORG, vec![wanted]).await.remove(0).expect("listed").offset
}

fn key(topic: &Topic) -> PartitionKey {
    PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: 0 }
}

async fn rows(rig: &Rig, topic: &Topic) -> usize {
    rig.metadata.ranges_from(key(topic), 0, 10_000).await.expect("memory answers").len()
}

async fn offsets(broker: &Broker, topic: &Topic, from: i64) -> Vec<i64> {
    let fetched = fetch(broker, topic, from, Duration::ZERO).await.expect("readable");
    batches(&fetched).iter().map(|(header, _)| header.base_offset).collect()
}

fn is_out_of_range<T: std::fmt::Debug>(result: Result<T, FetchError>, start: i64) -> bool {
    matches!(result, Err(FetchError::OffsetOutOfRange { log_start_offset }) if log_start_offset == start)
}

#[tokio::test(start_paused = true)]
async fn records_go_when_their_time_is_over_and_later_ones_stay() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
    append_old(&broker, &topic, 100_000, 0..3).await;
    append_old(&broker, &topic, 1_000, 3..5).await;
    a_few_rounds().await;
    assert_eq!((earliest(&broker, &topic).await, rows(&rig, &topic).await), (3, 2));
    assert!(is_out_of_range(fetch(&broker, &topic, 0, Duration::ZERO).await, 3));
    assert!(is_out_of_range(fetch(&broker, &topic, 2, Duration::ZERO).await, 3));
    assert_eq!(offsets(&broker, &topic, 3).await, [3, 4]);
    // Nor does a successor know them.
    drop(broker);
    let successor = rig.start_with(settings()).await;
    assert!(is_out_of_range(fetch(&successor, &topic, 2, Duration::ZERO).await, 3));
    assert_eq!(offsets(&successor, &topic, 3).await, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_log_of_which_everything_is_old_is_empty_and_goes_on_at_its_end() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
    append_old(&broker, &topic, 100_000, 0..3).await;
    a_few_rounds().await;
    assert_eq!((earliest(&broker, &topic).await, rows(&rig, &topic).await), (3, 0));
    assert_eq!(offsets(&broker, &topic, 3).await, Vec::<i64>::new());
    // The first after that is noticed like any other.
    append_old(&broker, &topic, 100_000, 3..4).await;
    append_old(&broker, &topic, 0, 4..5).await;
    a_few_rounds().await;
    assert_eq!((earliest(&broker, &topic).await, rows(&rig, &topic).await), (4, 1));
    assert_eq!(offsets(&broker, &topic, 4).await, [4]);
}

#[tokio::test(start_paused = true)]
async fn a_log_keeps_as_many_bytes_as_it_should_at_least() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let one = i64::try_from(encode_at(NOW, 0, None).len()).expect("small");
    let kept = (3 * one).to_string();
    let topic = create_with(&broker, "t", 1, &[("retention.bytes", &kept), ("retention.ms", "-1")]).await;
    append_old(&broker, &topic, 100_000, 0..5).await;
    a_few_rounds().await;
    assert_eq!(earliest(&broker, &topic).await, 2);
    append_old(&broker, &topic, 100_000, 5..6).await;
    a_few_rounds().await;
    assert_eq!(earliest(&broker, &topic).await, 3, "counted on from what is left");
    drop(broker);
    let successor = rig.start_with(settings()).await;
    append_old(&successor, &topic, 100_000, 6..8).await;
    a_few_rounds().await;
    assert_eq!(earliest(&successor, &topic).await, 5, "and with what the former leader left");
    assert_eq!(offsets(&successor, &topic, 5).await, [5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_ever_or_compacted_stays() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let kept = create_with(&broker, "kept", 1, &[("retention.ms", "-1")]).await;
    append_old(&broker, &kept, 100_000_000_000, 0..2).await;
    a_few_rounds().await;
    assert_eq!(rows(&rig, &kept).await, 2);
    let by_default = create(&broker, "default", 1).await;
    append_old(&broker, &by_default, 6 * 86_400_000, 0..2).await;
    append_old(&broker, &by_default, 8 * 86_400_000, 2..3).await;
    a_few_rounds().await;
    assert_eq!(rows(&rig, &by_default).await, 3, "seven days; the oldest range stands before those that are older");
    for (name, policy, left) in [("compacted", "compact", 1), ("both", "compact,delete", 0)] {
        let configs = [("cleanup.policy", policy), ("retention.ms", "1000"), ("retention.bytes", "0")];
        let topic = create_with(&broker, name, 1, &configs).await;
        let record =
            broker::NewRecord { key: Some("k".into()), value: None, timestamp: NOW - 10_000, headers: Vec::new() };
        let batch = broker::encode_batch(&[record], None).expect("encodes");
        broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
        a_few_rounds().await;
        assert_eq!(rows(&rig, &topic).await, left, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_whose_records_are_all_deleted_is_still_known() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
    for sequence in 0..3 {
        let batch = encode_at(NOW - 100_000, 1, Some((5, 0, sequence)));
        broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    }
    a_few_rounds().await;
    assert_eq!(rows(&rig, &topic).await, 0);
    drop(broker);
    let successor = rig.start_with(settings()).await;
    let again = append(&successor, &topic, 1, Some((5, 0, 2))).await.expect("acked");
    assert_eq!((again.base_offset, again.duplicate), (2, true));
    assert_eq!(append(&successor, &topic, 1, Some((5, 0, 3))).await.expect("acked").base_offset, 3);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_fails_or_loses_its_reply_is_repeated() {
    for point in [FailPoint::NotCommitted, FailPoint::CommittedReplyLost, FailPoint::DroppedReplyLost] {
        let rig = Rig::new();
        let broker = rig.start_with(settings()).await;
        let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
        append_old(&broker, &topic, 100_000, 0..3).await;
        rig.metadata.fail_next(point);
        a_few_rounds().await;
        assert_eq!((earliest(&broker, &topic).await, rows(&rig, &topic).await), (3, 0), "{point:?}");
        append_old(&broker, &topic, 0, 3..4).await;
        assert_eq!(offsets(&broker, &topic, 3).await, [3], "{point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn objects_without_records_are_deleted_after_their_grace() {
    let rig = Rig::new();
    let collecting =
        BrokerSettings { garbage_interval: Duration::from_secs(1), garbage_grace: Duration::ZERO, ..settings() };
    let broker = rig.start_with(collecting).await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
    append_old(&broker, &topic, 100_000, 0..3).await;
    append_old(&broker, &topic, 0, 3..4).await;
    a_few_rounds().await;
    let left = rig.store.list_with("org-1/").recursive(true).await.expect("listed");
    assert_eq!(left.iter().filter(|entry| entry.metadata().is_file()).count(), 1);
    assert_eq!(offsets(&broker, &topic, 3).await, [3]);
}

#[tokio::test(start_paused = true)]
async fn deletion_on_request_has_kafkas_answers() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    append_old(&broker, &topic, 0, 0..5).await;
    let delete = |topic_id, partition, offset| broker.delete_records(ORG, topic_id, partition, offset);
    assert_eq!(delete(topic.topic_id, 0, 2).await, Ok(2));
    assert_eq!(delete(topic.topic_id, 0, 1).await, Ok(2), "never backwards");
    assert!(is_out_of_range(fetch(&broker, &topic, 1, Duration::ZERO).await, 2));
    assert_eq!(offsets(&broker, &topic, 2).await, [2, 3, 4]);
    assert_eq!(delete(topic.topic_id, 0, 6).await, Err(DeleteRecordsError::OffsetOutOfRange));
    assert_eq!(delete(topic.topic_id, 0, -2).await, Err(DeleteRecordsError::OffsetOutOfRange));
    assert_eq!(delete(topic.topic_id, 1, 0).await, Err(DeleteRecordsError::UnknownTopicOrPartition));
    assert_eq!(delete(topic.topic_id, 0, -1).await, Ok(5));
    assert_eq!(rows(&rig, &topic).await, 0);
    append_old(&broker, &topic, 0, 5..6).await;
    assert_eq!(offsets(&broker, &topic, 5).await, [5]);
    let compacted = create_with(&broker, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    assert_eq!(delete(compacted.topic_id, 0, 0).await, Err(DeleteRecordsError::PolicyViolation));
}
