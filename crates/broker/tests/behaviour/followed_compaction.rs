//! A consumer that a follower serves finds what the leader's find, whatever compaction takes out, before it reads or meanwhile.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use broker::{BrokerSettings, FetchError, Topic};
use metadata::Segments;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use segment::Offset;
use tokio::time::sleep;

use crate::compaction::{
    COMPACT, Entry, Found, a_few_rounds, append, fetch_few, found, key, read_as, records_of, settings,
};
use crate::followers::{Zones, zones_with};
use crate::rig::Rig;

/// What is told or known of ranges is used for 30 s.
const PLANS_ARE_OLD: Duration = Duration::from_secs(31);

/// What is replaced is deleted at once.
fn without_grace() -> BrokerSettings {
    BrokerSettings { garbage_interval: Duration::from_millis(300), garbage_grace: Duration::ZERO, ..settings() }
}

async fn read_followed(zones: &Zones, offset: Offset) -> Vec<Found> {
    read_as(&zones.follower, &zones.topic, Some("y"), offset).await
}

/// The keys that have a value in the end.
fn state(found: &[Found]) -> BTreeMap<&str, Offset> {
    let mut state = BTreeMap::new();
    for (offset, key, has_value) in found {
        match has_value {
            true => state.insert(key.as_str(), *offset),
            false => state.remove(key.as_str()),
        };
    }
    state
}

#[tokio::test(start_paused = true)]
async fn holes_are_read_across_from_any_offset() {
    let rig = Rig::new();
    let zones = zones_with(&rig, &settings(), 1, &[COMPACT]).await;
    let _connection = zones.connected().await;
    let (leader, topic) = (&zones.leader, &zones.topic);
    assert!(read_followed(&zones, 0).await.is_empty(), "from here on it is told");
    append(leader, topic, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("a", Some("2"))]).await;
    append(leader, topic, &[("a", Some("3"))]).await;
    append(leader, topic, &[("a", Some("4")), ("d", Some("1")), ("b", Some("2"))]).await;
    append(leader, topic, &[("b", Some("3")), ("a", Some("5"))]).await;
    append(leader, topic, &[("e", Some("1"))]).await;
    let before = read_followed(&zones, 0).await;
    assert_eq!(before.len(), 11, "as it was told");
    a_few_rounds().await;
    assert_eq!(state(&read_followed(&zones, 0).await), state(&before));
    sleep(PLANS_ARE_OLD).await;
    let left = found(&[(2, "c", true), (6, "d", true), (8, "b", true), (9, "a", true), (10, "e", true)]);
    for from in 0..=11 {
        let expected: Vec<_> = left.iter().filter(|(offset, ..)| *offset >= from).cloned().collect();
        assert_eq!(read_followed(&zones, from).await, expected, "from {from}");
    }
    let beyond = fetch_few(&zones.follower, topic, Some("y"), 12).await;
    assert!(matches!(beyond, Err(FetchError::NotLeader)), "{beyond:?}");
}

/// What a follower has in memory of a record outlives the record, and its tombstone.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_deleted_does_not_come_back() {
    for is_told in [true, false] {
        delete_a_key(is_told).await;
    }
}

async fn delete_a_key(is_told: bool) {
    let rig = Rig::new();
    let configs = [COMPACT, ("delete.retention.ms", "500"), ("min.cleanable.dirty.ratio", "0")];
    let zones = zones_with(&rig, &without_grace(), 1, &configs).await;
    let _connection = zones.connected().await;
    let (leader, topic) = (&zones.leader, &zones.topic);
    if is_told {
        read_followed(&zones, 0).await;
    }
    for entry in [("a", Some("1")), ("b", Some("1")), ("a", None)] {
        append(leader, topic, &[entry]).await;
    }
    let first = fetch_few(&zones.follower, topic, Some("y"), 0).await.expect("served");
    assert_eq!(records_of(&first, 0), (found(&[(0, "a", true)]), 1));
    for _ in 0..10 {
        append(leader, topic, &[("c", Some("1"))]).await;
        a_few_rounds().await;
    }
    let left = read_as(leader, topic, None, 0).await;
    assert!(left.iter().all(|(_, key, _)| key != "a"), "the tombstone went too: {left:?}");
    let followed = read_followed(&zones, 0).await;
    assert_eq!(state(&followed), state(&left), "{followed:?}");
}

/// Which object the log begins in.
async fn first_object(rig: &Rig, topic: &Topic) -> Option<String> {
    let rows = rig.metadata.ranges_from(key(topic), 0, 1).await.expect("memory answers");
    rows.first().map(|row| row.object_key.clone())
}

/// From the start to the end of what is acked by then.
async fn read_while_it_changes(zones: &Zones, acked: &RefCell<Vec<Found>>) -> Vec<Found> {
    let (mut offset, mut found) = (0, Vec::new());
    loop {
        match fetch_few(&zones.follower, &zones.topic, Some("y"), offset).await {
            Ok(fetched) => {
                let (records, next) = records_of(&fetched, offset);
                found.extend(records);
                offset = next;
                let end = acked.borrow().last().map_or(0, |last| last.0 + 1);
                if offset == fetched.high_watermark && offset >= end {
                    return found;
                }
            }
            // Objects go so fast that a few plans in a row may be old.
            Err(FetchError::Storage(_)) => {}
            Err(error) => unreachable!("{error:?}"),
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn write(zones: &Zones, acked: &RefCell<Vec<Found>>, rng: &mut SmallRng) {
    for _ in 0..150 {
        let keys: Vec<String> = (0..rng.random_range(1..5)).map(|_| rng.random_range(0..12).to_string()).collect();
        let entries: Vec<Entry<'_>> =
            keys.iter().map(|key| (key.as_str(), rng.random_bool(0.7).then_some("value"))).collect();
        let base = append(&zones.leader, &zones.topic, &entries).await;
        let records = (base..).zip(&entries).map(|(offset, (key, value))| (offset, (*key).to_owned(), value.is_some()));
        acked.borrow_mut().extend(records);
        sleep(Duration::from_millis(rng.random_range(0..40))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn swaps_in_the_middle_of_a_read_hide_nothing() {
    let mut swapped = 0;
    for seed in 0..5 {
        let rig = Rig::new();
        let settings = BrokerSettings {
            compaction_interval: Duration::from_millis(100),
            rewrite_bytes: 1,
            rewrite_age: Duration::from_millis(200),
            memory_bytes: 64 << 10,
            ..without_grace()
        };
        let zones = zones_with(&rig, &settings, 1, &[COMPACT, ("min.cleanable.dirty.ratio", "0.1")]).await;
        let _connection = zones.connected().await;
        rig.gate.slow_reads(Duration::from_millis(3));
        let (acked, mut rng, is_over) = (RefCell::default(), SmallRng::seed_from_u64(seed), Cell::new(false));
        let writes = async {
            write(&zones, &acked, &mut rng).await;
            is_over.set(true);
        };
        let reads = async {
            let mut passes = Vec::new();
            while !is_over.get() {
                sleep(Duration::from_millis(1)).await;
                let before = first_object(&rig, &zones.topic).await;
                let found = read_while_it_changes(&zones, &acked).await;
                swapped += usize::from(before.is_some() && before != first_object(&rig, &zones.topic).await);
                let last_of = |key: &String| found.iter().rev().find(|record| record.1 == *key).map(|record| record.0);
                for (offset, key, _) in acked.borrow().iter() {
                    assert!(
                        last_of(key) >= Some(*offset),
                        "seed {seed}: {key} at {offset} or later is not in {found:?}"
                    );
                }
                passes.push(found);
            }
            passes
        };
        let ((), passes) = tokio::join!(writes, reads);
        let acked = acked.into_inner();
        for found in &passes {
            assert!(found.is_sorted_by_key(|record| record.0), "seed {seed}");
            assert!(found.iter().all(|record| acked.contains(record)), "seed {seed}: nothing moves");
        }
        sleep(PLANS_ARE_OLD).await;
        let left = read_followed(&zones, 0).await;
        assert_eq!(left, read_as(&zones.leader, &zones.topic, None, 0).await, "seed {seed}");
        assert_eq!(state(&left), state(&acked), "seed {seed}");
        assert!(left.len() < acked.len() / 2, "seed {seed}: {} of {}", left.len(), acked.len());
    }
    assert!(swapped > 10, "{swapped} passes saw a swap");
}
