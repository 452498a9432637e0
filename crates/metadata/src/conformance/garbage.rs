//! Cases about garbage collection.

use segment::{OrganizationId, SessionId};

use super::fixture::{commit, found, key, leased, open, range, reference, segment, topic_id, unreferenced};
use crate::{Claim, FoundObject, LastSegment, MetadataStore, RangeOutcome, Resolution, StoreError};

/// An hour.
const GRACE_MS: i64 = 3_600_000;

/// And its commit, should it come later, is refused.
pub async fn an_orphan_is_claimed_for_ever(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let collector = open(store, "agent-2").await;
    for _ in 0..2 {
        assert_eq!(store.claim_objects(collector, &[found(session, 0)]).await.expect("claimed"), [Claim::Garbage]);
    }
    let late = store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await;
    assert_eq!(late.expect("commits").segments, [[RangeOutcome::SlotTaken]]);
    let resolved = store.resolve_commit(session, &[reference(session, 0)]).await.expect("resolved");
    assert_eq!(resolved, [Resolution::Failed]);
    assert_eq!(commit(store, session, 1, vec![range(key(1, 0), 0, 0, 1)]).await, [RangeOutcome::Accepted]);
}

/// Whatever its age.
pub async fn an_object_with_records_is_never_claimed(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    let collector = open(store, "agent-2").await;
    let claims = store.claim_objects(collector, &[found(session, 1), found(session, 0)]).await.expect("claimed");
    assert_eq!(claims, [Claim::Garbage, Claim::Referenced]);
    store.close_session(session).await.expect("closed");
    assert_eq!(store.claim_objects(collector, &[found(session, 0)]).await.expect("claimed"), [Claim::Referenced]);
    assert_eq!(unreferenced(store, collector).await, [found(session, 1)]);
}

/// It may be another database's.
pub async fn an_object_of_an_unknown_session_is_not_touched(store: &dyn MetadataStore) {
    let collector = open(store, "agent-1").await;
    let unknown = found(SessionId(77), 0);
    assert_eq!(store.claim_objects(collector, &[unknown]).await.expect("claimed"), [Claim::UnknownSession]);
    assert!(unreferenced(store, collector).await.is_empty(), "no tombstone was put");
}

/// Another key has its slot.
pub async fn an_object_whose_slot_is_taken_is_garbage(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    let other = FoundObject { object_key: "another attempt".to_owned(), ..found(session, 0) };
    assert_eq!(store.claim_objects(session, &[other]).await.expect("claimed"), [Claim::Garbage]);
    assert_eq!(store.claim_objects(session, &[found(session, 0)]).await.expect("claimed"), [Claim::Referenced]);
}

/// Rejected as a whole, or its topic purged.
pub async fn segments_without_ranges_are_retired(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1), range(key(1, 1), 0, 0, 1)]).await;
    commit(store, session, 1, vec![range(key(1, 0), 0, 9, 10)]).await;
    commit(store, session, 2, Vec::new()).await;
    let collector = open(store, "agent-2").await;
    let rejected = [found(session, 1), found(session, 2)];
    assert_eq!(unreferenced(store, collector).await, rejected);
    let claims = store.claim_objects(collector, &rejected).await.expect("claimed");
    assert_eq!(claims, [Claim::Retired; 2], "by whoever lists them too");
    store.delete_topic(OrganizationId::DEFAULT, topic_id(1)).await.expect("deleted");
    assert_eq!(store.purge_deleted(1).await.expect("purged"), 1);
    assert_eq!(unreferenced(store, collector).await, rejected, "one of its ranges is left");
    while store.purge_deleted(100).await.expect("purged") > 0 {}
    let mut all = unreferenced(store, collector).await;
    all.sort_by_key(|object| object.lane_sequence);
    assert_eq!(all, [found(session, 0), found(session, 1), found(session, 2)]);
    let resolved = store.resolve_commit(session, &[reference(session, 0), reference(session, 1)]).await;
    assert_eq!(resolved.expect("resolved"), [Resolution::Committed(Vec::new()), Resolution::Committed(Vec::new())]);
}

/// Whoever still holds its ranges may read them meanwhile.
pub async fn a_retired_segment_is_told_of_when_its_grace_is_over(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 9, 10)]).await;
    assert!(store.claim_unreferenced(session, GRACE_MS, 10).await.expect("read").is_empty());
    assert_eq!(unreferenced(store, session).await, [found(session, 0)]);
    assert_eq!(unreferenced(store, session).await, [found(session, 0)], "again, until it is forgotten");
}

/// At once, but that it was committed is remembered.
pub async fn a_retired_segment_is_forgotten_while_its_session_lives(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    commit(store, session, 1, vec![range(key(1, 0), 0, 9, 10)]).await;
    let last = [LastSegment { session, lane_sequence: 1 }];
    assert_eq!(store.last_segments().await.expect("read"), last);
    let another_key = FoundObject { object_key: "another attempt".to_owned(), ..found(session, 1) };
    let never_was = found(session, 7);
    let all = [found(session, 0), found(session, 1), another_key, never_was];
    assert_eq!(store.forget_objects(session, &all).await.expect("forgotten"), 1, "and no segment with ranges");
    assert!(unreferenced(store, session).await.is_empty());
    assert_eq!(store.last_segments().await.expect("read"), last);
    assert_eq!(store.ranges_from(key(1, 0), 0, 9).await.expect("read").len(), 1);
}

/// At most so many.
pub async fn claims_are_limited(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    for lane in 0..3 {
        commit(store, session, lane, Vec::new()).await;
    }
    store.claim_objects(session, &[found(session, 3)]).await.expect("claimed");
    store.close_session(session).await.expect("closed");
    let collector = open(store, "agent-2").await;
    for (limit, expected) in [(0, 0), (2, 2), (3, 3), (4, 4), (9, 4)] {
        let claimed = store.claim_unreferenced(collector, 0, limit).await.expect("read");
        assert_eq!(claimed.len(), expected, "at most {limit}");
        assert!(claimed.iter().zip(0..).all(|(object, lane)| *object == found(session, lane)), "tombstones come last");
    }
}

/// Else a commit that is still under way could find its place free.
pub async fn a_tombstone_outlives_its_session(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let collector = open(store, "agent-2").await;
    store.claim_objects(collector, &[found(session, 0)]).await.expect("claimed");
    let objects = [found(session, 0)];
    assert!(unreferenced(store, collector).await.is_empty(), "its session lives");
    assert_eq!(store.forget_objects(collector, &objects).await.expect("answered"), 0);
    store.close_session(session).await.expect("closed");
    assert_eq!(unreferenced(store, collector).await, objects);
    assert_eq!(store.forget_objects(collector, &objects).await.expect("answered"), 1);
    assert!(store.last_segments().await.expect("read").is_empty(), "it was never committed");
    let late = store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
}

/// All three.
pub async fn a_fenced_session_collects_nothing(store: &dyn MetadataStore) {
    let session = open(store, "agent-1").await;
    store.close_session(session).await.expect("closed");
    assert!(matches!(store.claim_objects(session, &[]).await, Err(StoreError::Fenced)));
    assert!(matches!(store.claim_unreferenced(session, 0, 1).await, Err(StoreError::Fenced)));
    assert!(matches!(store.forget_objects(session, &[]).await, Err(StoreError::Fenced)));
}
