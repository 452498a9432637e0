//! Many clients on several threads at once, in real time: nobody waits for ever, nothing is lost or written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, Broker, Topic};
use metadata::FailPoint;

use crate::rig::{ORG, Rig, batch, batches, create, fetch_request, place, read_all, request, wanted};

const PARTITIONS: i32 = 10;
const PRODUCERS: i64 = 12;
const RECORDS: i32 = 1_000;

/// Sends values in pipelines of five; what is not acked is sent again, in order.
async fn produce(broker: Broker, topic: Arc<Topic>, producer: i64) {
    let partition = i32::try_from(producer).expect("small") % PARTITIONS;
    let mut acked = 0;
    while acked < RECORDS {
        let mut pipeline = Vec::new();
        for sequence in acked..(acked + 5).min(RECORDS) {
            let value = u64::try_from(producer * 1_000_000 + i64::from(sequence)).expect("positive");
            let batch = batch(value, Some((producer, 0, sequence)));
            match broker.append(request(&topic, partition, batch)).await {
                Ok(pending) => pipeline.push(pending),
                Err(AppendError::NotLeader | AppendError::Unavailable) => break,
                Err(error) => unreachable!("{error:?}"),
            }
        }
        let mut in_order = true;
        for pending in pipeline {
            match pending.acked().await {
                Ok(_) if in_order => acked += 1,
                Ok(_) => {}
                Err(AppendError::NotLeader | AppendError::StoreGaveUp | AppendError::OutOfOrderSequence { .. }) => {
                    in_order = false;
                }
                Err(error) => unreachable!("{error:?}"),
            }
        }
        if !in_order {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Follows all partitions by long polls until everything was seen.
async fn consume(broker: Broker, topic: Arc<Topic>) {
    let mut offsets = vec![0; usize::try_from(PARTITIONS).expect("small")];
    let all = PRODUCERS * i64::from(RECORDS);
    while offsets.iter().sum::<i64>() < all {
        let partitions =
            (0..PARTITIONS).zip(&offsets).map(|(partition, offset)| wanted(&topic, partition, *offset, 4096)).collect();
        let answers = broker.fetch(fetch_request(partitions, 16_384, Duration::from_secs(60))).await;
        for (answer, offset) in answers.iter().zip(&mut offsets) {
            let Ok(fetched) = &answer.result else {
                // Such a fetch answers at once: a client that asks again without a pause would starve the runtime.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            for (header, _) in batches(fetched) {
                assert_eq!(header.base_offset, *offset, "no gap");
                *offset = header.next_offset();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_on_a_shaky_store_gets_everything_written_once_and_read_in_order() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", PARTITIONS).await;
    let mut clients: Vec<_> =
        (1..=PRODUCERS).map(|producer| tokio::spawn(produce(broker.clone(), Arc::clone(&topic), producer))).collect();
    clients.extend((0..3).map(|_| tokio::spawn(consume(broker.clone(), Arc::clone(&topic)))));
    let trouble = async {
        for round in 0..25 {
            match round % 5 {
                0 => rig.gate.fail_writes(1),
                1 => rig.metadata.fail_next(FailPoint::NotCommitted),
                2 => rig.metadata.fail_next(FailPoint::CommittedReplyLost),
                3 => rig.metadata.fail_next(FailPoint::DroppedReplyLost),
                _ => {
                    let doomed = create(&broker, &format!("doomed{round}"), 3).await;
                    let pending = place(&broker, &doomed, 1, None).await;
                    broker.delete_topic(ORG, doomed.topic_id).await.expect("deleted");
                    let _ = pending.acked().await;
                }
            }
            // Not faster than the lane's retries: that would be an outage.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    let everyone = async {
        for client in clients {
            client.await.expect("joins");
        }
    };
    let all = async { tokio::join!(trouble, everyone) };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody is left waiting");
    let mut seen = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let log = read_all(&broker, &topic, partition).await;
        let mut by_producer: BTreeMap<u64, u64> = BTreeMap::new();
        for value in log.into_values() {
            assert!(seen.insert(value), "written twice: {value}");
            let next = by_producer.entry(value / 1_000_000).or_default();
            assert_eq!(value % 1_000_000, *next, "in the producer's order");
            *next += 1;
        }
    }
    assert_eq!(i64::try_from(seen.len()), Ok(PRODUCERS * i64::from(RECORDS)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_in_the_midst_of_appends_answers_everyone_and_keeps_what_it_acked() {
    for _ in 0..10 {
        let rig = Rig::new();
        let broker = rig.start().await;
        let topic = create(&broker, "t", PARTITIONS).await;
        let clients: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let (broker, topic) = (broker.clone(), Arc::clone(&topic));
                tokio::spawn(async move {
                    let mut acked = 0;
                    loop {
                        let value = batch(acked, None);
                        let answer = match broker.append(request(&topic, partition, value)).await {
                            Ok(pending) => pending.acked().await,
                            Err(error) => Err(error),
                        };
                        match answer {
                            Ok(_) => acked += 1,
                            Err(AppendError::Draining | AppendError::NotLeader) => return acked,
                            Err(error) => unreachable!("{error:?}"),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        tokio::time::timeout(Duration::from_secs(10), broker.drain()).await.expect("bounded");
        let successor = rig.start().await;
        for (partition, client) in (0..).zip(clients) {
            let acked = tokio::time::timeout(Duration::from_secs(1), client).await.expect("answered").expect("joins");
            let log = read_all(&successor, &topic, partition).await;
            assert_eq!(log.into_values().collect::<Vec<_>>(), (0..acked).collect::<Vec<_>>(), "no more and no less");
        }
    }
}
