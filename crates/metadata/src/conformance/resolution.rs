//! Cases about commits whose reply was lost.

use super::fixture::{commit, key, leased, object_key, range, reference, segment};
use crate::{
    CommittedRange, MetadataStore,
    RangeOutcome::{Accepted, SlotTaken},
    Resolution, SegmentCommit, StoreError,
};

/// The tombstone is in its way: `SlotTaken` for every range.
pub async fn a_segment_that_never_came_is_failed_and_never_commits(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    let resolved = store.resolve_commit(session, &[reference(session, 0)]).await.expect("resolved");
    assert_eq!(resolved, [Resolution::Failed]);
    let ranges = vec![range(key(1, 0), 0, 0, 10), range(key(1, 1), 0, 0, 10)];
    assert_eq!(commit(store, session, 0, ranges).await, [SlotTaken, SlotTaken]);
    assert!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").is_empty());
    assert_eq!(commit(store, session, 1, vec![range(key(1, 0), 0, 0, 10)]).await, [Accepted]);
}

/// Each partition that succeeded, by key.
pub async fn a_committed_segment_resolves_to_its_ranges(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    commit(store, session, 0, vec![range(key(1, 1), 0, 0, 10), range(key(1, 0), 0, 0, 7)]).await;
    commit(store, session, 1, vec![range(key(1, 1), 0, 10, 20)]).await;
    let resolved = store.resolve_commit(session, &[reference(session, 0)]).await.expect("resolved");
    let ranges =
        vec![CommittedRange { key: key(1, 0), base_offset: 0 }, CommittedRange { key: key(1, 1), base_offset: 0 }];
    assert_eq!(resolved, [Resolution::Committed(ranges)]);
}

/// A lost reply repeats the step.
pub async fn resolving_twice_tells_the_same(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await;
    let segments = [reference(session, 0), reference(session, 1)];
    let first = store.resolve_commit(session, &segments).await.expect("resolved");
    assert!(matches!(first[..], [Resolution::Committed(_), Resolution::Failed]));
    assert_eq!(store.resolve_commit(session, &segments).await.expect("resolved"), first);
}

/// Down to none.
pub async fn only_accepted_ranges_are_in_a_resolution(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 5, 10), range(key(1, 1), 0, 0, 10)]).await;
    commit(store, session, 1, vec![range(key(1, 0), 0, 5, 10)]).await;
    let segments = [reference(session, 0), reference(session, 1)];
    let resolved = store.resolve_commit(session, &segments).await.expect("resolved");
    let accepted = vec![CommittedRange { key: key(1, 1), base_offset: 0 }];
    assert_eq!(resolved, [Resolution::Committed(accepted), Resolution::Committed(Vec::new())]);
}

/// `Fenced`: its outcome stays unknown to it, and no tombstone is left.
pub async fn a_fenced_session_resolves_nothing(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await;
    store.close_session(session).await.expect("closed");
    let segments = [reference(session, 0), reference(session, 1)];
    assert!(matches!(store.resolve_commit(session, &segments).await, Err(StoreError::Fenced)));
    assert!(matches!(store.resolve_commit(session, &[]).await, Err(StoreError::Fenced)));
}

/// In one transaction.
pub async fn several_segments_resolve_in_order(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let both =
        [segment(session, 1, vec![range(key(1, 0), 0, 0, 3)]), segment(session, 2, vec![range(key(1, 0), 0, 3, 6)])];
    store.commit_segments(session, &both).await.expect("committed");
    let segments = [reference(session, 0), reference(session, 1), reference(session, 2), reference(session, 3)];
    let resolved = store.resolve_commit(session, &segments).await.expect("resolved");
    let committed = |base_offset| Resolution::Committed(vec![CommittedRange { key: key(1, 0), base_offset }]);
    assert_eq!(resolved, [Resolution::Failed, committed(0), committed(3), Resolution::Failed]);
}

/// A second attempt under a new key finds its place taken, and can never commit.
pub async fn a_slot_taken_by_another_object_is_a_failure(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 3)]).await;
    let mut second = reference(session, 0);
    second.object_key = format!("{}-second", object_key(session, 0));
    let resolved = store.resolve_commit(session, std::slice::from_ref(&second)).await.expect("resolved");
    assert_eq!(resolved, [Resolution::Failed]);
    let again = SegmentCommit { object_key: second.object_key, ..segment(session, 0, vec![range(key(1, 0), 0, 3, 4)]) };
    let outcome = store.commit_segments(session, &[again]).await.expect("answers");
    assert_eq!(outcome.segments, [[SlotTaken]]);
}
