//! Cases about garbage collection.

use segment::{OrganizationId, SessionId};

use super::fixture::{commit, key, leased, object_key, open, range, reference, segment, topic_id};
use crate::{Claim, FoundObject, LastSegment, MetadataStore, RangeOutcome, Resolution, StoreError};

fn found(session: SessionId, lane_sequence: i64) -> FoundObject {
    let object_key = object_key(session, lane_sequence);
    FoundObject { session, lane_sequence, organization: OrganizationId::DEFAULT, object_key }
}

/// And its commit, should it come later, is refused.
pub async fn an_orphan_is_claimed_for_ever(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let collector = open(store, "agent-2").await;
    for _ in 0..2 {
        assert_eq!(store.claim_objects(collector, &[found(session, 0)]).await.expect("claimed"), [Claim::Garbage]);
    }
    let late = store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await;
    assert_eq!(late.expect("commits").segments, [[RangeOutcome::OffsetMismatch]]);
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
    assert!(!store.claim_unreferenced(collector, 10).await.expect("claimed").contains(&object_key(session, 0)));
}

/// It may be another database's.
pub async fn an_object_of_an_unknown_session_is_not_touched(store: &dyn MetadataStore) {
    let collector = open(store, "agent-1").await;
    let unknown = found(SessionId(77), 0);
    assert_eq!(store.claim_objects(collector, &[unknown]).await.expect("claimed"), [Claim::UnknownSession]);
    assert!(store.claim_unreferenced(collector, 10).await.expect("claimed").is_empty(), "no tombstone was put");
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
pub async fn segments_without_ranges_are_garbage(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    commit(store, session, 1, vec![range(key(1, 0), 0, 9, 10)]).await;
    let collector = open(store, "agent-2").await;
    assert_eq!(store.claim_unreferenced(collector, 10).await.expect("claimed"), [object_key(session, 1)]);
    assert!(store.claim_unreferenced(collector, 10).await.expect("claimed").is_empty(), "told once while it lives");
    store.delete_topic(OrganizationId::DEFAULT, topic_id(1)).await.expect("deleted");
    while store.purge_deleted(100).await.expect("purged") > 0 {}
    assert_eq!(store.claim_unreferenced(collector, 10).await.expect("claimed"), [object_key(session, 0)]);
    let last = [LastSegment { session, lane_sequence: 1 }];
    assert_eq!(store.last_segments().await.expect("read"), last, "that they were committed is remembered");
    store.close_session(session).await.expect("closed");
    let mut all = store.claim_unreferenced(collector, 10).await.expect("claimed");
    assert_eq!(all, [object_key(session, 0), object_key(session, 1)], "again, once its session is over");
    all.push("never was".to_owned());
    assert_eq!(store.forget_tombstones(collector, &all).await.expect("forgotten"), 2);
    assert!(store.claim_unreferenced(collector, 10).await.expect("claimed").is_empty());
    assert_eq!(store.last_segments().await.expect("read"), last);
}

/// Else a commit that is still under way could find its place free.
pub async fn a_tombstone_outlives_its_session(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let collector = open(store, "agent-2").await;
    store.claim_objects(collector, &[found(session, 0)]).await.expect("claimed");
    let keys = [object_key(session, 0)];
    assert_eq!(store.forget_tombstones(collector, &keys).await.expect("answered"), 0);
    store.close_session(session).await.expect("closed");
    assert_eq!(store.forget_tombstones(collector, &keys).await.expect("answered"), 1);
    let late = store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
}

/// All three.
pub async fn a_fenced_session_collects_nothing(store: &dyn MetadataStore) {
    let session = open(store, "agent-1").await;
    store.close_session(session).await.expect("closed");
    assert!(matches!(store.claim_objects(session, &[]).await, Err(StoreError::Fenced)));
    assert!(matches!(store.claim_unreferenced(session, 1).await, Err(StoreError::Fenced)));
    assert!(matches!(store.forget_tombstones(session, &[]).await, Err(StoreError::Fenced)));
}
