//! Small ranges become large ones in the background: whatever happens in between, every record stays where it is.

use std::time::Duration;

use broker::{Broker, BrokerSettings, Topic};
use metadata::{FailPoint, Segments};
use segment::{ObjectKey, ObjectPurpose, PartitionKey};

use crate::gated_store::Gate;
use crate::rig::{ORG, Rig, append, batch, batches, create, fetch_request, read_all, request, wanted};

fn settings() -> BrokerSettings {
    BrokerSettings {
        rewrite_bytes: 1,
        rewrite_age: Duration::from_millis(500),
        rewrite_bytes_per_second: 1 << 30,
        ..BrokerSettings::for_tests("a")
    }
}

/// Appends values to partition 0, each in a range of its own.
async fn append_each(broker: &Broker, topic: &Topic, values: std::ops::Range<u64>) {
    for value in values {
        append(broker, topic, value, None).await.expect("acked");
    }
}

async fn a_few_rounds() {
    tokio::time::sleep(Duration::from_millis(3_500)).await;
}

fn key(topic: &Topic) -> PartitionKey {
    PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: 0 }
}

/// How many ranges a partition has: of rewritten objects, and of others.
async fn ranges(rig: &Rig, topic: &Topic) -> (usize, usize) {
    let rows = rig.metadata.ranges_from(key(topic), 0, 10_000).await.expect("memory answers");
    let is_rewritten = |key: &str| ObjectKey::parse(key).expect("a key").purpose == ObjectPurpose::Data;
    let rewritten = rows.iter().filter(|row| is_rewritten(&row.object_key)).count();
    (rewritten, rows.len() - rewritten)
}

async fn values(broker: &Broker, topic: &Topic) -> Vec<u64> {
    read_all(broker, topic, 0).await.into_values().collect()
}

#[tokio::test(start_paused = true)]
async fn many_small_ranges_become_one_and_read_as_before() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, (1, 1), "all but the newest");
    assert_eq!(values(&broker, &topic).await, Vec::from_iter(0..20));
    drop(broker);
    // From the store, by an agent that had none of it in memory.
    let successor = rig.start_with(BrokerSettings::for_tests("a")).await;
    assert_eq!(values(&successor, &topic).await, Vec::from_iter(0..20));
    append_each(&successor, &topic, 20..22).await;
    assert_eq!(values(&successor, &topic).await, Vec::from_iter(0..22));
}

#[tokio::test(start_paused = true)]
async fn off_is_off() {
    let rig = Rig::new();
    let broker = rig.start_with(BrokerSettings { rewrite_bytes_per_second: 0, ..settings() }).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_rewrites_what_the_former_left_and_never_across_their_epochs() {
    let rig = Rig::new();
    let broker = rig.start_with(BrokerSettings::for_tests("a")).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..10).await;
    drop(broker);
    let successor = rig.start_with(settings()).await;
    append_each(&successor, &topic, 10..20).await;
    a_few_rounds().await;
    let rows = rig.metadata.ranges_from(key(&topic), 0, 10_000).await.expect("memory answers");
    let found: Vec<_> = rows.iter().map(|row| (row.base_offset, row.next_offset)).collect();
    assert_eq!(found, [(0, 10), (10, 19), (19, 20)]);
    assert!(rows[0].leader_epoch < rows[1].leader_epoch);
    assert_eq!(values(&successor, &topic).await, Vec::from_iter(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_producer_is_known_by_what_was_rewritten() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    for sequence in 0..8 {
        append(&broker, &topic, 7, Some((5, 0, sequence))).await.expect("acked");
    }
    append(&broker, &topic, 8, None).await.expect("acked");
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, (1, 1));
    drop(broker);
    let successor = rig.start().await;
    let again = append(&successor, &topic, 7, Some((5, 0, 7))).await.expect("acked");
    assert_eq!((again.base_offset, again.duplicate), (7, true));
    assert_eq!(append(&successor, &topic, 9, Some((5, 0, 8))).await.expect("acked").base_offset, 9);
}

#[tokio::test(start_paused = true)]
async fn partitions_with_few_bytes_share_an_object() {
    let rig = Rig::new();
    let broker = rig.start_with(BrokerSettings { rewrite_bytes: 1 << 20, ..settings() }).await;
    let topics = [create(&broker, "t", 1).await, create(&broker, "u", 1).await];
    for value in 0..260 {
        for topic in &topics {
            append(&broker, topic, value, None).await.expect("acked");
        }
    }
    // They wait longer.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut objects = Vec::new();
    for topic in &topics {
        assert_eq!(ranges(&rig, topic).await.0, 1);
        objects.push(rig.metadata.ranges_from(key(topic), 0, 1).await.expect("memory answers").remove(0).object_key);
        assert_eq!(values(&broker, topic).await, Vec::from_iter(0..260));
    }
    assert_eq!(objects[0], objects[1]);
}

#[tokio::test(start_paused = true)]
async fn a_swap_that_fails_or_loses_its_reply_happens_once_or_not_at_all() {
    for points in [
        vec![FailPoint::NotCommitted],
        vec![FailPoint::CommittedReplyLost],
        vec![FailPoint::DroppedReplyLost],
        vec![FailPoint::CommittedReplyLost, FailPoint::NotCommitted],
        vec![FailPoint::DroppedReplyLost, FailPoint::CommittedReplyLost],
    ] {
        let rig = Rig::new();
        let broker = rig.start_with(settings()).await;
        let topic = create(&broker, "t", 1).await;
        append_each(&broker, &topic, 0..20).await;
        // The object is there, its swap is not: the gate holds the write until the trouble is set up.
        rig.gate.hold_writes();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        points.iter().for_each(|point| rig.metadata.fail_next(*point));
        rig.gate.open_wide();
        a_few_rounds().await;
        let (rewritten, others) = ranges(&rig, &topic).await;
        assert!((rewritten, others) == (1, 1) || (rewritten, others) == (0, 20), "{points:?}: {rewritten} {others}");
        append_each(&broker, &topic, 20..40).await;
        a_few_rounds().await;
        assert_eq!(ranges(&rig, &topic).await.1, 1, "{points:?}: what was left is rewritten with what came after it");
        drop(broker);
        assert_eq!(values(&rig.start().await, &topic).await, Vec::from_iter(0..40), "{points:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_leaves_an_object_that_is_garbage() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    rig.gate.hold_writes();
    let successor = rig.fence_while_it_writes().await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, (0, 20));
    assert_eq!(values(&successor, &topic).await, Vec::from_iter(0..20));
    let left = rig.store.list_with("org-1/data/").recursive(true).await.expect("listed");
    assert!(left.iter().all(|entry| entry.metadata().is_dir()), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_handed_over_meanwhile_stay_as_they_are_and_the_others_do_not() {
    const PARTITIONS: i32 = 8;
    let rig = Rig::new();
    let gate = Gate::open();
    let first = rig.start_behind(&gate, BrokerSettings { rewrite_bytes: 1 << 20, ..settings() }).await;
    let topic = create(&first, "t", PARTITIONS).await;
    for value in 0..260 {
        for partition in 0..PARTITIONS {
            let appended = first.append(request(&topic, partition, batch(value, None))).await.expect("placed");
            if partition == PARTITIONS - 1 {
                appended.acked().await.expect("acked");
            }
        }
    }
    gate.hold_writes();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = rig.start_with(BrokerSettings::for_tests("b")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    gate.open_wide();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (mut stayed, mut moved) = (0, 0);
    for partition in 0..PARTITIONS {
        let key = PartitionKey { partition, ..key(&topic) };
        let rows = rig.metadata.ranges_from(key, 0, 10_000).await.expect("memory answers");
        let (leader, _) = first.partition_leader(topic.topic_id, partition).expect("led");
        let leader = if leader.session == first.session() { &first } else { &second };
        match leader.session() == first.session() {
            true => stayed += 1,
            false => moved += 1,
        }
        let is_rewritten = rows.len() < 10;
        assert_eq!(is_rewritten, leader.session() == first.session(), "partition {partition}: {} rows", rows.len());
        let found: Vec<_> = read_all(leader, &topic, partition).await.into_values().collect();
        assert_eq!(found, Vec::from_iter(0..260));
    }
    assert!(stayed > 0 && moved > 0, "{stayed} stayed, {moved} moved");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_meanwhile_takes_its_rewrite_along() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    let other = create(&broker, "other", 1).await;
    append_each(&broker, &topic, 0..20).await;
    rig.gate.hold_writes();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    broker.delete_topic(ORG, topic.topic_id).await.expect("deleted");
    rig.gate.open_wide();
    a_few_rounds().await;
    append_each(&broker, &other, 0..10).await;
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &other).await, (1, 1), "others go on");
    assert_eq!(values(&broker, &other).await, Vec::from_iter(0..10));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_deleted_meanwhile_do_not_come_back() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    rig.gate.hold_writes();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(broker.delete_records(ORG, topic.topic_id, 0, 5).await, Ok(5));
    rig.gate.open_wide();
    a_few_rounds().await;
    let rows = rig.metadata.ranges_from(key(&topic), 0, 100).await.expect("memory answers");
    assert_eq!(rows.first().map(|row| row.base_offset), Some(5), "refused: the rows are not those that were read");
    append_each(&broker, &topic, 20..40).await;
    a_few_rounds().await;
    let rows = rig.metadata.ranges_from(key(&topic), 0, 100).await.expect("memory answers");
    assert_eq!((rows.len(), rows[0].base_offset), (2, 5), "and what is left is rewritten later");
}

#[tokio::test(start_paused = true)]
async fn the_objects_that_were_replaced_are_deleted_and_the_new_one_is_not() {
    let rig = Rig::new();
    let collecting =
        BrokerSettings { garbage_interval: Duration::from_secs(1), garbage_grace: Duration::ZERO, ..settings() };
    let broker = rig.start_with(collecting).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    a_few_rounds().await;
    a_few_rounds().await;
    let left = rig.store.list_with("org-1/").recursive(true).await.expect("listed");
    assert_eq!(left.iter().filter(|entry| entry.metadata().is_file()).count(), 2);
    drop(broker);
    assert_eq!(values(&rig.start().await, &topic).await, Vec::from_iter(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again() {
    let rig = Rig::new();
    let broker = rig.start_with(settings()).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..20).await;
    rig.gate.fail_writes(1);
    a_few_rounds().await;
    assert_eq!(ranges(&rig, &topic).await, (0, 20));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(ranges(&rig, &topic).await, (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_plan_is_old_finds_the_records_where_they_are_now() {
    let rig = Rig::new();
    let collecting = BrokerSettings {
        garbage_interval: Duration::from_millis(100),
        garbage_grace: Duration::ZERO,
        memory_bytes: 64 << 10,
        ..settings()
    };
    let broker = rig.start_with(collecting).await;
    let topic = create(&broker, "t", 1).await;
    append_each(&broker, &topic, 0..100).await;
    let mut objects = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0).object_key;
    let mut replaced = 0;
    // A batch at a time, more slowly than the log is rewritten behind its back; what it read first told it what comes next.
    for offset in 0..200 {
        let request = fetch_request(vec![wanted(&topic, 0, offset, 1)], 1, Duration::ZERO);
        let fetched = broker.fetch(request).await.remove(0).result.expect("no object is missing");
        assert_eq!(batches(&fetched)[0].0.base_offset, offset);
        append_each(&broker, &topic, 0..2).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let now = rig.metadata.ranges_from(key(&topic), 0, 1).await.expect("memory answers").remove(0).object_key;
        replaced += usize::from(std::mem::replace(&mut objects, now.clone()) != now);
    }
    assert!(replaced > 1, "{replaced} times");
}
