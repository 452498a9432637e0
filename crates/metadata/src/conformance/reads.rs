//! Cases about the reads over ranges.

use segment::{PartitionKey, SessionId, TimestampMs};

use super::fixture::{commit, key, leased, open, range, reference};
use crate::{LastSegment, MetadataStore, RangeOutcome::Accepted};

/// Ranges of ten offsets each with the given greatest timestamps.
async fn with_timestamps(store: &dyn MetadataStore, timestamps: &[TimestampMs]) -> (SessionId, PartitionKey) {
    let session = leased(store, 1).await;
    for (lane, timestamp) in (0..).zip(timestamps) {
        let mut stamped = range(key(1, 0), 0, lane * 10, lane * 10 + 10);
        stamped.max_timestamp = *timestamp;
        assert_eq!(commit(store, session, lane, vec![stamped]).await, [Accepted]);
    }
    (session, key(1, 0))
}

/// A fetch at offset 15 needs the range 10..20.
pub async fn ranges_begin_with_the_one_that_holds_the_offset(store: &dyn MetadataStore) {
    let (_, key) = with_timestamps(store, &[0; 4]).await;
    for (from, expected) in [(0, vec![0, 10, 20, 30]), (15, vec![10, 20, 30]), (20, vec![20, 30]), (39, vec![30])] {
        let bases: Vec<_> =
            store.ranges_from(key, from, 10).await.expect("read").iter().map(|range| range.base_offset).collect();
        assert_eq!(bases, expected, "from {from}");
    }
    assert!(store.ranges_from(key, 40, 10).await.expect("read").is_empty());
}

/// To the first ones.
pub async fn ranges_are_limited(store: &dyn MetadataStore) {
    let (_, key) = with_timestamps(store, &[0; 4]).await;
    let ranges = store.ranges_from(key, 5, 2).await.expect("read");
    assert_eq!(ranges.iter().map(|range| range.base_offset).collect::<Vec<_>>(), [0, 10]);
    assert!(store.ranges_from(key, 5, 0).await.expect("read").is_empty());
}

/// Existing, unknown, all the same.
pub async fn a_partition_without_ranges_answers_nothing(store: &dyn MetadataStore) {
    leased(store, 1).await;
    for key in [key(1, 0), key(9, 9)] {
        assert!(store.ranges_from(key, 0, 10).await.expect("read").is_empty());
        assert_eq!(store.range_at_timestamp(key, 0, 0).await.expect("read"), None);
        assert_eq!(store.range_of_max_timestamp(key, 0).await.expect("read"), None);
        assert_eq!(store.producer_history(key).await.expect("read"), crate::ProducerHistory::default());
    }
    assert!(store.last_segments().await.expect("read").is_empty());
}

/// By offset, not by timestamp; from the range that holds `from`.
pub async fn a_timestamp_finds_the_first_range_that_reaches_it(store: &dyn MetadataStore) {
    let (_, key) = with_timestamps(store, &[100, 300, 200, 400]).await;
    let cases = [(0, 50, Some(0)), (0, 101, Some(10)), (0, 300, Some(10)), (0, 301, Some(30)), (0, 401, None)];
    let later = [(10, 50, Some(10)), (19, 150, Some(10)), (20, 150, Some(20)), (25, 250, Some(30)), (40, 0, None)];
    for (from, timestamp, expected) in cases.into_iter().chain(later) {
        let found = store.range_at_timestamp(key, from, timestamp).await.expect("read");
        assert_eq!(found.map(|range| range.base_offset), expected, "from {from} at {timestamp}");
    }
}

/// Among equals the one with the lowest offset.
pub async fn the_first_range_with_the_greatest_timestamp_wins(store: &dyn MetadataStore) {
    let (_, key) = with_timestamps(store, &[500, 100, 300, 300, 200]).await;
    for (from, expected) in [(0, Some(0)), (9, Some(0)), (10, Some(20)), (29, Some(20)), (30, Some(30)), (50, None)] {
        let found = store.range_of_max_timestamp(key, from).await.expect("read");
        assert_eq!(found.map(|range| range.base_offset), expected, "from {from}");
    }
}

/// Entries before it are in it; empty ones are counted only.
pub async fn producer_history_starts_at_the_newest_snapshot(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let entries = [("a", None), ("b", Some("ab")), ("", None), ("d", None)];
    for (lane, (producers, snapshot)) in (0..).zip(entries) {
        let mut idempotent = range(key(1, 0), 0, lane, lane + 1);
        idempotent.producers = producers.into();
        idempotent.snapshot = snapshot.map(Into::into);
        assert_eq!(commit(store, session, lane, vec![idempotent]).await, [Accepted]);
        if lane == 0 {
            let history = store.producer_history(key(1, 0)).await.expect("read");
            assert_eq!((history.snapshot, history.entries), (None, vec!["a".into()]));
        }
    }
    let history = store.producer_history(key(1, 0)).await.expect("read");
    assert_eq!(history.snapshot, Some((2, "ab".into())));
    assert_eq!(history.entries, ["d"]);
    assert_eq!(history.ranges_since_snapshot, 2);
}

/// A tombstone is not a commit.
pub async fn last_segments_count_committed_ones_only(store: &dyn MetadataStore) {
    let first = leased(store, 1).await;
    commit(store, first, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    commit(store, first, 5, vec![range(key(1, 0), 0, 1, 2)]).await;
    store.resolve_commit(first, &[reference(first, 6)]).await.expect("resolved");
    let second = open(store, "agent-2").await;
    open(store, "agent-3").await;
    commit(store, second, 2, Vec::new()).await;
    let expected =
        [LastSegment { session: first, lane_sequence: 5 }, LastSegment { session: second, lane_sequence: 2 }];
    assert_eq!(store.last_segments().await.expect("read"), expected);
}
