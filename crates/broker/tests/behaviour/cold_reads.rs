//! Reads of what left memory: how often the store is asked, what is read before anybody wants it, and what the disk keeps.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerSettings, CacheSettings, Fetched, Topic, encode_batch};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, append, batches, create, fetch, fetch_request, read_all, record, request, wanted};

const SLOW: Duration = Duration::from_millis(30);

/// A broker that has none of it in memory, after another one wrote `count` batches of `bytes` to partition 0, each an object.
async fn written(rig: &Rig, count: u64, bytes: usize) -> (Broker, Arc<Topic>) {
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    for _ in 0..count {
        let batch = encode_batch(&[record(&vec![7; bytes])], None).expect("encodes");
        first.append(request(&topic, 0, batch)).await.expect("placed").acked().await.expect("acked");
    }
    first.drain().await;
    let broker = rig.start().await;
    rig.gate.take_reads();
    (broker, topic)
}

/// What one fetch of partition 0 brings, and the offset after it.
async fn step(broker: &Broker, topic: &Topic, offset: i64, bytes: usize) -> (Fetched, i64) {
    let asked = fetch_request(vec![wanted(topic, 0, offset, bytes)], bytes, Duration::ZERO);
    let fetched = broker.fetch(asked).await.remove(0).result.expect("read");
    let next = batches(&fetched).last().expect("some").0.next_offset();
    (fetched, next)
}

#[tokio::test(start_paused = true)]
async fn readers_of_the_same_range_at_the_same_time_share_one_request() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, 1, 10).await;
    rig.gate.slow_reads(SLOW);
    let began = Instant::now();
    let fetches = (0..20).map(|_| fetch(&broker, &topic, 0, Duration::ZERO));
    assert!(join_all(fetches).await.into_iter().all(|fetched| fetched.expect("read").record_bytes > 0));
    assert_eq!((rig.gate.take_reads().0, began.elapsed()), (1, SLOW));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_on_where_it_left_off_finds_the_next_ranges_there() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, 40, 900_000).await;
    rig.gate.slow_reads(SLOW);
    let (_, mut offset) = step(&broker, &topic, 0, 1 << 20).await;
    sleep(Duration::from_secs(1)).await;
    assert!(rig.gate.take_reads().0 <= 2, "nothing is read ahead for somebody who reads once");
    let (_, next) = step(&broker, &topic, offset, 1 << 20).await;
    offset = next;
    while offset < 40 {
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let (_, next) = step(&broker, &topic, offset, 1 << 20).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "offset {offset} was there before it was asked for");
        offset = next;
    }
    let (reads, bytes) = rig.gate.take_reads();
    assert!(reads <= 40 && bytes <= 40 * 901_000, "once each: {reads} reads, {bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_bounded() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, 100, 900_000).await;
    let mut offset = 0;
    for _ in 0..6 {
        (_, offset) = step(&broker, &topic, offset, 1 << 20).await;
    }
    sleep(Duration::from_secs(1)).await;
    let (_, bytes) = rig.gate.take_reads();
    let consumed = 900_000 * usize::try_from(offset).expect("small");
    assert!(bytes > consumed + 4_000_000, "it does read ahead: {bytes} bytes, {consumed} consumed");
    // Three quarters of 5/16 of MEMORY_BYTES.
    assert!(bytes < consumed + (61 << 20), "{bytes} bytes, {consumed} consumed");
}

#[tokio::test(start_paused = true)]
async fn a_small_object_is_read_once_for_all_its_partitions() {
    const PARTITIONS: i32 = 50;
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", PARTITIONS).await;
    rig.gate.hold_writes();
    let mut pending = Vec::new();
    for partition in 0..PARTITIONS {
        let batch = encode_batch(&[record(&[7; 1000])], None).expect("encodes");
        pending.push(first.append(request(&topic, partition, batch)).await.expect("placed"));
    }
    rig.gate.open_wide();
    for pending in pending {
        pending.acked().await.expect("acked");
    }
    first.drain().await;
    let broker = rig.start().await;
    rig.gate.take_reads();
    let all = (0..PARTITIONS).map(|partition| wanted(&topic, partition, 0, 1 << 20)).collect();
    let answers = broker.fetch(fetch_request(all, 8 << 20, Duration::ZERO)).await;
    assert!(answers.iter().all(|answer| answer.result.as_ref().expect("read").record_bytes > 1000));
    let objects = rig.gate.written();
    assert!(rig.gate.take_reads().0 <= objects && objects < 10, "{objects} objects");
}

/// Waits until the disk has caught up: real time, as it is a real disk.
async fn written_to(folder: &std::path::Path, files: usize) {
    let count = || {
        let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("an entry").file_name());
        entries.filter(|name| name.to_string_lossy().contains('@')).count()
    };
    for _ in 0..2_000 {
        if count() >= files {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    unreachable!("{files} files were not written in 10 s");
}

#[tokio::test]
async fn an_agent_with_a_disk_cache_never_fetches_what_it_wrote() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().expect("folder");
    let cache = Some(CacheSettings { folder: folder.path().to_owned(), bytes_max: 64 << 20 });
    // Hardly any memory: the tail holds almost nothing.
    let settings = || BrokerSettings { memory_bytes: 1 << 20, cache: cache.clone(), ..BrokerSettings::for_tests("a") };
    let first = rig.start_with(settings()).await;
    let topic = create(&first, "t", 1).await;
    for value in 0..50 {
        append(&first, &topic, value, None).await.expect("acked");
    }
    written_to(folder.path(), 50).await;
    assert_eq!(read_all(&first, &topic, 0).await.len(), 50);
    first.drain().await;
    drop(first);
    let lock = std::fs::File::open(folder.path().join(".lock")).expect("opened");
    while lock.try_lock().is_err() {
        sleep(Duration::from_millis(5)).await; // its tasks end
    }
    drop(lock);
    let again = rig.start_with(settings()).await;
    sleep(Duration::from_millis(300)).await; // the folder is listed in the background
    assert_eq!(read_all(&again, &topic, 0).await.len(), 50);
    assert_eq!(rig.gate.take_reads().0, 0);
}

#[tokio::test]
async fn what_was_fetched_is_not_fetched_again() {
    const BYTES: usize = 60_000;
    let rig = Rig::new();
    let (broker, topic) = written(&rig, 20, BYTES).await;
    drop(broker);
    let folder = tempfile::tempdir().expect("folder");
    let cache = Some(CacheSettings { folder: folder.path().to_owned(), bytes_max: 64 << 20 });
    // Memory for a few of them.
    let settings = BrokerSettings { memory_bytes: 4 << 20, cache, ..BrokerSettings::for_tests("a") };
    let reader = rig.start_with(settings).await;
    for offset in (0..20).rev() {
        step(&reader, &topic, offset, 1).await;
        written_to(folder.path(), usize::try_from(20 - offset).expect("small")).await;
    }
    let (reads, bytes) = rig.gate.take_reads();
    assert!(reads == 20 && bytes < 20 * (BYTES + 1000), "{reads} reads of {bytes} bytes");
    for offset in (0..20).rev() {
        step(&reader, &topic, offset, 1).await;
    }
    assert_eq!(rig.gate.take_reads().0, 0);
}
