//! Cases about segment commits.

use segment::{OrganizationId, PartitionKey};

use super::fixture::{acquire, commit, create, key, leased, new_topic, open, range, segment, topic_id};
use crate::{
    LastSegment, MetadataStore, NewTopic,
    RangeOutcome::{Accepted, NotLeader, OffsetMismatch, SlotTaken, TopicDeleted},
    RangeRow, SegmentCommit, StoreError,
};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// The range is read back as it was committed.
pub async fn a_commit_moves_the_partition_and_makes_a_range(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let wanted = range(key(1, 0), 0, 0, 10);
    assert_eq!(commit(store, session, 0, vec![wanted.clone()]).await, [Accepted]);
    assert_eq!(commit(store, session, 1, vec![range(key(1, 0), 0, 10, 11)]).await, [Accepted]);
    let ranges = store.ranges_from(key(1, 0), 0, 10).await.expect("read");
    let expected = RangeRow {
        base_offset: 0,
        next_offset: 10,
        leader_epoch: 0,
        object_key: segment(session, 0, Vec::new()).object_key,
        byte_start: wanted.byte_start,
        byte_len: wanted.byte_len,
        checksum: wanted.checksum,
        max_timestamp: wanted.max_timestamp,
        object_bytes: segment(session, 0, Vec::new()).object_bytes,
    };
    assert_eq!(ranges[0], expected);
    assert_eq!((ranges.len(), ranges[1].base_offset, ranges[1].next_offset), (2, 10, 11));
}

/// `Fenced`: no range, no row, no offset moved.
pub async fn a_fenced_session_commits_nothing(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    store.close_session(session).await.expect("closed");
    for count in 0..3 {
        let segments: Vec<_> =
            (0..count).map(|lane| segment(session, lane, vec![range(key(1, 0), 0, lane, lane + 1)])).collect();
        let refused = store.commit_segments(session, &segments).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    assert!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").is_empty());
    assert!(store.last_segments().await.expect("read").is_empty());
    let next = open(store, "agent-2").await;
    assert_eq!(acquire(store, next, &[key(1, 0)]).await[0].next_offset, 0);
    assert_eq!(commit(store, next, 0, vec![range(key(1, 0), 1, 0, 5)]).await, [Accepted]);
}

/// Below and above `next_offset`.
pub async fn a_range_at_the_wrong_offset_is_rejected_alone(store: &dyn MetadataStore) {
    let session = leased(store, 3).await;
    let ranges = (0..3).map(|partition| range(key(1, partition), 0, 0, 10)).collect();
    assert_eq!(commit(store, session, 0, ranges).await, [Accepted; 3]);
    let ranges = vec![range(key(1, 0), 0, 5, 10), range(key(1, 1), 0, 10, 20), range(key(1, 2), 0, 11, 20)];
    assert_eq!(commit(store, session, 1, ranges).await, [OffsetMismatch, Accepted, OffsetMismatch]);
    let counts = [1, 2, 1];
    for (partition, count) in (0..).zip(counts) {
        assert_eq!(store.ranges_from(key(1, partition), 0, 10).await.expect("read").len(), count);
    }
}

/// Also when the session that holds the lease is the same.
pub async fn a_range_under_an_old_epoch_is_rejected_alone(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    acquire(store, session, &[key(1, 0)]).await;
    let ranges = vec![range(key(1, 0), 0, 0, 10), range(key(1, 1), 0, 0, 10)];
    assert_eq!(commit(store, session, 0, ranges).await, [NotLeader, Accepted]);
    assert_eq!(commit(store, session, 1, vec![range(key(1, 0), 1, 0, 10)]).await, [Accepted]);
}

/// Never leased, and leased by another.
pub async fn a_range_of_a_partition_without_lease_is_rejected(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    create(store, 2, "invoices", 1).await;
    assert_eq!(commit(store, session, 0, vec![range(key(2, 0), -1, 0, 10)]).await, [NotLeader]);
    let other = open(store, "agent-2").await;
    assert_eq!(commit(store, other, 0, vec![range(key(1, 0), 0, 0, 10)]).await, [NotLeader]);
}

/// A deletion in flight wins over the lease.
pub async fn a_range_of_a_deleted_topic_is_rejected_also_after_purge(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    create(store, 2, "invoices", 1).await;
    acquire(store, session, &[key(2, 0)]).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let ranges = |base| vec![range(key(1, 0), 0, 0, 10), range(key(2, 0), 0, base, base + 10)];
    assert_eq!(commit(store, session, 0, ranges(0)).await, [TopicDeleted, Accepted]);
    while store.purge_deleted(100).await.expect("purge") > 0 {}
    assert_eq!(commit(store, session, 1, ranges(10)).await, [TopicDeleted, Accepted]);
    assert!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").is_empty());
}

/// In order, and a hole stops only what comes after it in its partition.
pub async fn a_later_segment_sees_the_former_of_the_same_call(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    let segments = [
        segment(session, 0, vec![range(key(1, 0), 0, 0, 5), range(key(1, 1), 0, 3, 5)]),
        segment(session, 1, vec![range(key(1, 0), 0, 5, 9), range(key(1, 1), 0, 5, 9)]),
        segment(session, 2, vec![range(key(1, 1), 0, 0, 1), range(key(1, 0), 0, 9, 10)]),
    ];
    let outcome = store.commit_segments(session, &segments).await.expect("committed");
    let expected = [vec![Accepted, OffsetMismatch], vec![Accepted, OffsetMismatch], vec![Accepted, Accepted]];
    assert_eq!(outcome.segments, expected);
    let ranges = store.ranges_from(key(1, 0), 0, 10).await.expect("read");
    let ends: Vec<_> = ranges.iter().map(|range| (range.next_offset, range.object_key.clone())).collect();
    let expected: Vec<_> =
        [5, 9, 10].into_iter().zip(&segments).map(|(end, segment)| (end, segment.object_key.clone())).collect();
    assert_eq!(ends, expected);
}

/// So that its object is garbage with a name.
pub async fn a_rejected_segment_still_has_its_row(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    assert_eq!(commit(store, session, 4, vec![range(key(1, 0), 0, 1, 2)]).await, [OffsetMismatch]);
    assert_eq!(store.last_segments().await.expect("read"), [LastSegment { session, lane_sequence: 4 }]);
}

/// A repetition has no effect, whatever became of the partition since.
pub async fn the_same_segment_twice_commits_once(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let ranges = vec![range(key(1, 0), 0, 0, 10)];
    assert_eq!(commit(store, session, 0, ranges.clone()).await, [Accepted]);
    assert_eq!(commit(store, session, 0, ranges).await, [SlotTaken]);
    assert_eq!(commit(store, session, 0, vec![range(key(1, 0), 0, 10, 11)]).await, [SlotTaken]);
    assert_eq!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").len(), 1);
}

/// One flush may write one object per organization.
pub async fn segments_of_several_organizations_share_a_lane_sequence(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let organization = OrganizationId(2);
    store.create_topic(NewTopic { organization, ..new_topic(1, "orders", 1) }).await.expect("created");
    let other = PartitionKey { organization, ..key(1, 0) };
    acquire(store, session, &[other]).await;
    let segments = [
        segment(session, 0, vec![range(key(1, 0), 0, 0, 5)]),
        SegmentCommit {
            object_key: "org-2/flush/0-x".to_owned(),
            organization,
            ..segment(session, 0, vec![range(other, 0, 0, 7)])
        },
    ];
    let outcome = store.commit_segments(session, &segments).await.expect("committed");
    assert_eq!(outcome.segments, [[Accepted], [Accepted]]);
    assert_eq!(store.ranges_from(key(1, 0), 0, 9).await.expect("read")[0].next_offset, 5);
    let of_other = store.ranges_from(other, 0, 9).await.expect("read");
    assert_eq!((of_other[0].next_offset, of_other[0].object_key.as_str()), (7, "org-2/flush/0-x"));
}

/// A clock that went back does not take it along.
pub async fn append_time_never_goes_down(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    for (lane, append_time) in (0..).zip([1000, 500]) {
        let mut stamped = range(key(1, 0), 0, lane, lane + 1);
        stamped.append_time = append_time;
        assert_eq!(commit(store, session, lane, vec![stamped]).await, [Accepted]);
    }
    assert_eq!(acquire(store, session, &[key(1, 0)]).await[0].last_append_time, 1000);
}

/// Older ones go in the commit that brings the third.
pub async fn the_two_newest_snapshots_stay(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    for lane in 0..4 {
        let mut with_snapshot = range(key(1, 0), 0, lane, lane + 1);
        with_snapshot.snapshot = Some(format!("as of {}", lane + 1).into());
        let mut rejected = range(key(1, 1), 0, 77, 78);
        rejected.snapshot = Some("never".into());
        assert_eq!(commit(store, session, lane, vec![with_snapshot, rejected]).await, [Accepted, OffsetMismatch]);
    }
    let history = store.producer_history(key(1, 0)).await.expect("read");
    assert_eq!(history.snapshot, Some((4, "as of 4".into())));
    assert_eq!(store.producer_history(key(1, 1)).await.expect("read").snapshot, None);
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    // 4 ranges, 2 snapshots, 2 epochs, 2 partitions, 1 topic.
    assert_eq!(store.purge_deleted(100).await.expect("purge"), 11);
}

/// The most a flush may hold; every second one is rejected.
pub async fn a_thousand_ranges_in_one_segment(store: &dyn MetadataStore) {
    let session = leased(store, 1000).await;
    let base = |partition: i32| i64::from(partition % 2);
    let ranges = (0..1000).rev().map(|partition| range(key(1, partition), 0, base(partition), 9)).collect();
    let outcomes = commit(store, session, 0, ranges).await;
    assert_eq!(outcomes.len(), 1000);
    for (outcome, partition) in outcomes.iter().zip((0..1000).rev()) {
        assert_eq!(*outcome, if base(partition) == 0 { Accepted } else { OffsetMismatch });
    }
    assert_eq!(store.ranges_from(key(1, 998), 0, 9).await.expect("read").len(), 1);
    assert_eq!(store.ranges_from(key(1, 999), 0, 9).await.expect("read").len(), 0);
}

/// No segments, and a segment without ranges.
pub async fn an_empty_commit_of_an_active_session_is_fine(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    assert!(store.commit_segments(session, &[]).await.expect("committed").segments.is_empty());
    assert!(commit(store, session, 0, Vec::new()).await.is_empty());
    assert_eq!(store.last_segments().await.expect("read"), [LastSegment { session, lane_sequence: 0 }]);
}
