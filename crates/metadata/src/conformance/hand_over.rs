//! Cases about giving leases from one session to another.

use segment::{OrganizationId, SessionId};

use super::fixture::{acquire, commit, create, key, leased, object_key, open, range, segment, topic_id};
use crate::{LeaseHolder, LeaseRow, MetadataStore, RangeOutcome, StoreError};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// Under the next epoch, where the log ends.
pub async fn a_partition_changes_hands(store: &dyn MetadataStore) {
    let from = leased(store, 2).await;
    let to = open(store, "agent-2").await;
    commit(store, from, 0, vec![range(key(1, 0), 0, 0, 7)]).await;
    let given = store.hand_over_leases(from, to, &[key(1, 0)]).await.expect("given");
    assert_eq!(given, [LeaseHolder { key: key(1, 0), session: Some(to), leader_epoch: 1 }]);
    let held = store.held_leases(to, &[key(1, 0), key(1, 1)]).await.expect("read");
    let expected = LeaseRow {
        key: key(1, 0),
        leader_epoch: 1,
        next_offset: 7,
        log_start_offset: 0,
        last_append_time: held[0].last_append_time,
        last_object: object_key(from, 0),
        cleaned_offset: 0,
    };
    assert_eq!(held, [expected]);
    assert_eq!(store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read"), [(0, 0), (1, 7)]);
    assert_eq!(store.held_leases(from, &[key(1, 0), key(1, 1)]).await.expect("read").len(), 1, "the other one stays");
    let late = store.commit_segments(from, &[segment(from, 1, vec![range(key(1, 0), 0, 7, 8)])]).await;
    assert_eq!(late.expect("commits").segments, [[RangeOutcome::NotLeader]], "the former holder writes no more");
    assert_eq!(commit(store, to, 0, vec![range(key(1, 0), 1, 7, 9)]).await, [RangeOutcome::Accepted]);
}

/// Others are left out of the answer.
pub async fn only_what_is_held_is_given(store: &dyn MetadataStore) {
    let from = leased(store, 2).await;
    let to = open(store, "agent-2").await;
    create(store, 2, "others", 1).await;
    create(store, 3, "gone", 1).await;
    acquire(store, to, &[key(2, 0)]).await;
    acquire(store, from, &[key(3, 0)]).await;
    store.delete_topic(ORGANIZATION, topic_id(3)).await.expect("deleted");
    let keys = [key(3, 0), key(2, 0), key(1, 1), key(1, 1), key(9, 0)];
    let given = store.hand_over_leases(from, to, &keys).await.expect("given");
    assert_eq!(given.iter().map(|holder| holder.key).collect::<Vec<_>>(), [key(1, 1)]);
    let kept = store.confirm_leases(to, &[key(2, 0)]).await.expect("read");
    assert_eq!(kept, [Some(0)], "what the receiver held already keeps its epoch");
    assert!(store.held_leases(to, &[key(3, 0)]).await.expect("read").is_empty());
}

/// Nothing is given to the dead, or by them.
pub async fn both_sessions_must_be_active(store: &dyn MetadataStore) {
    let from = leased(store, 1).await;
    let to = open(store, "agent-2").await;
    store.close_session(to).await.expect("closed");
    assert!(store.hand_over_leases(from, to, &[key(1, 0)]).await.expect("answered").is_empty());
    assert!(store.hand_over_leases(from, SessionId(99), &[key(1, 0)]).await.expect("answered").is_empty());
    assert_eq!(store.confirm_leases(from, &[key(1, 0)]).await.expect("read"), [Some(0)]);
    let third = open(store, "agent-3").await;
    store.close_session(from).await.expect("closed");
    assert!(matches!(store.hand_over_leases(from, third, &[key(1, 0)]).await, Err(StoreError::Fenced)));
    assert!(store.held_leases(from, &[key(1, 0)]).await.expect("read").is_empty());
}
