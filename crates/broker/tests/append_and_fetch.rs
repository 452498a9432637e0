//! The broker as its gateways use it, over the in-memory metadata model and OpenDAL's memory service.

use std::sync::Arc;
use std::time::Duration;

use broker::{
    AppendError, AppendRequest, Appended, Broker, BrokerSettings, CreateTopic, FetchError, FetchPartition,
    FetchRequest, Fetched, IsolationLevel, ListOffsetsPartition, Metrics, NewRecord, OffsetSpec, OrganizationId, Topic,
    encode_batch,
};
use bytes::Bytes;
use metadata::MemoryStore;
use opendal::Operator;
use opendal::services::Memory;

const ORG: OrganizationId = OrganizationId::DEFAULT;

async fn start() -> Broker {
    start_with(BrokerSettings::for_tests("a")).await
}

async fn start_with(settings: BrokerSettings) -> Broker {
    let metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || 1_700_000_000_000));
    let store = Operator::new(Memory::default()).expect("memory store");
    Broker::start(settings, metadata, store, Arc::new(Metrics::default()), 1).await.expect("broker starts")
}

async fn create(broker: &Broker, name: &str, partitions: i32) -> Arc<Topic> {
    let request = CreateTopic {
        organization: ORG,
        name: name.to_owned(),
        partition_count: partitions,
        replication_factor: -1,
        configs: Vec::new(),
        validate_only: false,
    };
    broker.create_topic(request).await.expect("topic is created")
}

fn records(values: &[&str]) -> Vec<NewRecord> {
    let record = |value: &&str| NewRecord {
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        timestamp: 1_700_000_000_000,
        headers: Vec::new(),
    };
    values.iter().map(record).collect()
}

fn request(topic: &Topic, partition: i32, batch: Bytes) -> AppendRequest {
    AppendRequest {
        organization: ORG,
        topic_id: topic.topic_id,
        partition,
        batch,
        zstd_allowed: true,
        expected_base_offset: None,
        permit: None,
        timeout: Duration::from_secs(30),
    }
}

async fn append(
    broker: &Broker,
    topic: &Topic,
    values: &[&str],
    producer: Option<(i64, i16, i32)>,
) -> Result<Appended, AppendError> {
    let batch = encode_batch(&records(values), producer).expect("encodes");
    broker.append(request(topic, 0, batch)).await?.acked().await
}

async fn fetch(broker: &Broker, topic: &Topic, offset: i64, max_wait: Duration) -> Result<Fetched, FetchError> {
    fetch_bounded(broker, topic, offset, max_wait, 1 << 20).await
}

async fn fetch_bounded(
    broker: &Broker,
    topic: &Topic,
    offset: i64,
    max_wait: Duration,
    max_bytes: usize,
) -> Result<Fetched, FetchError> {
    let partition = FetchPartition {
        topic_id: topic.topic_id,
        partition: 0,
        fetch_offset: offset,
        max_bytes,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    let request = FetchRequest {
        organization: ORG,
        max_wait,
        min_bytes: 1,
        max_bytes,
        isolation: IsolationLevel::ReadUncommitted,
        rack: None,
        partitions: vec![partition],
    };
    broker.fetch(request).await.remove(0).result
}

#[tokio::test]
async fn records_come_back_at_the_offsets_that_were_acked() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    assert_eq!(append(&broker, &topic, &["a", "b"], None).await.expect("acked").base_offset, 0);
    let second = append(&broker, &topic, &["c"], None).await.expect("acked");
    assert_eq!(second.base_offset, 2);
    assert!(second.receipt.expect("receipt").object_key.starts_with("org-"));
    let fetched = fetch(&broker, &topic, 0, Duration::ZERO).await.expect("fetched");
    assert_eq!(fetched.high_watermark, 3);
    assert_eq!(fetched.records.iter().map(Bytes::len).sum::<usize>(), fetched.record_bytes);
    let rest = fetch(&broker, &topic, 2, Duration::ZERO).await.expect("fetched");
    assert!(rest.record_bytes < fetched.record_bytes && rest.record_bytes > 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_on_the_commit_and_not_on_its_time_out() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let waiting = tokio::spawn({
        let (broker, topic) = (broker.clone(), Arc::clone(&topic));
        async move {
            let started = tokio::time::Instant::now();
            let fetched = fetch(&broker, &topic, 0, Duration::from_secs(300)).await.expect("fetched");
            (fetched.record_bytes, started.elapsed())
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    append(&broker, &topic, &["a"], None).await.expect("acked");
    let (bytes, waited) = waiting.await.expect("joins");
    assert!(bytes > 0);
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn a_duplicate_gets_the_first_offset_and_writes_nothing() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let (id, epoch) = broker.init_producer_id().await.expect("producer id");
    for sequence in 0..7 {
        let appended = append(&broker, &topic, &["a"], Some((id, epoch, sequence))).await.expect("acked");
        assert_eq!((appended.base_offset, appended.duplicate), (i64::from(sequence), false));
    }
    let again = append(&broker, &topic, &["a"], Some((id, epoch, 4))).await.expect("acked");
    assert_eq!((again.base_offset, again.duplicate), (4, true));
    let forgotten = append(&broker, &topic, &["a"], Some((id, epoch, 1))).await;
    assert!(matches!(forgotten, Err(AppendError::OutOfOrderSequence { got: 1, expected: 7 })), "{forgotten:?}");
    let gap = append(&broker, &topic, &["a"], Some((id, epoch, 9))).await;
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { got: 9, expected: 7 })), "{gap:?}");
    assert_eq!(append(&broker, &topic, &["a"], Some((id, epoch + 1, 0))).await.expect("acked").base_offset, 7);
    let old = append(&broker, &topic, &["a"], Some((id, epoch, 7))).await;
    assert!(matches!(old, Err(AppendError::InvalidProducerEpoch)), "{old:?}");
}

#[tokio::test]
async fn a_duplicate_of_a_batch_in_flight_shares_its_fate() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let batch = encode_batch(&records(&["a"]), Some((5, 0, 0))).expect("encodes");
    let first = broker.append(request(&topic, 0, batch.clone())).await.expect("placed");
    let second = broker.append(request(&topic, 0, batch)).await.expect("placed");
    assert_eq!(second.proposed_base_offset(), Some(0));
    assert!(!first.acked().await.expect("acked").duplicate);
    let second = second.acked().await.expect("acked");
    assert_eq!((second.base_offset, second.duplicate), (0, true));
}

#[tokio::test]
async fn a_conditional_append_is_refused_unless_the_log_ends_there() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let conditional = |expected| {
        let batch = encode_batch(&records(&["a"]), None).expect("encodes");
        let request = AppendRequest { expected_base_offset: Some(expected), ..request(&topic, 0, batch) };
        let broker = broker.clone();
        async move { broker.append(request).await?.acked().await }
    };
    assert_eq!(conditional(0).await.expect("acked").base_offset, 0);
    assert!(matches!(conditional(0).await, Err(AppendError::UnexpectedOffset { expected: 0, end: 1 })));
    assert_eq!(conditional(1).await.expect("acked").base_offset, 1);
}

#[tokio::test]
async fn old_records_are_read_from_the_object_store() {
    let broker = start_with(BrokerSettings { memory_bytes: 8 * 1024, ..BrokerSettings::for_tests("a") }).await;
    let topic = create(&broker, "t", 1).await;
    for number in 0..50 {
        append(&broker, &topic, &[&format!("value {number}")], None).await.expect("acked");
    }
    // With so little memory an answer holds a few of them.
    let mut offset = 0;
    while offset < 50 {
        let some = fetch(&broker, &topic, offset, Duration::ZERO).await.expect("fetched");
        assert!(!some.records.is_empty(), "nothing from {offset} on");
        let bytes = Bytes::from(some.records.concat());
        for batch in segment::slice_batches(&bytes) {
            let (header, _) = batch.expect("a batch");
            assert_eq!(header.base_offset, offset);
            offset = header.next_offset();
        }
    }
    assert_eq!(offset, 50);
}

#[tokio::test]
async fn the_first_batch_is_returned_even_if_it_is_larger_than_asked() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    append(&broker, &topic, &["a large value", "another"], None).await.expect("acked");
    append(&broker, &topic, &["b"], None).await.expect("acked");
    let fetched = fetch_bounded(&broker, &topic, 0, Duration::ZERO, 10).await.expect("fetched");
    let bytes = Bytes::from(fetched.records.concat());
    let batches: Vec<_> = segment::slice_batches(&bytes).collect::<Result<_, _>>().expect("whole batches");
    assert_eq!(batches.len(), 1);
}

#[tokio::test]
async fn offsets_beyond_the_end_are_out_of_range_and_foreign_topics_unknown() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let beyond = fetch(&broker, &topic, 1, Duration::ZERO).await;
    assert!(matches!(beyond, Err(FetchError::OffsetOutOfRange { log_start_offset: 0 })), "{beyond:?}");
    broker.delete_topic(ORG, topic.topic_id).await.expect("deleted");
    assert!(matches!(fetch(&broker, &topic, 0, Duration::ZERO).await, Err(FetchError::UnknownTopic)));
    assert!(matches!(append(&broker, &topic, &["a"], None).await, Err(AppendError::UnknownTopic)));
    let again = create(&broker, "t", 1).await;
    assert_ne!(again.topic_id, topic.topic_id);
    let epoch = broker.partitions(&again)[0].leader_epoch;
    assert!(epoch > 0, "a recreated name starts above the old leader epoch: {epoch}");
}

#[tokio::test]
async fn offsets_are_found_by_position_and_by_time() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    for (value, timestamp) in [("a", 1_699_999_990_000), ("b", 1_699_999_999_000), ("c", 1_699_999_995_000)] {
        let mut records = records(&[value]);
        records[0].timestamp = timestamp;
        let batch = encode_batch(&records, None).expect("encodes");
        broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    }
    let specs = [
        (OffsetSpec::Earliest, (0, -1)),
        (OffsetSpec::Latest, (3, -1)),
        (OffsetSpec::MaxTimestamp, (1, 1_699_999_999_000)),
        (OffsetSpec::LatestTiered, (-1, -1)),
        (OffsetSpec::Timestamp(1_699_999_990_001), (1, 1_699_999_999_000)),
        (OffsetSpec::Timestamp(1_699_999_999_001), (-1, -1)),
    ];
    for (spec, expected) in specs {
        let wanted = ListOffsetsPartition { topic_id: topic.topic_id, partition: 0, current_leader_epoch: None, spec };
        let found = broker.list_offsets(ORG, vec![wanted]).await.remove(0).expect("found");
        assert_eq!((found.offset, found.timestamp), expected, "{spec:?}");
    }
    assert_eq!(broker.offset_for_leader_epoch(ORG, topic.topic_id, 0, None, 0).await.expect("found"), (0, 3));
    assert_eq!(broker.offset_for_leader_epoch(ORG, topic.topic_id, 0, None, 5).await.expect("found"), (-1, -1));
}

#[tokio::test]
async fn a_drained_broker_has_answered_everything_and_takes_no_more() {
    let broker = start().await;
    let topic = create(&broker, "t", 1).await;
    let batch = encode_batch(&records(&["a"]), None).expect("encodes");
    let pending = broker.append(request(&topic, 0, batch)).await.expect("placed");
    broker.drain().await;
    assert_eq!(pending.acked().await.expect("acked").base_offset, 0);
    let late = append(&broker, &topic, &["b"], None).await;
    assert!(matches!(late, Err(AppendError::Draining | AppendError::NotLeader)), "{late:?}");
}

#[tokio::test]
async fn one_fetch_reads_a_bounded_amount_from_the_store() {
    let broker = start_with(BrokerSettings { memory_bytes: 16 << 20, ..BrokerSettings::for_tests("a") }).await;
    let topic = create(&broker, "t", 1).await;
    let value = "x".repeat(900_000);
    for _ in 0..12 {
        append(&broker, &topic, &[&value], None).await.expect("acked");
    }
    let (mut offset, mut fetches) = (0, 0);
    while offset < 12 {
        let fetched = fetch_bounded(&broker, &topic, offset, Duration::ZERO, 50 << 20).await.expect("fetched");
        assert!((1..=8 << 20).contains(&fetched.record_bytes), "{}", fetched.record_bytes);
        offset += i64::try_from(fetched.record_bytes / 900_000).expect("small");
        fetches += 1;
    }
    assert!(fetches >= 2, "12 batches of 900 kB do not fit one fetch");
}
