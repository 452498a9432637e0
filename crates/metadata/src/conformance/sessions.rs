//! Cases about sessions, node ids and producer ids.

use super::fixture::{open, registration};
use crate::{LaneReport, MetadataStore, StoreError};

/// `empty` turns false for ever.
pub async fn a_new_store_is_empty_until_the_first_session(store: &dyn MetadataStore) {
    assert!(store.cluster().await.expect("read").empty);
    let session = open(store, "agent-1").await;
    assert!(!store.cluster().await.expect("read").empty);
    store.close_session(session).await.expect("closed");
    assert!(!store.cluster().await.expect("read").empty);
}

/// It is written once.
pub async fn the_cluster_id_does_not_change(store: &dyn MetadataStore) {
    let before = store.cluster().await.expect("read").cluster_id;
    open(store, "agent-1").await;
    assert_eq!(store.cluster().await.expect("read").cluster_id, before);
    assert!(!before.is_nil());
}

/// A node id belongs to its AGENT_ID for ever; sessions only rise.
pub async fn sessions_are_never_reused_and_node_ids_are_stable(store: &dyn MetadataStore) {
    let mut last = None;
    for (agent, node_id) in [("b", 1), ("a", 2), ("b", 1), ("c", 3), ("a", 2)] {
        let opened = store.open_session(&registration(agent)).await.expect("opens");
        assert_eq!(opened.node_id, node_id);
        assert!(last.is_none_or(|last| opened.session > last));
        last = Some(opened.session);
        store.close_session(opened.session).await.expect("closed");
    }
}

/// The answer names the fenced one.
pub async fn a_second_session_of_an_agent_fences_the_first(store: &dyn MetadataStore) {
    let first = open(store, "agent-1").await;
    let other = open(store, "agent-2").await;
    let second = store.open_session(&registration("agent-1")).await.expect("opens");
    assert_eq!(second.fenced, Some(first));
    assert!(matches!(store.renew_session(first, LaneReport::default()).await, Err(StoreError::Fenced)));
    store.renew_session(second.session, LaneReport::default()).await.expect("renewed");
    store.renew_session(other, LaneReport::default()).await.expect("another agent is not touched");
}

/// `fenced` is `None`.
pub async fn a_clean_close_leaves_nothing_to_fence(store: &dyn MetadataStore) {
    let first = open(store, "agent-1").await;
    store.close_session(first).await.expect("closed");
    assert_eq!(store.open_session(&registration("agent-1")).await.expect("opens").fenced, None);
}

/// Also for a session that never was.
pub async fn a_closed_session_is_fenced_and_close_is_idempotent(store: &dyn MetadataStore) {
    let session = open(store, "agent-1").await;
    store.close_session(session).await.expect("closed");
    store.close_session(session).await.expect("closed again");
    store.close_session(segment::SessionId(999)).await.expect("unknown");
    assert!(matches!(store.renew_session(session, LaneReport::default()).await, Err(StoreError::Fenced)));
    let refreshed = store.update_registration(session, &registration("agent-1")).await;
    assert!(matches!(refreshed, Err(StoreError::Fenced)));
    assert!(matches!(
        store.renew_session(segment::SessionId(999), LaneReport::default()).await,
        Err(StoreError::Fenced)
    ));
}

/// Closed and fenced ones are left out.
pub async fn only_active_sessions_are_listed_by_node_id(store: &dyn MetadataStore) {
    assert!(store.list_agents().await.expect("list").is_empty());
    let first = open(store, "b").await;
    open(store, "a").await;
    let third = open(store, "c").await;
    store.close_session(first).await.expect("closed");
    let second = open(store, "a").await;
    let agents = store.list_agents().await.expect("list");
    let seen: Vec<_> = agents.iter().map(|agent| (agent.session, agent.node_id)).collect();
    assert_eq!(seen, [(second, 2), (third, 3)]);
    assert_eq!(agents[0].registration, registration("a"));
}

/// The new entry is listed.
pub async fn a_registration_can_be_refreshed(store: &dyn MetadataStore) {
    let session = open(store, "agent-1").await;
    let mut moved = registration("agent-1");
    moved.zone = "zone-2".to_owned();
    moved.group = "other".to_owned();
    moved.managed_topics = "a,b".to_owned();
    moved.kafka_address = "elsewhere:1".to_owned();
    moved.grpc_address = "elsewhere:2".to_owned();
    store.update_registration(session, &moved).await.expect("refreshed");
    assert_eq!(store.list_agents().await.expect("list")[0].registration, moved);
}

/// No id is given twice.
pub async fn producer_id_blocks_are_disjoint(store: &dyn MetadataStore) {
    let first = store.allocate_producer_ids(1000).await.expect("block");
    let second = store.allocate_producer_ids(1).await.expect("block");
    let third = store.allocate_producer_ids(10).await.expect("block");
    assert!(first >= 0);
    assert!(second >= first + 1000);
    assert!(third > second);
}
