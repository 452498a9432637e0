//! Cases about leases and leader epochs.

use segment::{OrganizationId, SessionId};

use super::fixture::{acquire, commit, create, key, leased, object_key, open, range, registration, topic_id};
use crate::{LeaseRow, MetadataStore, StoreError};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// First acquisition of a new partition: epoch 0, offset 0.
pub async fn an_acquisition_raises_the_epoch_and_returns_the_row(store: &dyn MetadataStore) {
    create(store, 1, "orders", 2).await;
    let session = open(store, "agent-1").await;
    let rows = acquire(store, session, &[key(1, 1)]).await;
    let expected = LeaseRow {
        key: key(1, 1),
        leader_epoch: 0,
        next_offset: 0,
        log_start_offset: 0,
        last_append_time: -1,
        last_object: String::new(),
        cleaned_offset: 0,
    };
    assert_eq!(rows, [expected]);
    assert_eq!(store.leader_epochs(ORGANIZATION, topic_id(1), 1).await.expect("read"), [(0, 0)]);
    assert!(store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read").is_empty());
}

/// It is left out of the answer; the others are acquired.
pub async fn a_lease_of_a_live_session_is_not_taken(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    store.create_partitions(ORGANIZATION, topic_id(1), 2).await.expect("grown");
    let other = open(store, "agent-2").await;
    let rows = acquire(store, other, &[key(1, 0), key(1, 1)]).await;
    assert_eq!(rows.iter().map(|row| row.key).collect::<Vec<_>>(), [key(1, 1)]);
    let held = store.confirm_leases(session, &[key(1, 0)]).await.expect("read");
    assert_eq!(held, [Some(0)], "the refused acquisition changed nothing");
}

/// Its partitions are without a lease.
pub async fn a_lease_of_a_closed_session_is_taken(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    store.close_session(session).await.expect("closed");
    let other = open(store, "agent-2").await;
    assert_eq!(acquire(store, other, &[key(1, 0)]).await[0].leader_epoch, 1);
}

/// By the same agent's next session, for one.
pub async fn a_lease_of_a_fenced_session_is_taken(store: &dyn MetadataStore) {
    let first = leased(store, 1).await;
    let second = store.open_session(&registration("agent-1")).await.expect("opens");
    assert_eq!(second.fenced, Some(first));
    assert_eq!(acquire(store, second.session, &[key(1, 0)]).await[0].leader_epoch, 1);
}

/// And its former epoch is over.
pub async fn the_holder_acquires_again_with_a_new_epoch(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    assert_eq!(acquire(store, session, &[key(1, 0), key(1, 0)]).await.len(), 1, "a repeated key counts once");
    assert_eq!(store.confirm_leases(session, &[key(1, 0)]).await.expect("read"), [Some(1)]);
}

/// They are left out of the answer.
pub async fn deleted_and_unknown_partitions_are_not_acquired(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    create(store, 2, "invoices", 1).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let rows = acquire(store, session, &[key(1, 0), key(2, 0), key(2, 1), key(3, 0)]).await;
    assert_eq!(rows.iter().map(|row| row.key).collect::<Vec<_>>(), [key(2, 0)]);
    assert_eq!(store.confirm_leases(session, &[key(1, 0)]).await.expect("read"), [None]);
}

/// `Fenced`, and nothing changed.
pub async fn a_fenced_session_acquires_nothing(store: &dyn MetadataStore) {
    create(store, 1, "orders", 1).await;
    let session = open(store, "agent-1").await;
    store.close_session(session).await.expect("closed");
    let refused = store.acquire_leases(session, &[key(1, 0)]).await;
    assert!(matches!(refused, Err(StoreError::Fenced)));
    assert!(store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read").is_empty());
}

/// An epoch under which nothing was written leaves no trace.
pub async fn an_acquisition_at_the_same_offset_replaces_the_former_epoch(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    acquire(store, session, &[key(1, 0)]).await;
    acquire(store, session, &[key(1, 0)]).await;
    assert_eq!(store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read"), [(2, 0)]);
}

/// One entry per epoch that wrote.
pub async fn the_epoch_history_ascends(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    for epoch in 0..3 {
        let base = i64::from(epoch) * 10;
        commit(store, session, i64::from(epoch), vec![range(key(1, 0), epoch, base, base + 10)]).await;
        acquire(store, session, &[key(1, 0)]).await;
    }
    let history = store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read");
    assert_eq!(history, [(0, 0), (1, 10), (2, 20), (3, 30)]);
}

/// The epoch while held by this very session, else `None`, in the order of the request.
pub async fn confirmation_follows_the_lease(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    let keys = [key(1, 1), key(7, 0), key(1, 0)];
    assert_eq!(store.confirm_leases(session, &keys).await.expect("read"), [Some(0), None, Some(0)]);
    assert_eq!(store.confirm_leases(session, &[]).await.expect("read"), []);
    let other = open(store, "agent-2").await;
    assert_eq!(store.confirm_leases(other, &keys).await.expect("read"), [None, None, None]);
    store.close_session(session).await.expect("closed");
    assert_eq!(store.confirm_leases(session, &keys).await.expect("read"), [None, None, None]);
    assert_eq!(store.confirm_leases(SessionId(99), &keys).await.expect("read"), [None, None, None]);
}

/// Offset, append time and last object are the committed ones.
pub async fn the_next_holder_continues_where_the_last_one_stopped(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let mut committed = range(key(1, 0), 0, 0, 7);
    committed.append_time = 1234;
    commit(store, session, 3, vec![committed]).await;
    store.close_session(session).await.expect("closed");
    let next = open(store, "agent-2").await;
    let row = acquire(store, next, &[key(1, 0)]).await.remove(0);
    assert_eq!((row.leader_epoch, row.next_offset, row.last_append_time), (1, 7, 1234));
    assert_eq!(row.last_object, object_key(session, 3));
}

/// The most a call may ask.
pub async fn a_thousand_leases_in_one_call(store: &dyn MetadataStore) {
    let session = leased(store, 1000).await;
    let keys: Vec<_> = (0..1000).rev().map(|partition| key(1, partition)).collect();
    assert_eq!(store.confirm_leases(session, &keys).await.expect("read"), vec![Some(0); 1000]);
    let rows = acquire(store, session, &keys).await;
    assert!(rows.iter().all(|row| row.leader_epoch == 1));
    assert!(rows.is_sorted_by_key(|row| row.key), "ascending by key");
}
