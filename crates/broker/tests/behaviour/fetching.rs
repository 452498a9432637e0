//! Fetches over many partitions: the bound of the whole answer, who wakes, and what a broken object leaves behind.

use std::time::Duration;

use broker::{BrokerSettings, FetchError, FetchRequest, encode_batch};

use crate::rig::{
    Rig, append, append_until_acked, batch, batches, create, fetch, fetch_request, read_all, record, request, wanted,
};

const PARTITIONS: i32 = 100;

#[tokio::test(start_paused = true)]
async fn a_fetch_of_a_hundred_partitions_keeps_its_total_bound_and_its_order() {
    let rig = Rig::new();
    // Once from memory, once with hardly any: the bound is the same.
    for memory_bytes in [256 << 20, 16 << 10] {
        let broker = rig.start_with(BrokerSettings { memory_bytes, ..BrokerSettings::for_tests("a") }).await;
        let topic = create(&broker, &format!("t{memory_bytes}"), PARTITIONS).await;
        let mut batch_bytes = 0;
        for partition in 0..PARTITIONS {
            for value in 0..3 {
                let batch = batch(value, None);
                batch_bytes = batch.len();
                broker.append(request(&topic, partition, batch)).await.expect("placed").acked().await.expect("acked");
            }
        }
        let all = || (0..PARTITIONS).map(|partition| wanted(&topic, partition, 0, 1 << 20)).collect::<Vec<_>>();
        for max_bytes in [0, 1, batch_bytes, 10 * batch_bytes + 5, 299 * batch_bytes, 1 << 20] {
            let answers = broker.fetch(fetch_request(all(), max_bytes, Duration::ZERO)).await;
            let bytes: Vec<usize> =
                answers.iter().map(|answer| answer.result.as_ref().expect("read").record_bytes).collect();
            let total: usize = bytes.iter().sum();
            assert!(total <= max_bytes.max(batch_bytes), "{total} of {max_bytes}");
            if memory_bytes > 1 << 20 {
                assert_eq!(total, (max_bytes / batch_bytes).clamp(1, 300) * batch_bytes, "filled: {max_bytes}");
                assert!(bytes.is_sorted_by(|a, b| a >= b), "given out in request order: {bytes:?}");
            }
            // What is late of old records, or more than there is memory for, comes with a later fetch.
            assert!(total >= batch_bytes, "some: {max_bytes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_bound_of_zero_gives_only_the_first_batch_of_all() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 2).await;
    for partition in 0..2 {
        broker.append(request(&topic, partition, batch(1, None))).await.expect("placed").acked().await.expect("acked");
    }
    let partitions = vec![wanted(&topic, 0, 0, 0), wanted(&topic, 1, 0, 0)];
    let answers = broker.fetch(fetch_request(partitions, 1 << 20, Duration::ZERO)).await;
    let counts: Vec<_> = answers.iter().map(|answer| batches(answer.result.as_ref().expect("read")).len()).collect();
    assert_eq!(counts, [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_partition_with_a_bound_of_zero_waits_like_any_other() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let started = tokio::time::Instant::now();
    broker.fetch(fetch_request(vec![wanted(&topic, 0, 0, 0)], 1 << 20, Duration::from_secs(3))).await;
    assert_eq!(started.elapsed(), Duration::from_secs(3), "no busy loop");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_leaves_records_behind_does_not_wait_for_more() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let large = encode_batch(&[record(&[7; 600])], None).expect("encodes");
    for _ in 0..4 {
        broker.append(request(&topic, 0, large.clone())).await.expect("placed").acked().await.expect("acked");
    }
    let started = tokio::time::Instant::now();
    let request = FetchRequest {
        min_bytes: 1000,
        ..fetch_request(vec![wanted(&topic, 0, 0, 1000)], 1 << 20, Duration::from_secs(3))
    };
    let fetched = broker.fetch(request).await.remove(0).result.expect("read");
    assert_eq!(batches(&fetched).len(), 1);
    assert!(started.elapsed() < Duration::from_secs(1), "the client can only have this much");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_over_a_hundred_partitions_wakes_for_the_one_that_gets_a_record() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", PARTITIONS).await;
    let polls: Vec<_> = (0..5)
        .map(|_| {
            let partitions = (0..PARTITIONS).map(|partition| wanted(&topic, partition, 0, 1 << 20)).collect();
            let broker = broker.clone();
            tokio::spawn(
                async move { broker.fetch(fetch_request(partitions, 1 << 20, Duration::from_secs(300))).await },
            )
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = tokio::time::Instant::now();
    broker.append(request(&topic, 77, batch(1, None))).await.expect("placed").acked().await.expect("acked");
    for poll in polls {
        let answers = poll.await.expect("joins");
        let woken: Vec<_> = answers
            .iter()
            .filter(|answer| answer.result.as_ref().expect("read").record_bytes > 0)
            .map(|answer| answer.partition)
            .collect();
        assert_eq!(woken, [77]);
    }
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_until_its_least_bytes_are_there() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let least = 3 * batch(0, None).len();
    let poll = tokio::spawn({
        let (broker, topic) = (broker.clone(), topic.clone());
        async move {
            let partitions = vec![wanted(&topic, 0, 0, 1 << 20)];
            let request =
                FetchRequest { min_bytes: least, ..fetch_request(partitions, 1 << 20, Duration::from_secs(300)) };
            broker.fetch(request).await.remove(0).result.expect("read").record_bytes
        }
    });
    for value in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!poll.is_finished());
        append(&broker, &topic, value, None).await.expect("acked");
    }
    assert_eq!(poll.await.expect("joins"), least);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_failed_is_tried_again_and_not_remembered() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    for value in 0..10 {
        append(&first, &topic, value, None).await.expect("acked");
    }
    first.drain().await;
    let broker = rig.start().await;
    rig.gate.fail_reads(1);
    let failed = fetch(&broker, &topic, 0, Duration::ZERO).await;
    assert!(matches!(failed, Err(FetchError::Storage(_))), "{failed:?}");
    assert_eq!(read_all(&broker, &topic, 0).await.len(), 10);
    append_until_acked(&broker, &topic, 10, None).await;
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), (0..=10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn readers_of_one_cold_range_that_hang_up_do_not_hold_up_the_next() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    append(&first, &topic, 1, None).await.expect("acked");
    first.drain().await;
    let broker = rig.start().await;
    for polls in 1..6 {
        let reading = fetch(&broker, &topic, 0, Duration::ZERO);
        crate::cancellation::poll_and_drop(reading, polls).await;
    }
    assert_eq!(read_all(&broker, &topic, 0).await.len(), 1);
}
