//! Cases about ranges that a rewrite replaces.

use segment::{Offset, OrganizationId, PartitionKey, REWRITE_SEQUENCE_BASE, SessionId};

use super::fixture::{acquire, commit, create, found, key, leased, object_key, open, range, topic_id, unreferenced};
use crate::{
    Claim, CommittedRange, FoundObject, LastSegment,
    LogChangeOutcome::{self, NotLeader, Stale, TopicDeleted},
    LogStartMove, MetadataStore, NewRange,
    RangeOutcome::Accepted,
    RangeRow, RangesReplacement, Resolution, SegmentRef, SegmentRewrite, SnapshotAt, StoreError,
};

/// It happened.
const DONE: LogChangeOutcome = LogChangeOutcome::Done { more: false };

/// Partitions 0 and 1 with four ranges of ten offsets each, in segments of lanes 0 to 3; the third ones came with a snapshot.
async fn logged(store: &dyn MetadataStore) -> SessionId {
    let session = leased(store, 2).await;
    for lane in 0..4 {
        let rows = [0, 1].map(|partition| {
            let mut row = range(key(1, partition), 0, lane * 10, lane * 10 + 10);
            row.producers = format!("entries {lane}").into();
            row.snapshot = (lane == 2).then(|| "as of 30".into());
            row
        });
        assert_eq!(commit(store, session, lane, rows.to_vec()).await, [Accepted, Accepted]);
    }
    session
}

fn new_range(base_offset: Offset, next_offset: Offset) -> NewRange {
    NewRange {
        base_offset,
        next_offset,
        leader_epoch: 0,
        byte_start: 7_000 + base_offset,
        byte_len: next_offset - base_offset,
        checksum: u32::MAX - 1,
        max_timestamp: next_offset,
    }
}

/// In partition 0 of topic 1: rows that begin there become ranges from one of these ends to the next.
fn replacement(replaced: &[Offset], ends: &[Offset]) -> RangesReplacement {
    let ranges = ends.windows(2).map(|pair| new_range(pair[0], pair[1])).collect();
    RangesReplacement { key: key(1, 0), leader_epoch: 0, replaced: replaced.to_vec(), ranges, snapshot: None }
}

fn sequence(number: i64) -> i64 {
    REWRITE_SEQUENCE_BASE + number
}

fn rewrite(session: SessionId, number: i64, replacements: &[RangesReplacement]) -> SegmentRewrite {
    SegmentRewrite {
        lane_sequence: sequence(number),
        object_key: object_key(session, sequence(number)),
        organization: OrganizationId::DEFAULT,
        object_bytes: 1 << 20,
        replacements: replacements.to_vec(),
    }
}

async fn replaced(
    store: &dyn MetadataStore,
    session: SessionId,
    number: i64,
    replacements: &[RangesReplacement],
) -> Vec<LogChangeOutcome> {
    let rewrite = rewrite(session, number, replacements);
    store.replace_ranges(session, &rewrite).await.expect("replacements are answered")
}

async fn resolved(store: &dyn MetadataStore, session: SessionId, number: i64) -> Resolution {
    let (lane_sequence, object_key) = (sequence(number), object_key(session, sequence(number)));
    let segment = SegmentRef { lane_sequence, object_key, organization: OrganizationId::DEFAULT };
    store.resolve_commit(session, &[segment]).await.expect("resolved").remove(0)
}

async fn extents(store: &dyn MetadataStore, key: PartitionKey) -> Vec<(Offset, Offset)> {
    let ranges = store.ranges_from(key, 0, 100).await.expect("read");
    ranges.iter().map(|range| (range.base_offset, range.next_offset)).collect()
}

/// Reads find them, what is retired is garbage, and commits go on at the end.
pub async fn ranges_take_the_place_of_others(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let history = store.producer_history(key(1, 0)).await.expect("read");
    let both = [0, 1].map(|partition| RangesReplacement { key: key(1, partition), ..replacement(&[0, 10], &[0, 20]) });
    assert_eq!(replaced(store, session, 0, &both).await, [DONE, DONE]);
    let expected = RangeRow {
        base_offset: 0,
        next_offset: 20,
        leader_epoch: 0,
        object_key: object_key(session, sequence(0)),
        byte_start: 7_000,
        byte_len: 20,
        checksum: u32::MAX - 1,
        max_timestamp: 20,
        object_bytes: 1 << 20,
    };
    for partition in 0..2 {
        assert_eq!(store.ranges_from(key(1, partition), 13, 1).await.expect("read"), std::slice::from_ref(&expected));
        assert_eq!(extents(store, key(1, partition)).await, [(0, 20), (20, 30), (30, 40)]);
    }
    assert_eq!(store.range_at_timestamp(key(1, 0), 0, 15).await.expect("read"), Some(expected));
    assert_eq!(store.producer_history(key(1, 0)).await.expect("read"), history);
    assert_eq!(unreferenced(store, session).await, [found(session, 0), found(session, 1)]);
    let claims = store.claim_objects(session, &[found(session, sequence(0)), found(session, 0)]).await;
    assert_eq!(claims.expect("claimed"), [Claim::Referenced, Claim::Retired]);
    assert_eq!(commit(store, session, 4, vec![range(key(1, 0), 0, 40, 50)]).await, [Accepted]);
    assert_eq!(commit(store, session, 0, vec![range(key(1, 0), 0, 50, 60)]).await, [crate::RangeOutcome::SlotTaken]);
}

/// And what was rewritten can be rewritten again.
pub async fn any_number_of_ranges_becomes_any_other(store: &dyn MetadataStore) {
    let session = logged(store).await;
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 10, 20], &[0, 7, 30])]).await, [DONE]);
    assert_eq!(extents(store, key(1, 0)).await, [(0, 7), (7, 30), (30, 40)]);
    assert!(unreferenced(store, session).await.is_empty(), "partition 1 still has ranges in them");
    assert_eq!(replaced(store, session, 1, &[replacement(&[7], &[7, 8, 9, 30])]).await, [DONE]);
    assert!(unreferenced(store, session).await.is_empty());
    assert_eq!(replaced(store, session, 2, &[replacement(&[0, 7, 8, 9], &[0, 30])]).await, [DONE]);
    let rewritten = [found(session, sequence(0)), found(session, sequence(1))];
    assert_eq!(unreferenced(store, session).await, rewritten);
    assert_eq!(extents(store, key(1, 0)).await, [(0, 30), (30, 40)]);
}

/// Nothing of it happens.
pub async fn what_does_not_fit_is_stale(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let other_organization = PartitionKey { organization: OrganizationId(2), ..key(1, 0) };
    let mut backwards = replacement(&[0, 10], &[0, 10, 20]);
    backwards.ranges.reverse();
    let mut hole = replacement(&[0, 10], &[0, 10, 20]);
    hole.ranges[1].base_offset = 11;
    let cases = [
        replacement(&[], &[]),
        replacement(&[0], &[]),
        replacement(&[], &[0, 10]),
        replacement(&[5], &[5, 10]),
        replacement(&[0, 20], &[0, 30]),
        replacement(&[10, 0], &[0, 20]),
        replacement(&[0, 0, 10], &[0, 20]),
        replacement(&[0, 10], &[0, 10]),
        replacement(&[0, 10], &[0, 21]),
        replacement(&[0, 10], &[1, 20]),
        replacement(&[0, 10], &[0, 0, 20]),
        replacement(&[0, 10], &[0, 25, 20]),
        backwards,
        hole,
        replacement(&[0, 10, 20, 30, 40], &[0, 50]),
        RangesReplacement { key: other_organization, ..replacement(&[], &[]) },
    ];
    for (number, case) in (0..).zip(cases) {
        let outcome = replaced(store, session, number, std::slice::from_ref(&case)).await;
        let is_unknown = case.key == other_organization;
        assert_eq!(outcome, [if is_unknown { TopicDeleted } else { Stale }], "{case:?}");
        assert_eq!(extents(store, key(1, 0)).await, [(0, 10), (10, 20), (20, 30), (30, 40)], "{case:?}");
        let garbage = unreferenced(store, session).await;
        assert_eq!(garbage.last(), Some(&found(session, sequence(number))), "it has a name");
    }
}

/// Who may not, where nothing is.
pub async fn each_replacement_is_checked_alone(store: &dyn MetadataStore) {
    let session = logged(store).await;
    create(store, 2, "deleted", 1).await;
    acquire(store, session, &[key(2, 0)]).await;
    store.delete_topic(OrganizationId::DEFAULT, topic_id(2)).await.expect("deleted");
    let good = replacement(&[0, 10], &[0, 20]);
    let all = [
        RangesReplacement { key: key(2, 0), ..good.clone() },
        RangesReplacement { key: key(9, 9), ..good.clone() },
        RangesReplacement { key: key(1, 1), leader_epoch: 1, ..good.clone() },
        good.clone(),
    ];
    assert_eq!(replaced(store, session, 0, &all).await, [TopicDeleted, TopicDeleted, NotLeader, DONE]);
    assert_eq!(extents(store, key(1, 0)).await, [(0, 20), (20, 30), (30, 40)]);
    assert_eq!(extents(store, key(1, 1)).await.len(), 4);
    assert!(unreferenced(store, session).await.is_empty());
    let other = open(store, "agent-2").await;
    assert_eq!(replaced(store, other, 0, &[RangesReplacement { key: key(1, 1), ..good }]).await, [NotLeader]);
    assert_eq!(unreferenced(store, session).await, [found(other, sequence(0))]);
}

/// Commits build on it, whatever covers it.
pub async fn the_last_range_stays(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let snapshot = Some(SnapshotAt { as_of_offset: 40, snapshot: "as of 40".into() });
    for last in [replacement(&[30], &[30, 40]), replacement(&[20, 30], &[20, 40])] {
        let last = RangesReplacement { snapshot: snapshot.clone(), ..last };
        assert_eq!(replaced(store, session, last.replaced[0], &[last]).await, [Stale]);
    }
    let lease = store.held_leases(session, &[key(1, 0)]).await.expect("read").remove(0);
    assert_eq!(lease.last_object, object_key(session, 3));
}

/// Ranges above it have producer entries that are nowhere else.
pub async fn a_snapshot_must_cover_what_is_replaced(store: &dyn MetadataStore) {
    let session = logged(store).await;
    commit(store, session, 4, vec![range(key(1, 0), 0, 40, 50)]).await;
    let above = replacement(&[20, 30], &[20, 40]);
    let with = |as_of_offset| RangesReplacement {
        snapshot: Some(SnapshotAt { as_of_offset, snapshot: format!("as of {as_of_offset}").into() }),
        ..above.clone()
    };
    for (number, refused) in (0..).zip([above.clone(), with(30), with(39), with(51)]) {
        assert_eq!(replaced(store, session, number, &[refused]).await, [Stale]);
        let newest = store.producer_history(key(1, 0)).await.expect("read").snapshot;
        assert_eq!(newest, Some((30, "as of 30".into())));
    }
    assert_eq!(replaced(store, session, 9, &[with(40)]).await, [DONE]);
    let history = store.producer_history(key(1, 0)).await.expect("read");
    assert_eq!((history.snapshot, history.ranges_since_snapshot), (Some((40, "as of 40".into())), 1));
    assert_eq!(extents(store, key(1, 0)).await, [(0, 10), (10, 20), (20, 40), (40, 50)]);
}

/// Its own row names it.
pub async fn an_object_without_any_replacement_is_retired(store: &dyn MetadataStore) {
    let session = logged(store).await;
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 20], &[0, 30])]).await, [Stale]);
    assert!(replaced(store, session, 1, &[]).await.is_empty());
    let retired = [found(session, sequence(0)), found(session, sequence(1))];
    assert_eq!(unreferenced(store, session).await, retired);
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 10], &[0, 20])]).await, [Stale], "it stays so");
    assert_eq!(extents(store, key(1, 0)).await.len(), 4);
    assert_eq!(store.forget_objects(session, &retired).await.expect("forgotten"), 2);
}

/// Each call is a transaction of its own.
pub async fn an_object_may_come_in_parts(store: &dyn MetadataStore) {
    let session = logged(store).await;
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 10], &[0, 20])]).await, [DONE]);
    let second = RangesReplacement { key: key(1, 1), ..replacement(&[0, 10], &[0, 20]) };
    assert_eq!(replaced(store, session, 0, &[second]).await, [DONE]);
    let ranges = [0, 1].map(|partition| CommittedRange { key: key(1, partition), base_offset: 0 });
    assert_eq!(resolved(store, session, 0).await, Resolution::Committed(ranges.to_vec()));
    let last = RangesReplacement { key: key(1, 1), ..replacement(&[0, 20], &[0, 31]) };
    assert_eq!(replaced(store, session, 0, &[last]).await, [Stale]);
    assert_eq!(unreferenced(store, session).await, [found(session, 0), found(session, 1)], "it is not retired by that");
}

/// The same offsets, in an object with a higher number: a compaction that comes late would bring back what the later one left out.
pub async fn what_was_planned_before_its_rows_came_is_stale(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let same = replacement(&[0, 10], &[0, 10, 20]);
    assert_eq!(replaced(store, session, 1, std::slice::from_ref(&same)).await, [DONE]);
    assert_eq!(replaced(store, session, 0, std::slice::from_ref(&same)).await, [Stale]);
    let in_later = store.ranges_from(key(1, 0), 0, 2).await.expect("read");
    assert!(in_later.iter().all(|row| row.object_key == object_key(session, sequence(1))), "{in_later:?}");
    assert_eq!(replaced(store, session, 2, &[same]).await, [DONE]);
}

/// Also when the first ones are gone again, and the object with them: its slot is not free for the next.
pub async fn a_part_that_comes_after_its_object_is_gone_is_stale(store: &dyn MetadataStore) {
    let session = logged(store).await;
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 10], &[0, 20])]).await, [DONE]);
    let all = LogStartMove { key: key(1, 0), leader_epoch: 0, log_start_offset: 30, snapshot: None };
    store.move_log_starts(session, &[all], 100).await.expect("moved");
    assert_eq!(replaced(store, session, 1, &[replacement(&[0, 20], &[0, 30])]).await, [Stale]);
    let retired = [found(session, sequence(0)), found(session, sequence(1))];
    assert_eq!(store.forget_objects(session, &retired).await.expect("forgotten"), 2);
    let late = RangesReplacement { key: key(1, 1), ..replacement(&[0, 10], &[0, 20]) };
    for number in 0..2 {
        assert_eq!(replaced(store, session, number, std::slice::from_ref(&late)).await, [Stale]);
    }
    assert_eq!(extents(store, key(1, 1)).await, [(0, 10), (10, 20), (20, 30), (30, 40)]);
    store.close_session(session).await.expect("closed");
    let collector = open(store, "agent-2").await;
    let gone = unreferenced(store, collector).await;
    assert!(retired.iter().all(|object| gone.contains(object)), "tombstones of a session that is over: {gone:?}");
    store.forget_objects(collector, &gone).await.expect("forgotten");
    assert!(unreferenced(store, collector).await.is_empty());
}

/// By a tombstone, or under another key.
pub async fn a_taken_slot_makes_everything_stale(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let good = replacement(&[0, 10], &[0, 20]);
    store.claim_objects(session, &[found(session, sequence(0))]).await.expect("claimed");
    let other_key = FoundObject { object_key: "another attempt".to_owned(), ..found(session, sequence(1)) };
    store.claim_objects(session, &[other_key]).await.expect("claimed");
    for number in 0..2 {
        assert_eq!(replaced(store, session, number, &[good.clone(), good.clone()]).await, [Stale, Stale]);
    }
    assert_eq!(replaced(store, session, 2, std::slice::from_ref(&good)).await, [DONE]);
    let again = SegmentRewrite { object_key: "another attempt".to_owned(), ..rewrite(session, 2, &[good]) };
    assert_eq!(store.replace_ranges(session, &again).await.expect("answers"), [Stale]);
    assert_eq!(extents(store, key(1, 0)).await, [(0, 20), (20, 30), (30, 40)]);
}

/// Nothing happens.
pub async fn a_fenced_session_replaces_nothing(store: &dyn MetadataStore) {
    let session = logged(store).await;
    store.close_session(session).await.expect("closed");
    let refused = store.replace_ranges(session, &rewrite(session, 0, &[replacement(&[0, 10], &[0, 20])])).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    let collector = open(store, "agent-2").await;
    assert!(unreferenced(store, collector).await.is_empty(), "not even its slot was taken");
    assert_eq!(extents(store, key(1, 0)).await.len(), 4);
}

/// Either it had come, or it never will.
pub async fn a_lost_reply_is_settled(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let good = replacement(&[0, 10], &[0, 20]);
    assert_eq!(resolved(store, session, 0).await, Resolution::Failed);
    assert_eq!(replaced(store, session, 0, std::slice::from_ref(&good)).await, [Stale]);
    assert_eq!(replaced(store, session, 1, std::slice::from_ref(&good)).await, [DONE]);
    let there = Resolution::Committed(vec![CommittedRange { key: key(1, 0), base_offset: 0 }]);
    for _ in 0..2 {
        assert_eq!(resolved(store, session, 1).await, there);
        assert_eq!(replaced(store, session, 1, std::slice::from_ref(&good)).await, [Stale], "its rows are gone");
    }
    assert_eq!(replaced(store, session, 2, &[replacement(&[7], &[7, 8])]).await, [Stale]);
    assert_eq!(resolved(store, session, 2).await, Resolution::Committed(Vec::new()));
}

/// Neither while they are there, nor once they are collected.
pub async fn rewrites_are_no_segments_of_the_lane(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let last = [LastSegment { session, lane_sequence: 3 }];
    assert_eq!(replaced(store, session, 0, &[replacement(&[0, 10], &[0, 20])]).await, [DONE]);
    assert_eq!(store.last_segments().await.expect("read"), last);
    let all = LogStartMove { key: key(1, 0), leader_epoch: 0, log_start_offset: 30, snapshot: None };
    store.move_log_starts(session, &[all], 100).await.expect("moved");
    let retired = unreferenced(store, session).await;
    assert_eq!(retired, [found(session, sequence(0))]);
    assert_eq!(store.forget_objects(session, &retired).await.expect("forgotten"), 1);
    assert_eq!(store.last_segments().await.expect("read"), last);
}
