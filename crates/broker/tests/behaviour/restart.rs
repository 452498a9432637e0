//! What a restart finds: every record, every producer, in memory's model and in a SQLite file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, Broker, BrokerSettings, Metrics};
use metadata::{MetadataStore, Segments, SqliteOptions, SqliteStore};
use opendal::Operator;
use opendal::services::Memory;
use segment::PartitionKey;

use crate::rig::{NOW, ORG, Rig, append, create, encode_at, place, read_all, request};

#[tokio::test(start_paused = true)]
async fn producers_are_rebuilt_from_a_snapshot_and_the_ranges_after_it() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    append(&first, &topic, 0, Some((4, 2, 0))).await.expect("acked");
    for sequence in 0..1_050 {
        append(&first, &topic, 0, Some((5, 0, sequence))).await.expect("acked");
    }
    let key = PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: 0 };
    let history = rig.metadata.producer_history(key).await.expect("read");
    assert_eq!(history.snapshot.map(|(as_of, _)| as_of), Some(1_000));
    assert_eq!(history.ranges_since_snapshot, 51);
    first.drain().await;
    let broker = rig.start().await;
    let early = append(&broker, &topic, 0, Some((4, 2, 0))).await.expect("recognised from the snapshot");
    assert_eq!((early.base_offset, early.duplicate), (0, true));
    let late = append(&broker, &topic, 0, Some((5, 0, 1_046))).await.expect("recognised from a range");
    assert_eq!((late.base_offset, late.duplicate), (1_047, true));
    let fenced = append(&broker, &topic, 0, Some((4, 1, 0))).await;
    assert!(matches!(fenced, Err(AppendError::InvalidProducerEpoch)), "{fenced:?}");
    let gap = append(&broker, &topic, 0, Some((5, 0, 1_051))).await;
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { expected: 1_050, .. })), "{gap:?}");
    assert_eq!(append(&broker, &topic, 0, Some((5, 0, 1_050))).await.expect("acked").base_offset, 1_051);
    // The count of ranges went on: the next snapshot comes 1,000 after the last.
    for sequence in 1_051..2_001 {
        append(&broker, &topic, 0, Some((5, 0, sequence))).await.expect("acked");
    }
    let history = rig.metadata.producer_history(key).await.expect("read");
    assert_eq!(history.snapshot.map(|(as_of, _)| as_of), Some(2_000));
}

#[tokio::test(start_paused = true)]
async fn a_producer_of_old_records_is_still_known_an_hour_after_a_restart() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    let old = |sequence| request(&topic, 0, encode_at(NOW - 7 * 86_400_000, 1, Some((5, 0, sequence))));
    for sequence in 0..2 {
        first.append(old(sequence)).await.expect("placed").acked().await.expect("acked");
    }
    first.drain().await;
    let broker = rig.start().await;
    assert!(broker.append(old(1)).await.expect("placed").acked().await.expect("acked").duplicate);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let again = broker.append(old(1)).await.expect("placed").acked().await.expect("acked");
    assert!(again.duplicate, "only producer.id.expiration.ms after its last append it is forgotten");
}

async fn open(path: &Path) -> Arc<SqliteStore> {
    let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(7) };
    Arc::new(SqliteStore::open(path, options).await.expect("opens"))
}

async fn start(metadata: &Arc<SqliteStore>, store: &Operator, agent_id: &str) -> Broker {
    let settings = BrokerSettings::for_tests(agent_id);
    let metadata = Arc::clone(metadata) as Arc<dyn MetadataStore>;
    Broker::start(settings, metadata, store.clone(), Arc::new(Metrics::default()), 1).await.expect("starts")
}

#[tokio::test]
async fn a_sqlite_file_closed_and_opened_again_gives_back_every_record_and_producer() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("metadata.db");
    let store = Operator::new(Memory::default()).expect("memory store");
    let metadata = open(&path).await;
    let broker = start(&metadata, &store, "a").await;
    let topic = create(&broker, "t", 2).await;
    for sequence in 0..20 {
        append(&broker, &topic, 100, Some((5, 0, sequence))).await.expect("acked");
    }
    let in_flight = place(&broker, &topic, 101, Some((5, 0, 20))).await;
    broker.drain().await;
    assert_eq!(in_flight.acked().await.expect("flushed by the drain").base_offset, 20);
    drop(broker);
    metadata.close().await;

    let metadata = open(&path).await;
    let broker = start(&metadata, &store, "a").await;
    let found = broker.topic(ORG, "t").expect("still there");
    assert_eq!((found.topic_id, found.partition_count), (topic.topic_id, 2));
    assert_eq!(read_all(&broker, &topic, 0).await.len(), 21);
    let again = append(&broker, &topic, 101, Some((5, 0, 20))).await.expect("recognised");
    assert_eq!((again.base_offset, again.duplicate), (20, true));
    assert_eq!(append(&broker, &topic, 102, Some((5, 0, 21))).await.expect("acked").base_offset, 21);
    broker.drain().await;
    metadata.close().await;
}

#[tokio::test]
async fn a_killed_agent_is_succeeded_under_any_agent_id() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("metadata.db");
    let store = Operator::new(Memory::default()).expect("memory store");
    let metadata = open(&path).await;
    let broker = start(&metadata, &store, "one host name").await;
    let topic = create(&broker, "t", 1).await;
    append(&broker, &topic, 1, None).await.expect("acked");
    // Killed: the session is not closed. The next container has another host name.
    metadata.close().await;
    let metadata = open(&path).await;
    let successor = start(&metadata, &store, "another host name").await;
    assert_eq!(successor.readiness().await, Ok(()));
    assert_eq!(append(&successor, &topic, 2, None).await.expect("acked").base_offset, 1);
    metadata.close().await;
}

#[tokio::test]
async fn a_drained_broker_leaves_a_note_of_its_progress_that_guards_against_an_older_database() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("metadata.db");
    let store = Operator::new(Memory::default()).expect("memory store");
    let metadata = open(&path).await;
    let broker = start(&metadata, &store, "a").await;
    let topic = create(&broker, "t", 1).await;
    metadata.close().await;
    let backup = std::fs::read(&path).expect("read");
    drop(broker);

    let metadata = open(&path).await;
    let broker = start(&metadata, &store, "a").await;
    append(&broker, &topic, 1, None).await.expect("acked");
    broker.drain().await;
    metadata.close().await;
    std::fs::write(&path, backup).expect("restored");

    let metadata = open(&path).await;
    let shared = Arc::clone(&metadata) as Arc<dyn MetadataStore>;
    let started =
        Broker::start(BrokerSettings::for_tests("a"), shared, store.clone(), Arc::new(Metrics::default()), 1).await;
    let refusal = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refusal.contains("older than the object store"), "{refusal}");
    metadata.close().await;
}
