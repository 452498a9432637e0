//! Of each key the last record stays, where it was; whatever happens in between, a reader from the start finds the same state.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{
    Broker, BrokerSettings, ConfigChange, ConfigChanges, FetchError, FetchRequest, Fetched, ListOffsetsPartition,
    NewRecord, OffsetSpec, Topic, encode_batch,
};
use bytes::Bytes;
use metadata::{FailPoint, Segments, Sessions};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use segment::{Offset, PartitionKey};

use crate::rig::{NOW, ORG, Rig, batches, create_with, fetch, fetch_request, request, wanted};

pub(crate) const COMPACT: (&str, &str) = ("cleanup.policy", "compact");

pub(crate) fn settings() -> BrokerSettings {
    BrokerSettings {
        compaction_interval: Duration::from_secs(1),
        rewrite_bytes_per_second: 1 << 30,
        ..BrokerSettings::for_tests("a")
    }
}

/// Key, value.
pub(crate) type Entry<'a> = (&'a str, Option<&'a str>);
/// Offset, key, whether there is a value.
pub(crate) type Found = (Offset, String, bool);

fn encode(entries: &[Entry<'_>], timestamp: i64, producer: Option<(i64, i16, i32)>) -> Bytes {
    let record = |(key, value): &Entry<'_>| NewRecord {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        timestamp,
        headers: Vec::new(),
    };
    encode_batch(&entries.iter().map(record).collect::<Vec<_>>(), producer).expect("encodes")
}

/// Appends a batch to partition 0, in a range of its own.
pub(crate) async fn append(broker: &Broker, topic: &Topic, entries: &[Entry<'_>]) -> Offset {
    let placed = broker.append(request(topic, 0, encode(entries, NOW, None))).await.expect("placed");
    placed.acked().await.expect("acked").base_offset
}

/// The same, again and again while it is told that nothing was written.
async fn append_at_last(broker: &Broker, topic: &Topic, entries: &[Entry<'_>]) -> Offset {
    for _ in 0..1_000 {
        if let Ok(placed) = broker.append(request(topic, 0, encode(entries, NOW, None))).await
            && let Ok(appended) = placed.acked().await
        {
            return appended.base_offset;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("no ack after 1,000 attempts")
}

pub(crate) async fn a_few_rounds() {
    tokio::time::sleep(Duration::from_millis(3_500)).await;
}

pub(crate) fn key(topic: &Topic) -> PartitionKey {
    PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: 0 }
}

/// Base offsets of the ranges.
async fn ranges(rig: &Rig, topic: &Topic) -> Vec<Offset> {
    let rows = rig.metadata.ranges_from(key(topic), 0, 10_000).await.expect("memory answers");
    assert!(rows.windows(2).all(|pair| pair[0].next_offset == pair[1].base_offset), "no hole between ranges");
    rows.iter().map(|row| row.base_offset).collect()
}

/// A fetch of a consumer that asks for few bytes.
pub(crate) async fn fetch_few(
    broker: &Broker,
    topic: &Topic,
    rack: Option<&str>,
    offset: Offset,
) -> Result<Fetched, FetchError> {
    let few = fetch_request(vec![wanted(topic, 0, offset, 100)], 100, Duration::ZERO);
    let request = FetchRequest { rack: rack.map(str::to_owned), ..few };
    broker.fetch(request).await.remove(0).result
}

/// The records of an answer to a fetch from `offset`, and where it leads on to.
pub(crate) fn records_of(fetched: &Fetched, mut offset: Offset) -> (Vec<Found>, Offset) {
    let mut found = Vec::new();
    for (header, batch) in batches(fetched) {
        assert!(header.next_offset() > offset && header.record_count > 0, "each batch leads on");
        segment::visit_records(&batch, &header, |record| {
            let key = String::from_utf8(record.key.expect("a key").to_vec()).expect("text");
            if record.offset >= offset {
                found.push((record.offset, key, record.has_value));
            }
        })
        .expect("readable records");
        offset = header.next_offset();
    }
    (found, offset)
}

/// Every record from `offset` on, as a consumer of that rack finds them.
pub(crate) async fn read_as(broker: &Broker, topic: &Topic, rack: Option<&str>, mut offset: Offset) -> Vec<Found> {
    let mut found = Vec::new();
    loop {
        let fetched = fetch_few(broker, topic, rack, offset).await.expect("readable");
        let (records, next) = records_of(&fetched, offset);
        found.extend(records);
        offset = next;
        if offset == fetched.high_watermark {
            return found;
        }
        assert!(!fetched.records.is_empty(), "there is more after {offset}");
    }
}

/// The same at its leader.
async fn read_from(broker: &Broker, topic: &Topic, offset: Offset) -> Vec<Found> {
    read_as(broker, topic, None, offset).await
}

/// What an agent finds that has nothing in memory.
async fn stored(rig: &Rig, topic: &Topic) -> Vec<Found> {
    read_from(&rig.start().await, topic, 0).await
}

pub(crate) fn found(entries: &[(Offset, &str, bool)]) -> Vec<Found> {
    entries.iter().map(|(offset, key, has_value)| (*offset, (*key).to_owned(), *has_value)).collect()
}

async fn offset_of(broker: &Broker, topic: &Topic, spec: OffsetSpec) -> Offset {
    let wanted = ListOffsetsPartition { topic_id: topic.topic_id, partition: 0, current_leader_epoch: None, spec };
    broker.list_offsets(ORG, vec![wanted]).await.remove(0).expect("listed").offset
}

#[tokio::test(start_paused = true)]
async fn the_last_record_of_each_key_stays_at_its_offset() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    append(&broker, &topic, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]).await;
    append(&broker, &topic, &[("a", Some("2"))]).await;
    append(&broker, &topic, &[("b", Some("2")), ("a", Some("3"))]).await;
    append(&broker, &topic, &[("a", Some("4"))]).await;
    let before = broker.log_bytes(&topic, 0).await.expect("counted").expect("led");
    a_few_rounds().await;
    let left = found(&[(2, "c", true), (4, "b", true), (6, "a", true)]);
    let after = broker.log_bytes(&topic, 0).await.expect("counted").expect("led");
    assert_eq!(ranges(&rig, &topic).await, [0, 6], "what is next to each other became one");
    assert_eq!(read_from(&broker, &topic, 0).await, left, "nor is the rest in memory");
    drop(broker);
    let successor = rig.start().await;
    assert_eq!(read_from(&successor, &topic, 0).await, left);
    assert_eq!(successor.log_bytes(&topic, 0).await, Ok(Some(after)));
    assert!(after < before, "{after} of {before} bytes");
    for from in 0..=7 {
        let expected: Vec<_> = left.iter().filter(|(offset, ..)| *offset >= from).cloned().collect();
        assert_eq!(read_from(&successor, &topic, from).await, expected, "from {from}");
    }
    assert!(matches!(fetch(&successor, &topic, 8, Duration::ZERO).await, Err(FetchError::OffsetOutOfRange { .. })));
    assert_eq!(offset_of(&successor, &topic, OffsetSpec::Earliest).await, 0);
    assert_eq!(offset_of(&successor, &topic, OffsetSpec::Latest).await, 7);
    assert_eq!(offset_of(&successor, &topic, OffsetSpec::Timestamp(NOW)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_knew_the_ranges_before_finds_what_is_left() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    for value in ["1", "2", "3"] {
        append(&broker, &topic, &[("a", Some(value))]).await;
    }
    drop(broker);
    let broker = rig.start_with(settings()).await;
    fetch_few(&broker, &topic, None, 0).await.expect("from the store");
    append(&broker, &topic, &[("b", Some("1"))]).await;
    a_few_rounds().await;
    assert_eq!(read_from(&broker, &topic, 0).await, found(&[(2, "a", true), (3, "b", true)]));
}

#[tokio::test(start_paused = true)]
async fn the_newest_range_stays_and_its_keys_count() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    append(&broker, &topic, &[("a", Some("1"))]).await;
    append(&broker, &topic, &[("a", Some("2")), ("a", Some("3"))]).await;
    a_few_rounds().await;
    let bytes = broker.log_bytes(&topic, 0).await.expect("counted");
    a_few_rounds().await;
    assert_eq!(broker.log_bytes(&topic, 0).await, Ok(bytes), "nothing is new");
    assert_eq!(ranges(&rig, &topic).await, [0, 1], "a range without records covers its offsets");
    let object = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0).object_key;
    append(&broker, &topic, &[("b", Some("1"))]).await;
    a_few_rounds().await;
    let now = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0);
    assert_eq!((now.object_key == object, now.next_offset), (true, 1), "and is not written again");
    drop(broker);
    assert_eq!(stored(&rig, &topic).await, found(&[(2, "a", true), (3, "b", true)]));
}

#[tokio::test(start_paused = true)]
async fn other_topics_stay_as_they_are_until_they_are_compacted() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[]).await;
    let nobody = NewRecord { key: None, value: Some("v".into()), timestamp: NOW, headers: Vec::new() };
    let batch = encode_batch(&[nobody], None).expect("encodes");
    broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    for value in ["1", "2", "3"] {
        append(&broker, &topic, &[("a", Some(value))]).await;
    }
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, [0, 1, 2, 3]);
    compact_from_now_on(&broker, &topic).await;
    a_few_rounds().await;
    drop(broker);
    assert_eq!(stored(&rig, &topic).await, found(&[(3, "a", true)]), "records without a key go, as in Kafka");
}

async fn compact_from_now_on(broker: &Broker, topic: &Topic) {
    let set = ConfigChange::Set("compact".to_owned());
    let changes = ConfigChanges::Each(vec![("cleanup.policy".to_owned(), set)]);
    broker.alter_topic_configs(ORG, topic.topic_id, changes, false).await.expect("altered");
}

#[tokio::test(start_paused = true)]
async fn tombstones_stay_for_their_time_and_then_go() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let configs = [COMPACT, ("delete.retention.ms", "5000"), ("min.cleanable.dirty.ratio", "0")];
    let topic = create_with(&broker, "t", 1, &configs).await;
    append(&broker, &topic, &[("a", Some("1")), ("b", Some("1"))]).await;
    append(&broker, &topic, &[("a", None)]).await;
    append(&broker, &topic, &[("c", Some("1"))]).await;
    a_few_rounds().await;
    append(&broker, &topic, &[("c", Some("2"))]).await;
    a_few_rounds().await;
    drop(broker);
    let left = [(1, "b", true), (2, "a", false), (4, "c", true)];
    assert_eq!(stored(&rig, &topic).await, found(&left), "cleaned twice, within its time");
    // The database's clock stands still: with each session the time begins anew.
    let broker = rig.start_with(settings()).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    append(&broker, &topic, &[("c", Some("3"))]).await;
    a_few_rounds().await;
    drop(broker);
    assert_eq!(stored(&rig, &topic).await, found(&[(1, "b", true), (5, "c", true)]));
}

#[tokio::test(start_paused = true)]
async fn a_log_waits_until_enough_of_it_is_dirty_or_old() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let ratio = create_with(&broker, "ratio", 1, &[COMPACT, ("min.cleanable.dirty.ratio", "1")]).await;
    let lag = [COMPACT, ("min.cleanable.dirty.ratio", "1"), ("max.compaction.lag.ms", "5000")];
    let lag = create_with(&broker, "lag", 1, &lag).await;
    let young = create_with(&broker, "young", 1, &[COMPACT, ("min.compaction.lag.ms", "5000")]).await;
    for topic in [&ratio, &lag, &young] {
        for value in ["1", "2", "3"] {
            append(&broker, topic, &[("a", Some(value))]).await;
        }
    }
    a_few_rounds().await;
    for topic in [&ratio, &lag, &young] {
        assert_eq!(ranges(&rig, topic).await, [0, 1, 2]);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ranges(&rig, &ratio).await, [0, 1, 2]);
    assert_eq!(ranges(&rig, &lag).await, [0, 2]);
    assert_eq!(ranges(&rig, &young).await, [0, 2]);
    // What is younger than the lag stays, and so does what it would replace.
    let placed =
        broker.append(request(&young, 0, encode(&[("a", Some("4"))], NOW + 15_000, None))).await.expect("placed");
    placed.acked().await.expect("acked");
    append(&broker, &young, &[("a", Some("5"))]).await;
    a_few_rounds().await;
    drop(broker);
    assert_eq!(stored(&rig, &young).await, found(&[(2, "a", true), (3, "a", true), (4, "a", true)]));
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_fails_or_loses_its_reply_is_made_up_for() {
    for points in [
        vec![FailPoint::NotCommitted],
        vec![FailPoint::CommittedReplyLost],
        vec![FailPoint::DroppedReplyLost],
        vec![FailPoint::DroppedReplyLost, FailPoint::CommittedReplyLost],
    ] {
        let rig = Rig::new();
        let broker = rig.start_with(settings()).await;
        let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
        for value in ["1", "2", "3"] {
            append(&broker, &topic, &[("a", Some(value)), (value, None)]).await;
        }
        // The object is there, its swap is not: the gate holds the write until the trouble is set up.
        rig.gate.hold_writes();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        points.iter().for_each(|point| rig.metadata.fail_next(*point));
        rig.gate.open_wide();
        tokio::time::sleep(Duration::from_secs(15)).await;
        append(&broker, &topic, &[("a", Some("4"))]).await;
        a_few_rounds().await;
        drop(broker);
        let left = [(1, "1", false), (3, "2", false), (5, "3", false), (6, "a", true)];
        assert_eq!(stored(&rig, &topic).await, found(&left), "{points:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_leaves_the_log_as_it_was_and_its_successor_goes_on() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    for value in ["1", "2", "3"] {
        append(&broker, &topic, &[("a", Some(value))]).await;
    }
    rig.gate.hold_writes();
    let successor = rig.fence_while_it_writes().await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, [0, 1, 2]);
    assert_eq!(read_from(&successor, &topic, 0).await.len(), 3);
    let left = rig.store.list_with("org-1/data/").recursive(true).await.expect("listed");
    assert!(left.iter().all(|entry| entry.metadata().is_dir()), "{left:?}");
    drop((broker, successor));
    let successor = rig.start_with(settings()).await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, [0, 2]);
    drop(successor);
    assert_eq!(stored(&rig, &topic).await, found(&[(2, "a", true)]));
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_knows_how_far_the_log_is_clean() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    for value in ["1", "2", "3"] {
        append(&broker, &topic, &[("a", Some(value)), (value, Some("v"))]).await;
    }
    a_few_rounds().await;
    let session = broker.session();
    let held = rig.metadata.held_leases(session, &[key(&topic)]).await.expect("memory answers");
    assert_eq!(held[0].cleaned_offset, 4);
    drop(broker);
    let object = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0).object_key;
    let successor = rig.start_with(settings()).await;
    a_few_rounds().await;
    let now = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0).object_key;
    assert_eq!(object, now, "what is clean is not written again");
    append(&successor, &topic, &[("1", Some("w"))]).await;
    append(&successor, &topic, &[("2", Some("w"))]).await;
    append(&successor, &topic, &[("3", Some("w"))]).await;
    a_few_rounds().await;
    drop(successor);
    let left = [(4, "a", true), (6, "1", true), (7, "2", true), (8, "3", true)];
    assert_eq!(stored(&rig, &topic).await, found(&left), "across two leaders' epochs");
}

#[tokio::test(start_paused = true)]
async fn a_producer_is_known_by_what_is_not_there_any_more() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[COMPACT]).await;
    for sequence in 0..3 {
        let batch = encode(&[("a", Some("1"))], NOW, Some((5, 0, sequence)));
        broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    }
    append(&broker, &topic, &[("a", Some("2"))]).await;
    a_few_rounds().await;
    drop(broker);
    assert_eq!(stored(&rig, &topic).await, found(&[(3, "a", true)]));
    let successor = rig.start().await;
    let send = async |sequence| {
        let batch = encode(&[("a", Some("1"))], NOW, Some((5, 0, sequence)));
        successor.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked")
    };
    let again = send(2).await;
    assert_eq!((again.base_offset, again.duplicate), (2, true));
    assert_eq!(send(3).await.base_offset, 4);
}

#[tokio::test(start_paused = true)]
async fn small_logs_share_an_object() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topics = [create_with(&broker, "t", 1, &[COMPACT]).await, create_with(&broker, "u", 1, &[COMPACT]).await];
    for topic in &topics {
        for value in ["1", "2", "3"] {
            append(&broker, topic, &[("a", Some(value)), (value, Some("v"))]).await;
        }
    }
    a_few_rounds().await;
    let mut objects = Vec::new();
    for topic in &topics {
        objects.push(rig.metadata.ranges_from(key(topic), 0, 1).await.expect("memory answers").remove(0).object_key);
    }
    assert_eq!(objects[0], objects[1]);
    drop(broker);
    for topic in &topics {
        assert_eq!(stored(&rig, topic).await.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn with_delete_retention_applies_too() {
    let rig = Rig::new();
    let broker = rig.start_with(BrokerSettings { retention_interval: Duration::from_secs(1), ..settings() }).await;
    let configs = [("cleanup.policy", "compact,delete"), ("retention.ms", "60000")];
    let topic = create_with(&broker, "t", 1, &configs).await;
    for (key, age) in [("a", 100_000), ("b", 100_000), ("a", 0), ("a", 0), ("c", 0)] {
        let batch = encode(&[(key, Some("1"))], NOW - age, None);
        broker.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    }
    a_few_rounds().await;
    let start = offset_of(&broker, &topic, OffsetSpec::Earliest).await;
    assert_eq!(start, 2, "what is old is gone, whatever its key");
    assert_eq!(broker.delete_records(ORG, topic.topic_id, 0, 3).await, Ok(3));
    drop(broker);
    let successor = rig.start().await;
    assert_eq!(read_from(&successor, &topic, 3).await, found(&[(3, "a", true), (4, "c", true)]));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_deleted_meanwhile_do_not_come_back() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create_with(&broker, "t", 1, &[("cleanup.policy", "compact,delete")]).await;
    for value in ["1", "2", "3", "4"] {
        append(&broker, &topic, &[("a", Some(value)), (value, Some("v"))]).await;
    }
    rig.gate.hold_writes();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(broker.delete_records(ORG, topic.topic_id, 0, 3).await, Ok(3));
    rig.gate.open_wide();
    a_few_rounds().await;
    append(&broker, &topic, &[("a", Some("5"))]).await;
    a_few_rounds().await;
    drop(broker);
    let successor = rig.start().await;
    let left = [(3, "2", true), (5, "3", true), (7, "4", true), (8, "a", true)];
    assert_eq!(read_from(&successor, &topic, 3).await, found(&left));
    assert_eq!(offset_of(&successor, &topic, OffsetSpec::Earliest).await, 3);
}

/// Appends, passes, rewrites, lost replies and restarts in random order: the state that the log tells is that of all that was acked.
#[tokio::test(start_paused = true)]
async fn random_histories_tell_the_same_state() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rig = Rig::new();
        let settings = BrokerSettings {
            compaction_interval: Duration::from_millis(300),
            rewrite_bytes: 1,
            rewrite_age: Duration::from_millis(200),
            garbage_interval: Duration::from_millis(500),
            garbage_grace: Duration::ZERO,
            memory_bytes: 64 << 10,
            ..settings()
        };
        let mut broker = rig.start_with(settings.clone()).await;
        let configs = [COMPACT, ("delete.retention.ms", "2000"), ("min.cleanable.dirty.ratio", "0.1")];
        let topic = create_with(&broker, "t", 1, &configs).await;
        let (mut state, mut appended) = (BTreeMap::new(), Vec::new());
        for _ in 0..60 {
            match rng.random_range(0..10) {
                0 => {
                    let points = [FailPoint::NotCommitted, FailPoint::CommittedReplyLost, FailPoint::DroppedReplyLost];
                    rig.metadata.fail_next(points[rng.random_range(0..3)]);
                    tokio::time::sleep(Duration::from_millis(700)).await;
                }
                1 => {
                    drop(broker);
                    broker = rig.start_with(settings.clone()).await;
                }
                2..4 => tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_500))).await,
                _ => {
                    let keys: Vec<String> =
                        (0..rng.random_range(1..6)).map(|_| rng.random_range(0..12).to_string()).collect();
                    let entries: Vec<Entry<'_>> =
                        keys.iter().map(|key| (key.as_str(), rng.random_bool(0.7).then_some("value"))).collect();
                    let base = append_at_last(&broker, &topic, &entries).await;
                    for (offset, (key, value)) in (base..).zip(&entries) {
                        appended.push((offset, (*key).to_owned(), value.is_some()));
                        match value {
                            Some(_) => state.insert((*key).to_owned(), offset),
                            None => state.remove(*key),
                        };
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(broker);
        let found = stored(&rig, &topic).await;
        let mut told = BTreeMap::new();
        for (offset, key, has_value) in &found {
            match has_value {
                true => told.insert(key.clone(), *offset),
                false => told.remove(key),
            };
        }
        assert_eq!(told, state, "seed {seed}");
        assert!(found.iter().all(|record| appended.contains(record)), "seed {seed}: nothing moves");
        assert!(found.is_sorted(), "seed {seed}");
        assert!(found.len() < appended.len() / 2, "seed {seed}: {} of {} are left", found.len(), appended.len());
    }
}
