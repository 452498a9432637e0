//! One consumer that catches up with a distant store: how fast, in the paused runtime's time, and how often it fetches a byte.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerSettings, CacheSettings, Fetched, Topic, encode_batch};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, batches, create, fetch_request, record, request, wanted};

/// How long a consumer takes for a MB.
const CLIENT: Duration = Duration::from_micros(1250);
/// How long the store takes: 19 of 20 times, and else.
const EACH: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_millis(150);
const OBJECTS: i32 = 24;

/// A broker that has none of it in memory, after another one wrote so many objects of 8 MB, shared evenly by partitions.
async fn written(rig: &Rig, objects: i32, partitions: i32, of_one: bool) -> (Broker, Arc<Topic>) {
    written_for(rig, objects, partitions, of_one, BrokerSettings::for_tests("a")).await
}

/// The same for a broker with settings of its own.
async fn written_for(
    rig: &Rig,
    objects: i32,
    partitions: i32,
    of_one: bool,
    reader: BrokerSettings,
) -> (Broker, Arc<Topic>) {
    let settings = BrokerSettings {
        flush_interval: Duration::from_millis(100),
        flush_bytes: 16 << 20,
        ..BrokerSettings::for_tests("a")
    };
    let first = rig.start_with(settings).await;
    let topic = create(&first, "t", partitions).await;
    let each = partitions.max(16);
    let value = vec![7; 8_000_000 / usize::try_from(each).expect("some")];
    let batch = encode_batch(&[record(&value)], None).expect("encodes");
    for object in 0..objects {
        let mut pending = Vec::new();
        for at in 0..each {
            let partition = if of_one { object } else { at } % partitions;
            let append = first.append(request(&topic, partition, batch.clone()));
            pending.push(append.await.expect("placed"));
        }
        for pending in pending {
            pending.acked().await.expect("acked");
        }
    }
    first.drain().await;
    (rig.start_with(reader).await, topic)
}

/// Reads all of it as librdkafka does: a fetch at a time of all partitions, beginning with another one each time. MB/s, and bytes
/// fetched for each byte read.
async fn catch_up(rig: &Rig, broker: &Broker, topic: &Topic) -> (f64, f64) {
    rig.gate.take_reads();
    let mut offsets = vec![0; usize::try_from(topic.partition_count).expect("some")];
    let (began, mut read, mut first) = (Instant::now(), 0, 0);
    loop {
        let mut order: Vec<_> = (0..topic.partition_count).collect();
        order.rotate_left(first);
        first = (first + 1) % order.len();
        let at = |partition: i32| usize::try_from(partition).expect("some");
        let asked = order.iter().map(|partition| wanted(topic, *partition, offsets[at(*partition)], 4 << 20)).collect();
        let mut step = 0;
        let mut is_end = true;
        for answer in broker.fetch(fetch_request(asked, 50 << 20, Duration::ZERO)).await {
            let Ok(fetched) = answer.result else {
                is_end = false;
                continue; // it is asked for again
            };
            step += fetched.record_bytes;
            let offset = &mut offsets[at(answer.partition)];
            if let Some((header, _)) = batches(&fetched).last() {
                *offset = header.next_offset();
            }
            is_end &= *offset == fetched.high_watermark;
        }
        read += step;
        sleep(CLIENT * u32::try_from(step / 1_000_000).expect("small")).await;
        if is_end {
            let (_, bytes) = rig.gate.take_reads();
            return (read as f64 / 1e6 / began.elapsed().as_secs_f64(), bytes as f64 / read as f64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_all_partitions_does_not_wait_for_the_slowest_range() {
    for partitions in [8, 16] {
        let rig = Rig::new();
        let (broker, topic) = written(&rig, OBJECTS, partitions, false).await;
        rig.gate.uneven_reads(EACH, LONG);
        let (rate, fetched) = catch_up(&rig, &broker, &topic).await;
        assert!(rate > 300.0 && fetched < 1.1, "{partitions} partitions: {rate:.0} MB/s, fetched {fetched:.2} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_one_partition_has_the_whole_window() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, OBJECTS, 1, false).await;
    rig.gate.slow_reads(EACH);
    let (rate, fetched) = catch_up(&rig, &broker, &topic).await;
    assert!(rate > 500.0 && fetched < 1.01, "{rate:.0} MB/s, fetched {fetched:.2} times");
}

#[tokio::test(start_paused = true)]
async fn ranges_that_memory_does_not_hold_for_all_partitions_are_read_in_turns() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, OBJECTS, 8, true).await;
    rig.gate.uneven_reads(EACH, LONG);
    let (rate, fetched) = catch_up(&rig, &broker, &topic).await;
    assert!(rate > 300.0 && fetched < 1.4, "{rate:.0} MB/s, fetched {fetched:.2} times");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_nothing_that_is_lost() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, OBJECTS, 8, false).await;
    rig.gate.uneven_reads(EACH, LONG);
    let reading = catch_up(&rig, &broker, &topic);
    let failing = async {
        sleep(3 * EACH).await;
        rig.gate.fail_reads(20);
        std::future::pending().await
    };
    tokio::select! { (_, fetched) = reading => assert!(fetched < 1.2, "{fetched:.2}"), () = failing => {} }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_does_not_wait_for_long() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 2).await;
    for at in 0..20 {
        let batch = encode_batch(&[record(&[7; 1000])], None).expect("encodes");
        first.append(request(&topic, at % 2, batch)).await.expect("placed").acked().await.expect("acked");
    }
    first.drain().await;
    let broker = rig.start().await;
    let read = async |asked: &[(i32, i64)]| {
        let of = |(partition, offset): &(i32, i64)| wanted(&topic, *partition, *offset, 1);
        broker.fetch(fetch_request(asked.iter().map(of).collect(), 1 << 20, Duration::ZERO)).await
    };
    // Both are known, and what the first wants next was read ahead.
    for asked in [[(0, 0)], [(1, 0)], [(0, 1)]] {
        read(&asked).await;
        sleep(EACH).await;
    }
    rig.gate.slow_reads(Duration::from_secs(10));
    let began = Instant::now();
    let answers = read(&[(0, 2), (1, 1)]).await;
    let bytes = |answer: broker::FetchedPartition| answer.result.expect("read").record_bytes;
    let bytes: Vec<_> = answers.into_iter().map(bytes).collect();
    assert!(
        bytes[0] > 0 && bytes[1] == 0 && began.elapsed() < Duration::from_secs(2),
        "{bytes:?} {:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_cache_in_trouble_makes_nobody_fetch_a_byte_twice() {
    for partitions in [8, 16] {
        let rig = Rig::new();
        let folder = tempfile::tempdir().expect("folder");
        let cache = Some(CacheSettings { folder: folder.path().join("cache"), bytes_max: 1 << 30 });
        let settings = BrokerSettings { cache, ..BrokerSettings::for_tests("a") };
        let (broker, topic) = written_for(&rig, OBJECTS, partitions, false, settings).await;
        std::fs::remove_dir_all(folder.path().join("cache")).expect("gone");
        rig.gate.uneven_reads(EACH, LONG);
        let (rate, fetched) = catch_up(&rig, &broker, &topic).await;
        assert!(rate > 300.0 && fetched < 1.1, "{partitions} partitions: {rate:.0} MB/s, fetched {fetched:.2} times");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_of_small_ranges_share_blocks_that_memory_does_not_keep() {
    for partitions in [40, 100] {
        let rig = Rig::new();
        let (broker, topic) = written(&rig, OBJECTS, partitions, false).await;
        rig.gate.uneven_reads(EACH, LONG);
        let (rate, fetched) = catch_up(&rig, &broker, &topic).await;
        // Once all readers are known, each block is fetched once; the first few objects count here.
        assert!(rate > 250.0 && fetched < 1.5, "{partitions} partitions: {rate:.0} MB/s, fetched {fetched:.2} times");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_that_do_not_take_their_answers_hold_up_nobody() {
    let rig = Rig::new();
    let (broker, topic) = written(&rig, OBJECTS, 8, false).await;
    let ask = |partition| fetch_request(vec![wanted(&topic, partition, 0, 4 << 20)], 50 << 20, Duration::ZERO);
    let mut held: Vec<Fetched> = Vec::new();
    for reader in 0..100 {
        held.push(broker.fetch(ask(reader % 8)).await.remove(0).result.expect("read"));
    }
    let bytes: usize = held.iter().map(|answer| answer.record_bytes).sum();
    assert!(bytes > 8 << 20 && bytes < 48 << 20, "{bytes}");
    assert!(broker.is_short_of_answers());
    // What the gateway does then.
    let gives_up = async {
        while broker.is_short_of_answers() {
            sleep(Duration::from_secs(5)).await;
            held.clear();
        }
        held.len()
    };
    let began = Instant::now();
    let (reached, _) = tokio::join!(catch_up(&rig, &broker, &topic), gives_up);
    assert!(reached.1 < 1.2 && began.elapsed() < Duration::from_secs(60), "{reached:?} in {:?}", began.elapsed());
}
