//! Stores that are away: nothing is acked that is not durable, what is committed is still served, and the broker
//! comes back by itself.

use std::time::Duration;

use broker::{AppendError, AppendRequest, BrokerSettings, FetchError};

use crate::rig::{Rig, append, append_until_acked, batch, create, fetch, place, read_all, request};

#[tokio::test(start_paused = true)]
async fn while_metadata_is_away_nothing_is_acked_and_committed_records_are_served() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    rig.metadata.set_unavailable(true);
    let short = AppendRequest { timeout: Duration::from_secs(2), ..request(&topic, 0, batch(2, Some((5, 0, 1)))) };
    let late = broker.append(short).await.expect("placed").acked().await;
    assert!(matches!(late, Err(AppendError::TimedOut)), "{late:?}");
    assert_eq!(fetch(&broker, &topic, 0, Duration::ZERO).await.expect("served").high_watermark, 1);
    let beyond = fetch(&broker, &topic, 9, Duration::ZERO).await;
    assert!(matches!(beyond, Err(FetchError::OffsetNotAvailable)), "never out of range unconfirmed: {beyond:?}");
    assert!(broker.readiness().await.is_err());
    assert!(matches!(broker.init_producer_id().await, Err(AppendError::Unavailable)));

    rig.metadata.set_unavailable(false);
    // The batch that timed out was in line all the time: its retry is a duplicate of it.
    let retried = append(&broker, &topic, 2, Some((5, 0, 1))).await.expect("acked");
    assert_eq!(retried.base_offset, 1);
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2]);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(broker.readiness().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_producers_cannot_be_loaded_takes_nothing_until_they_can() {
    let rig = Rig::new();
    let first = rig.start().await;
    let topic = create(&first, "t", 1).await;
    append(&first, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    first.drain().await;
    let broker = rig.start().await;
    rig.metadata.set_unavailable(true);
    let refused = append(&broker, &topic, 1, Some((5, 0, 0))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable)), "{refused:?}");
    rig.metadata.set_unavailable(false);
    assert!(append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked").duplicate);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_given_up_fails_its_batches_and_the_partition_goes_on() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 2).await;
    append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    rig.gate.fail_writes(1);
    let failed = append(&broker, &topic, 2, Some((5, 0, 1))).await;
    assert!(matches!(failed, Err(AppendError::StoreGaveUp)), "{failed:?}");
    let retried = append(&broker, &topic, 2, Some((5, 0, 1))).await.expect("acked");
    assert_eq!((retried.base_offset, retried.duplicate), (1, false));
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_hangs_is_overtaken_by_a_second_one() {
    let rig = Rig::new();
    let hedge = Some(Duration::from_secs(1));
    let broker = rig.start_with(BrokerSettings { upload_hedge: hedge, ..BrokerSettings::for_tests("a") }).await;
    let topic = create(&broker, "t", 1).await;
    for (hanging, seconds) in [(1, 1), (2, 3)] {
        rig.gate.hang_writes(hanging);
        let began = tokio::time::Instant::now();
        append(&broker, &topic, hanging as u64, None).await.expect("acked");
        assert_eq!(began.elapsed().as_secs(), seconds, "{hanging} hang");
    }
    // Both copies begun and the first hanging: an error of one is not the end of the other.
    rig.gate.hang_writes(1);
    rig.gate.fail_writes(1);
    append(&broker, &topic, 3, None).await.expect("acked");
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_commit_is_never_read() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    rig.gate.lose_replies(1);
    let failed = append(&broker, &topic, 1, None).await;
    assert!(matches!(failed, Err(AppendError::StoreGaveUp)), "{failed:?}");
    assert_eq!(rig.gate.written(), 1, "the object is there");
    append(&broker, &topic, 2, None).await.expect("acked");
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn batches_behind_a_failed_upload_fail_with_it_and_other_partitions_do_not() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let (topic, other) = (create(&broker, "t", 1).await, create(&broker, "other", 1).await);
    rig.gate.hold_writes();
    let first = place(&broker, &topic, 1, Some((5, 0, 0))).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = place(&broker, &topic, 2, Some((5, 0, 1))).await;
    let elsewhere = place(&broker, &other, 3, None).await;
    rig.gate.fail_writes(1);
    rig.gate.let_through(1);
    assert!(matches!(first.acked().await, Err(AppendError::StoreGaveUp)));
    let behind = second.acked().await;
    assert!(matches!(behind, Err(AppendError::StoreGaveUp)), "no hole: {behind:?}");
    rig.gate.open_wide();
    assert_eq!(elsewhere.acked().await.expect("acked").base_offset, 0);
    for sequence in 0..2 {
        let producer = Some((5, 0, sequence));
        let retried = append_until_acked(&broker, &topic, u64::try_from(sequence).expect("small") + 1, producer).await;
        assert_eq!(retried.base_offset, i64::from(sequence));
    }
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_second_start_with_the_same_agent_id_fences_the_first_broker() {
    let rig = Rig::new();
    let old = rig.start().await;
    let topic = create(&old, "t", 1).await;
    append(&old, &topic, 1, None).await.expect("acked");
    let new = rig.start().await;
    let refused = append(&old, &topic, 2, None).await;
    assert!(matches!(refused, Err(AppendError::NotLeader)), "definite: {refused:?}");
    tokio::time::timeout(Duration::from_secs(60), old.fenced()).await.expect("it knows");
    assert!(old.readiness().await.is_err());
    let out_of_range = fetch(&old, &topic, 9, Duration::ZERO).await;
    assert!(!matches!(out_of_range, Err(FetchError::OffsetOutOfRange { .. })), "a zombie: {out_of_range:?}");
    assert_eq!(append(&new, &topic, 3, None).await.expect("acked").base_offset, 1);
    assert_eq!(read_all(&new, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_learns_that_it_is_fenced_from_its_renewal() {
    let rig = Rig::new();
    let old = rig.start().await;
    let _new = rig.start().await;
    tokio::time::timeout(Duration::from_secs(60), old.fenced()).await.expect("it knows");
}
