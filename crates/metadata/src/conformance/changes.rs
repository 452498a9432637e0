//! Cases about what agents learn of each other.

use segment::{OrganizationId, SessionId};

use super::fixture::{acquire, commit, create, key, leased, open, range, registration, topic_id};
use crate::{LaneReport, LeaseHolder, MetadataStore, Registration, StoreError};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// All topics and leases, no deletions, and the version to go on from.
pub async fn everything_is_told_at_first(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    create(store, 2, "gone", 1).await;
    store.delete_topic(ORGANIZATION, topic_id(2)).await.expect("deleted");
    let changes = store.changes_since(0).await.expect("read");
    assert_eq!(changes.topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>(), [topic_id(1)]);
    assert_eq!(changes.topics[0].agent_group, "group");
    let holder = |partition| LeaseHolder { key: key(1, partition), session: Some(session), leader_epoch: 0 };
    assert_eq!(changes.leases, [holder(0), holder(1)]);
    assert!(changes.deleted.is_empty());
    assert_eq!(changes.agents.iter().map(|agent| agent.session).collect::<Vec<_>>(), [session]);
    let next = store.changes_since(changes.version).await.expect("read");
    assert_eq!((next.topics.len(), next.leases.len(), next.version), (0, 0, changes.version));
    assert_eq!(next.agents, changes.agents, "agents are told always");
}

/// Each of them raises the version and is told once.
pub async fn what_changed_is_told_and_nothing_else(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let mut version = store.changes_since(0).await.expect("read").version;
    create(store, 2, "new", 1).await;
    let created = store.changes_since(version).await.expect("read");
    assert_eq!(created.topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>(), [topic_id(2)]);
    assert_eq!(created.leases, [LeaseHolder { key: key(2, 0), session: None, leader_epoch: -1 }]);
    assert!(created.version > version);
    version = created.version;
    store.create_partitions(ORGANIZATION, topic_id(1), 2).await.expect("grown");
    let grown = store.changes_since(version).await.expect("read");
    assert_eq!(grown.topics.iter().map(|topic| topic.partition_count).collect::<Vec<_>>(), [2]);
    assert_eq!(grown.leases.iter().map(|lease| lease.key).collect::<Vec<_>>(), [key(1, 1)]);
    version = grown.version;
    acquire(store, session, &[key(1, 1)]).await;
    let acquired = store.changes_since(version).await.expect("read");
    assert_eq!(acquired.leases, [LeaseHolder { key: key(1, 1), session: Some(session), leader_epoch: 0 }]);
    version = acquired.version;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let deleted = store.changes_since(version).await.expect("read");
    assert_eq!(deleted.deleted, [(ORGANIZATION, topic_id(1))]);
    assert!(deleted.leases.is_empty() && deleted.topics.is_empty());
    while store.purge_deleted(100).await.expect("purged") > 0 {}
    assert_eq!(store.changes_since(version).await.expect("read").deleted, deleted.deleted, "also after the purge");
}

/// They happen all the time.
pub async fn commits_and_renewals_do_not_raise_the_version(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let before = store.changes_since(0).await.expect("read");
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 5)]).await;
    store.renew_session(session, LaneReport::default()).await.expect("renewed");
    store.update_registration(session, &registration("agent-1")).await.expect("the same as before");
    let after = store.changes_since(before.version).await.expect("read");
    assert_eq!(after.version, before.version);
    assert_eq!(after.agents[0].renewals, before.agents[0].renewals + 1);
}

/// Opened, changed, fenced and closed ones.
pub async fn sessions_raise_the_version(store: &dyn MetadataStore) {
    let mut version = store.changes_since(0).await.expect("read").version;
    let mut raised = async |store: &dyn MetadataStore| {
        let now = store.changes_since(version).await.expect("read").version;
        std::mem::replace(&mut version, now) < now
    };
    let session = open(store, "agent-1").await;
    assert!(raised(store).await, "opened");
    let leaving = Registration { accepts_leases: false, ..registration("agent-1") };
    store.update_registration(session, &leaving).await.expect("updated");
    assert!(raised(store).await, "registration");
    assert_eq!(store.list_agents().await.expect("list")[0].registration, leaving);
    let other = open(store, "agent-2").await;
    assert!(raised(store).await, "another opened");
    assert!(store.fence_session(session, other, 0).await.expect("fenced"));
    assert!(raised(store).await, "fenced");
    store.close_session(session).await.expect("closed");
    assert!(raised(store).await, "closed");
}

/// By the next renewal.
pub async fn a_suspicion_stands_until_the_session_renews(store: &dyn MetadataStore) {
    let (first, second) = (open(store, "agent-1").await, open(store, "agent-2").await);
    let version = store.changes_since(0).await.expect("read").version;
    store.suspect_session(first, second).await.expect("suspected");
    let changes = store.changes_since(version).await.expect("read");
    assert!(changes.version > version && !changes.agents[0].suspected && changes.agents[1].suspected);
    store.renew_session(second, LaneReport::default()).await.expect("renewed");
    assert!(!store.list_agents().await.expect("list")[1].suspected);
    store.close_session(second).await.expect("closed");
    store.suspect_session(first, second).await.expect("nothing happens to one that is gone");
    assert!(matches!(store.suspect_session(second, first).await, Err(StoreError::Fenced)));
}

/// Each renewal says it anew, for its session alone, and raises no version: it is read with every look at the changes.
pub async fn a_lane_report_stands_until_the_session_renews(store: &dyn MetadataStore) {
    let (first, second) = (open(store, "agent-1").await, open(store, "agent-2").await);
    let reports = async |store: &dyn MetadataStore| {
        let changes = store.changes_since(0).await.expect("read");
        assert_eq!(changes.agents, store.list_agents().await.expect("list"));
        (changes.version, changes.agents[0].lane, changes.agents[1].lane)
    };
    let (version, silent) = (reports(store).await.0, LaneReport::default());
    assert_eq!(reports(store).await, (version, silent, silent), "nothing is said before the first renewal");
    let (stuck, proofs) = (LaneReport { stuck: true, proofs: 0 }, LaneReport { stuck: false, proofs: i64::MAX });
    store.renew_session(first, stuck).await.expect("renewed");
    store.renew_session(second, proofs).await.expect("renewed");
    assert_eq!(reports(store).await, (version, stuck, proofs));
    store.suspect_session(second, first).await.expect("suspected");
    assert_eq!(reports(store).await.1, stuck, "a suspicion leaves it");
    store.renew_session(first, silent).await.expect("renewed");
    assert_eq!(reports(store).await.1, silent);
    store.close_session(second).await.expect("closed");
    assert!(matches!(store.renew_session(second, proofs).await, Err(StoreError::Fenced)));
    assert_eq!(store.open_session(&registration("agent-2")).await.expect("opens").fenced, None);
    assert_eq!(reports(store).await.2, silent, "a new session starts over");
}

/// And one that renewed since is left alone.
pub async fn a_session_that_stands_still_is_fenced(store: &dyn MetadataStore) {
    let holder = leased(store, 1).await;
    let other = open(store, "agent-2").await;
    store.renew_session(holder, LaneReport::default()).await.expect("renewed");
    assert!(!store.fence_session(other, holder, 0).await.expect("answered"), "it renewed");
    store.renew_session(holder, LaneReport::default()).await.expect("it lives on");
    assert!(store.fence_session(other, holder, 2).await.expect("fenced"));
    assert!(store.fence_session(other, holder, 99).await.expect("fenced before"), "idempotent");
    assert!(matches!(store.renew_session(holder, LaneReport::default()).await, Err(StoreError::Fenced)));
    assert!(matches!(store.fence_session(holder, other, 0).await, Err(StoreError::Fenced)), "the dead fence nobody");
    assert!(store.fence_session(other, SessionId(999), 0).await.expect("never was"), "not active");
    assert_eq!(acquire(store, other, &[key(1, 0)]).await[0].leader_epoch, 1);
}
