//! Commits that fail, or whose reply is lost: acked exactly when committed, and the lane goes on.

use std::time::Duration;

use broker::AppendError;
use metadata::conformance::fixture::found;
use metadata::{Claim, FailPoint, Segments as _};

use crate::rig::{Rig, append, append_until_acked, create, place, read_all};

#[tokio::test(start_paused = true)]
async fn a_commit_that_did_not_happen_is_repeated_and_acked_once() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    for _ in 0..3 {
        rig.metadata.fail_next(FailPoint::NotCommitted);
    }
    assert_eq!(append(&broker, &topic, 1, None).await.expect("acked").base_offset, 0);
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1]);
    assert_eq!(append(&broker, &topic, 2, None).await.expect("acked").base_offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_happened_is_acked_although_its_reply_was_lost() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    rig.metadata.fail_next(FailPoint::CommittedReplyLost);
    let appended = append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    assert_eq!((appended.base_offset, appended.duplicate), (0, false));
    let again = append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    assert_eq!((again.base_offset, again.duplicate), (0, true));
    assert_eq!(append(&broker, &topic, 2, Some((5, 0, 1))).await.expect("acked").base_offset, 1);
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_dropped_is_refused_definitely_and_its_retry_written_once() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let epoch = broker.partitions(&topic)[0].leader_epoch;
    rig.metadata.fail_next(FailPoint::DroppedReplyLost);
    let refused = append(&broker, &topic, 1, Some((5, 0, 0))).await;
    assert!(matches!(refused, Err(AppendError::NotLeader)), "{refused:?}");
    let again = append_until_acked(&broker, &topic, 1, Some((5, 0, 0))).await;
    assert_eq!((again.base_offset, again.duplicate), (0, false));
    assert_eq!(broker.partitions(&topic)[0].leader_epoch, epoch, "the lease was never in doubt");
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_resolution_that_fails_or_loses_its_own_reply_is_repeated() {
    for resolutions in [
        [FailPoint::NotCommitted, FailPoint::DroppedReplyLost],
        [FailPoint::CommittedReplyLost, FailPoint::CommittedReplyLost],
    ] {
        for (point, committed) in [(FailPoint::CommittedReplyLost, true), (FailPoint::DroppedReplyLost, false)] {
            let rig = Rig::new();
            let broker = rig.start().await;
            let topic = create(&broker, "t", 1).await;
            rig.metadata.fail_next(point);
            resolutions.into_iter().for_each(|point| rig.metadata.fail_next(point));
            let result = append(&broker, &topic, 1, None).await;
            assert_eq!(result.is_ok(), committed, "{point:?} {resolutions:?} {result:?}");
            let next = append_until_acked(&broker, &topic, 2, None).await;
            assert_eq!(next.base_offset, i64::from(committed));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_pipeline_shares_the_fate_of_a_dropped_commit_and_is_retried_in_order() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    append(&broker, &topic, 100, Some((5, 0, 0))).await.expect("acked");
    rig.metadata.fail_next(FailPoint::DroppedReplyLost);
    rig.gate.hold_writes();
    let mut pipeline = Vec::new();
    for sequence in 1..=5 {
        pipeline
            .push(place(&broker, &topic, 100 + sequence, Some((5, 0, i32::try_from(sequence).expect("small")))).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.gate.open_wide();
    let mut failed = 0;
    for pending in pipeline {
        match pending.acked().await {
            Err(AppendError::NotLeader) => failed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failed, 5);
    for sequence in 1..=5 {
        let producer = Some((5, 0, i32::try_from(sequence).expect("small")));
        let appended = append_until_acked(&broker, &topic, 100 + sequence, producer).await;
        assert_eq!((appended.base_offset, appended.duplicate), (i64::try_from(sequence).expect("small"), false));
    }
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [100, 101, 102, 103, 104, 105]);
}

/// Its tombstone is found by the commit of two segments; the second one's offsets were to follow the first one's.
#[tokio::test(start_paused = true)]
async fn a_segment_that_was_collected_before_its_commit_costs_its_line_and_not_the_lease() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    append(&broker, &topic, 1, Some((5, 0, 0))).await.expect("acked");
    let epoch = broker.partitions(&topic)[0].leader_epoch;
    rig.gate.hold_writes();
    let mut pipeline = Vec::new();
    for sequence in 1..=2 {
        let value = u64::try_from(sequence + 1).expect("small");
        pipeline.push(place(&broker, &topic, value, Some((5, 0, sequence))).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let claims = rig.metadata.claim_objects(broker.session(), &[found(broker.session(), 1)]).await.expect("claimed");
    assert_eq!(claims, [Claim::Garbage]);
    rig.gate.open_wide();
    for pending in pipeline {
        let refused = pending.acked().await;
        assert!(matches!(refused, Err(AppendError::NotLeader)), "{refused:?}");
    }
    // At once: what is led is not in doubt.
    for sequence in 1..=2 {
        let value = u64::try_from(sequence + 1).expect("small");
        let appended = append(&broker, &topic, value, Some((5, 0, sequence))).await.expect("acked");
        assert_eq!((appended.base_offset, appended.duplicate), (i64::from(sequence), false));
    }
    assert_eq!(broker.partitions(&topic)[0].leader_epoch, epoch);
    assert_eq!(read_all(&broker, &topic, 0).await.into_values().collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_stays_unknown_is_never_called_a_failure() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    rig.metadata.fail_next(FailPoint::CommittedReplyLost);
    rig.metadata.fail_next(FailPoint::NotCommitted);
    let pending = place(&broker, &topic, 1, None).await;
    // The successor fences the session between the commit and its resolution.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let successor = rig.start().await;
    let unknown = pending.acked().await;
    assert!(matches!(unknown, Err(AppendError::Unknown)), "{unknown:?}");
    tokio::time::timeout(Duration::from_secs(60), broker.fenced()).await.expect("the old broker knows");
    assert_eq!(read_all(&successor, &topic, 0).await.into_values().collect::<Vec<_>>(), [1]);
}
