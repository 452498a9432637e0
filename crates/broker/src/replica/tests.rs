//! Tests of what a follower takes over.

use super::*;

fn range(base_offset: Offset, next_offset: Offset) -> RangeRow {
    RangeRow {
        base_offset,
        next_offset,
        leader_epoch: 1,
        object_key: format!("object-{base_offset}"),
        byte_start: 0,
        byte_len: 10,
        checksum: 0,
        max_timestamp: 0,
        object_bytes: 10,
    }
}

fn progress(leader_epoch: LeaderEpoch, high_watermark: Offset, ranges: &[(Offset, Offset)]) -> Progress {
    let ranges = ranges.iter().map(|(base, next)| range(*base, *next)).collect();
    Progress { partition: (TopicId(uuid::Uuid::nil()), 0), leader_epoch, log_start_offset: 0, high_watermark, ranges }
}

fn bases(replica: &Replica, offset: Offset) -> Vec<Offset> {
    replica.ranges_from(offset).iter().map(|range| range.base_offset).collect()
}

#[tokio::test]
async fn a_high_watermark_never_goes_back_and_an_older_leader_says_nothing() {
    let replica = Replica::new();
    for told in [progress(2, 10, &[]), progress(2, 7, &[]), progress(1, 50, &[])] {
        replica.take(told);
        assert_eq!(replica.known().expect("told").high_watermark, 10);
    }
    replica.take(progress(3, 11, &[]));
    assert_eq!(replica.known().expect("told").leader_epoch, 3);
}

#[tokio::test]
async fn ranges_are_remembered_only_without_a_gap_up_to_the_high_watermark() {
    let replica = Replica::new();
    replica.take(progress(1, 10, &[]));
    assert!(bases(&replica, 9).is_empty());
    replica.take(progress(1, 15, &[(10, 12), (12, 15)]));
    assert_eq!(bases(&replica, 10), [10, 12]);
    assert_eq!(bases(&replica, 13), [12]);
    assert!(bases(&replica, 9).is_empty() && bases(&replica, 15).is_empty());
    replica.take(progress(1, 30, &[(20, 30)]));
    assert_eq!(bases(&replica, 25), [20], "15..20 is missing: what was before is forgotten");
    assert!(bases(&replica, 13).is_empty());
    replica.take(progress(1, 40, &[]));
    assert!(bases(&replica, 25).is_empty(), "30..40 is missing");
    let many: Vec<_> = (40..40 + 2 * RECENT_RANGES as i64).map(|base| (base, base + 1)).collect();
    replica.take(progress(1, 40 + 2 * RECENT_RANGES as i64, &many));
    assert_eq!(bases(&replica, 39 + 2 * RECENT_RANGES as i64).len(), 1);
    assert!(bases(&replica, 40).is_empty(), "bounded");
}

#[tokio::test(start_paused = true)]
async fn ranges_told_some_time_ago_are_looked_up() {
    let replica = Replica::new();
    replica.take(progress(1, 10, &[(0, 10)]));
    tokio::time::advance(PLAN_AGE_MAX).await;
    replica.take(progress(1, 20, &[(10, 20)]));
    assert_eq!(bases(&replica, 5), [0, 10]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(bases(&replica, 5).is_empty());
    assert_eq!(bases(&replica, 15), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_a_moment_for_what_is_not_known_yet() {
    let replica = Arc::new(Replica::new());
    assert_eq!(replica.known_to(0).await, None);
    let waits = tokio::spawn({
        let replica = Arc::clone(&replica);
        async move { replica.known_to(5).await }
    });
    tokio::task::yield_now().await;
    replica.take(progress(1, 4, &[]));
    tokio::task::yield_now().await;
    replica.take(progress(1, 6, &[]));
    assert_eq!(waits.await.expect("ends").expect("told").high_watermark, 6);
    assert!(replica.waiters.is_empty());
}
