//! Clients that hang up at any moment: a dropped request future leaves nothing stuck and nothing half done.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use broker::BrokerSettings;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::rig::{Rig, append, batch, create, read_all, request};

/// Polls a future at most so many times, each time when it asks for it, and drops it; its output if it had one by then.
pub(crate) async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn appends_dropped_at_any_point_leave_every_placed_record_once_and_the_partition_open() {
    for seed in 0..4 {
        let rig = Rig::new();
        let broker = rig.start_with(BrokerSettings { memory_bytes: 64 << 10, ..BrokerSettings::for_tests("a") }).await;
        let topic = create(&broker, "t", 3).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut placed: Vec<BTreeSet<(i64, u64)>> = vec![BTreeSet::new(); 3];
        let mut tasks = Vec::new();
        for value in 0..500_u64 {
            let partition = usize::try_from(value % 3).expect("small");
            let (append_polls, ack_polls) = (rng.random_range(0..4), rng.random_range(0..4));
            let request = request(&topic, i32::try_from(partition).expect("small"), batch(value, None));
            let broker = broker.clone();
            tasks.push((
                partition,
                value,
                tokio::spawn(async move {
                    let pending = poll_and_drop(broker.append(request), append_polls).await?.expect("placed");
                    let proposed = pending.proposed_base_offset().expect("in line");
                    if let Some(acked) = poll_and_drop(pending.acked(), ack_polls).await {
                        assert_eq!(acked.expect("acked").base_offset, proposed);
                    }
                    Some(proposed)
                }),
            ));
            if rng.random_bool(0.2) {
                tokio::time::sleep(Duration::from_micros(rng.random_range(0..500))).await;
            }
        }
        for (partition, value, task) in tasks {
            if let Some(offset) = task.await.expect("joins") {
                placed[partition].insert((offset, value));
            }
        }
        assert!(placed.iter().all(|placed| placed.len() > 50), "the seed drops some and places some");
        for (partition, placed) in (0..).zip(&placed) {
            broker
                .append(request(&topic, partition, batch(u64::MAX, None)))
                .await
                .expect("placed")
                .acked()
                .await
                .expect("the partition takes new appends");
            let mut log = read_all(&broker, &topic, partition).await;
            log.pop_last();
            assert!(placed.iter().all(|(offset, value)| log.get(offset) == Some(value)), "partition {partition}");
            let values: BTreeSet<u64> = log.values().copied().collect();
            assert_eq!(values.len(), log.len(), "each once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_append_dropped_while_producers_load_leaves_them_whole() {
    for polls in 0..4 {
        let rig = Rig::new();
        let first = rig.start().await;
        let topic = create(&first, "t", 1).await;
        for sequence in 0..3 {
            append(&first, &topic, 1, Some((5, 0, sequence))).await.expect("acked");
        }
        first.drain().await;
        let broker = rig.start().await;
        let dropped = broker.append(request(&topic, 0, batch(1, Some((5, 0, 3)))));
        poll_and_drop(dropped, polls).await;
        let duplicate = append(&broker, &topic, 1, Some((5, 0, 1))).await.expect("recognised");
        assert_eq!((duplicate.base_offset, duplicate.duplicate), (1, true));
        let next = append(&broker, &topic, 1, Some((5, 0, 3))).await.expect("acked");
        assert_eq!(next.base_offset, 3);
        assert_eq!(read_all(&broker, &topic, 0).await.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_creator_hung_up_is_whole() {
    for polls in 0..3 {
        let rig = Rig::new();
        let broker = rig.start().await;
        let creating = create(&broker, "t", 10);
        poll_and_drop(creating, polls).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let topic = match broker.topic(crate::rig::ORG, "t") {
            Some(topic) => topic,
            None => create(&broker, "t", 10).await,
        };
        for partition in 0..10 {
            let pending = broker.append(request(&topic, partition, batch(1, None))).await.expect("placed");
            assert_eq!(pending.acked().await.expect("acked").base_offset, 0);
        }
    }
}
