//! A segment commit that happens after its caller gave it up: the in-memory model's way to test what a tombstone is for.

use metadata::conformance::fixture::{key, leased, range, reference, segment};
use metadata::{FailPoint, MemoryStore, Resolution, SeededBug, Segments, StoreError};

async fn a_commit_on_its_way(store: &MemoryStore) -> segment::SessionId {
    let session = leased(store, 1).await;
    store.fail_next(FailPoint::LandsLate);
    let commit = store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await;
    assert!(matches!(commit, Err(StoreError::Unknown(_))));
    session
}

fn store() -> MemoryStore {
    MemoryStore::new(uuid::Uuid::from_u128(7), || 0)
}

#[tokio::test]
async fn it_happens_when_it_lands_unless_it_was_resolved_before() {
    let unresolved = store();
    a_commit_on_its_way(&unresolved).await;
    assert_eq!((unresolved.land_late_commits(), unresolved.land_late_commits()), (1, 0));
    assert_eq!(unresolved.ranges_from(key(1, 0), 0, 9).await.expect("read").len(), 1);

    let resolved = store();
    let session = a_commit_on_its_way(&resolved).await;
    let resolution = resolved.resolve_commit(session, &[reference(session, 0)]).await.expect("resolved");
    assert_eq!((resolution, resolved.land_late_commits()), (vec![Resolution::Failed], 0));
}

#[tokio::test]
async fn a_look_up_does_not_keep_it_away() {
    let store = store().with_seeded_bug(SeededBug::LookUpInsteadOfTombstone);
    let session = a_commit_on_its_way(&store).await;
    let resolution = store.resolve_commit(session, &[reference(session, 0)]).await.expect("resolved");
    assert_eq!((resolution, store.land_late_commits()), (vec![Resolution::Failed], 1));
}
