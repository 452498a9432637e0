//! What a topic's configs and a producer's sequences make of an append.

use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, AppendRequest, Broker, BrokerSettings, TimeSource, Topic, encode_batch};
use bytes::Bytes;

use crate::rig::{NOW, Rig, append, batch, batches, create, create_with, fetch, place, record, request};

async fn append_batch(broker: &Broker, topic: &Topic, batch: Bytes) -> Result<broker::Appended, AppendError> {
    broker.append(request(topic, 0, batch)).await?.acked().await
}

#[tokio::test(start_paused = true)]
async fn log_append_time_replaces_the_clients_time_and_never_goes_back() {
    let rig = Rig::new();
    let settings = BrokerSettings { time_source: TimeSource::Runtime, ..BrokerSettings::for_tests("a") };
    let broker = rig.start_with(settings).await;
    let topic = create_with(&broker, "t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut last = NOW;
    for value in 0..10 {
        // Renewals set the clock back: the database's stands still.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let appended = append(&broker, &topic, value, None).await.expect("acked");
        let stamped = appended.log_append_time.expect("stamped");
        assert!(stamped >= last, "{stamped} after {last}");
        last = stamped;
    }
    assert!(last > NOW);
    broker.drain().await;
    let broker = rig.start().await;
    let appended = append(&broker, &topic, 10, None).await.expect("acked");
    assert!(appended.log_append_time.expect("stamped") >= last, "not after a restart either");
    let fetched = fetch(&broker, &topic, 0, Duration::ZERO).await.expect("read");
    let times: Vec<_> = batches(&fetched).iter().map(|(header, _)| (header.attributes, header.max_timestamp)).collect();
    assert!(times.iter().all(|(attributes, _)| *attributes == 8) && times.is_sorted(), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_on_a_log_append_time_topic_is_told_its_time() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create_with(&broker, "t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let first = append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let again = append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    assert!(again.duplicate);
    assert_eq!(again.log_append_time, first.log_append_time);
}

#[tokio::test(start_paused = true)]
async fn each_topic_bounds_its_own_batches() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let (small, large) =
        (create_with(&broker, "small", 1, &[("max.message.bytes", "200")]).await, create(&broker, "large", 1).await);
    let batch = encode_batch(&[record(&[1; 300])], None).expect("encodes");
    let bytes = batch.len();
    let refused = append_batch(&broker, &small, batch.clone()).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { bytes: found, max: 200 }) if found == bytes), "{refused:?}");
    append_batch(&broker, &large, batch).await.expect("acked");
    let over = encode_batch(&[record(&vec![1; 1_048_588])], None).expect("encodes");
    assert!(matches!(append_batch(&broker, &large, over).await, Err(AppendError::TooLarge { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_compacted_topic_names_the_records_that_have_no_key() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create_with(&broker, "t", 1, &[("cleanup.policy", "compact")]).await;
    let mut records = vec![record(b"a"), record(b"b"), record(b"c")];
    records[1].key = Some(Bytes::from_static(b""));
    let refused = append_batch(&broker, &topic, encode_batch(&records, None).expect("encodes")).await;
    match refused {
        Err(AppendError::InvalidRecord { record_errors, .. }) => {
            assert_eq!(record_errors.iter().map(|error| error.index).collect::<Vec<_>>(), [0, 2]);
        }
        other => panic!("{other:?}"),
    }
    records.iter_mut().for_each(|record| record.key = Some(Bytes::from_static(b"k")));
    assert_eq!(
        append_batch(&broker, &topic, encode_batch(&records, None).expect("encodes")).await.expect("acked").base_offset,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn of_five_batches_in_flight_the_ones_behind_a_bad_one_are_out_of_order() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    rig.gate.hold_writes();
    let first = place(&broker, &topic, 0, Some((5, 0, 0))).await;
    let mut damaged = batch(1, Some((5, 0, 1))).to_vec();
    damaged[70] ^= 1;
    let refused = broker.append(request(&topic, 0, damaged.into())).await;
    assert!(matches!(refused, Err(AppendError::Corrupt(_))), "{refused:?}");
    let mut behind = Vec::new();
    for sequence in 2..5 {
        let pending = place(&broker, &topic, sequence, Some((5, 0, i32::try_from(sequence).expect("small")))).await;
        assert_eq!(pending.proposed_base_offset(), None, "it hangs on what is in line");
        behind.push(pending);
    }
    rig.gate.open_wide();
    assert_eq!(first.acked().await.expect("acked").base_offset, 0);
    for pending in behind {
        let refused = pending.acked().await;
        assert!(matches!(refused, Err(AppendError::OutOfOrderSequence { expected: 1, .. })), "{refused:?}");
    }
    for sequence in 1..5 {
        let producer = Some((5, 0, i32::try_from(sequence).expect("small")));
        assert_eq!(
            append(&broker, &topic, sequence, producer).await.expect("acked").base_offset,
            i64::try_from(sequence).expect("small")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_conditional_append_looks_past_what_is_in_flight() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let conditional = |value, expected| {
        let request = AppendRequest { expected_base_offset: Some(expected), ..request(&topic, 0, batch(value, None)) };
        let broker = broker.clone();
        async move { broker.append(request).await.expect("placed") }
    };
    rig.gate.hold_writes();
    let first = conditional(1, 0).await;
    let second = conditional(2, 1).await;
    let refused = conditional(3, 1).await;
    rig.gate.open_wide();
    assert_eq!(first.acked().await.expect("acked").base_offset, 0);
    assert_eq!(second.acked().await.expect("acked").base_offset, 1);
    assert!(matches!(refused.acked().await, Err(AppendError::UnexpectedOffset { expected: 1, end: 2 })));

    // If what is in flight fails, a refusal that rests on it is no answer.
    rig.gate.hold_writes();
    rig.gate.fail_writes(1);
    let doomed = conditional(4, 2).await;
    let resting = conditional(5, 2).await;
    rig.gate.open_wide();
    assert!(matches!(doomed.acked().await, Err(AppendError::StoreGaveUp)));
    assert!(matches!(resting.acked().await, Err(AppendError::StoreGaveUp)));
    assert_eq!(conditional(6, 2).await.acked().await.expect("acked").base_offset, 2);
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_when_the_batch_is_decided_and_not_before() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let budget = broker::MemoryBudget::new(100);
    let with_permit = |permit| AppendRequest { permit: Some(Arc::new(permit)), ..request(&topic, 0, batch(1, None)) };
    for fail in [false, true] {
        rig.gate.hold_writes();
        let pending = broker.append(with_permit(budget.acquire(100).await)).await.expect("placed");
        drop(pending); // The client hung up; the batch is still in line and holds its memory.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(budget.try_acquire(1).is_none());
        rig.gate.fail_writes(usize::from(fail));
        rig.gate.open_wide();
        tokio::time::timeout(Duration::from_secs(1), budget.acquire(100)).await.expect("given back");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_batch_that_was_turned_away_is_not_out_of_order() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 8).await;
    let send = async |broker: &Broker, partition, sequence| {
        broker.append(request(&topic, partition, batch(1, Some((5, 0, sequence))))).await?.acked().await
    };
    for partition in 0..8 {
        send(&first, partition, 0).await.expect("acked");
    }
    let next = rig.start_with(BrokerSettings::for_tests("b")).await;
    // Of three in flight to who is about to lead, the first comes too early.
    for partition in 0..8 {
        assert_eq!(send(&next, partition, 1).await, Err(AppendError::NotLeader));
    }
    let leads = |partition: usize| {
        let leader = next.partitions(&topic)[partition].leader;
        leader == Some(next.cluster().node_id)
    };
    let moved = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(moved) = (0..8).find(|partition| leads(*partition)) {
            break i32::try_from(moved).expect("small");
        }
    };
    assert_eq!(send(&next, moved, 2).await, Err(AppendError::NotLeader));
    assert!(!send(&next, moved, 1).await.expect("acked").duplicate);
    assert!(!send(&next, moved, 2).await.expect("acked").duplicate);
    // In line behind another producer's, too.
    let other = batch(1, Some((6, 0, 0)));
    let (other, early) = tokio::join!(next.append(request(&topic, moved, other)), send(&next, moved, 9));
    assert_eq!(early, Err(AppendError::NotLeader));
    other.expect("placed").acked().await.expect("acked");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(send(&next, moved, 9).await, Err(AppendError::OutOfOrderSequence { got: 9, expected: 3 }));
}
