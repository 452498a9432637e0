//! Cases about topics.

use std::collections::BTreeMap;

use segment::OrganizationId;

use super::fixture::{acquire, commit, create, key, leased, new_topic, open, range, topic_id};
use crate::{
    AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, MetadataStore, NewTopic,
    RangeOutcome, TopicRow,
};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// The row is what was asked for, and the catalogue says the same.
pub async fn a_created_topic_is_listed_as_stored(store: &dyn MetadataStore) {
    let wanted = new_topic(1, "orders", 3);
    let row = create(store, 1, "orders", 3).await;
    assert_eq!((row.organization, row.topic_id, row.name.as_str()), (ORGANIZATION, topic_id(1), "orders"));
    assert_eq!((row.partition_count, row.replication_factor, &row.configs), (3, 3, &wanted.configs));
    create(store, 2, "invoices", 1).await;
    let listed = store.list_topics().await.expect("list");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].name, "invoices");
    assert_eq!(listed[1], row);
}

/// `AlreadyExists` carries the topic that is there.
pub async fn a_name_is_taken_once_and_the_taker_is_returned(store: &dyn MetadataStore) {
    let first = create(store, 1, "orders", 3).await;
    match store.create_topic(new_topic(2, "orders", 5)).await {
        Err(CreateTopicError::AlreadyExists(found)) => assert_eq!(*found, first),
        other => unreachable!("{other:?}"),
    }
    assert_eq!(store.list_topics().await.expect("list").len(), 1);
}

/// Kafka refuses `a.b` beside `a_b`.
pub async fn names_that_make_one_metric_name_collide(store: &dyn MetadataStore) {
    create(store, 1, "a.b_c", 1).await;
    match store.create_topic(new_topic(2, "a_b.c", 1)).await {
        Err(CreateTopicError::Collides(other)) => assert_eq!(other, "a.b_c"),
        other => unreachable!("{other:?}"),
    }
    create(store, 3, "a.b_d", 1).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    create(store, 2, "a_b.c", 1).await;
}

/// A name belongs to its organization.
pub async fn organizations_do_not_share_names(store: &dyn MetadataStore) {
    create(store, 1, "orders", 1).await;
    let other = NewTopic { organization: OrganizationId(2), ..new_topic(1, "orders", 2) };
    store.create_topic(other).await.expect("created");
    let listed = store.list_topics().await.expect("list");
    let counts: Vec<_> = listed.iter().map(|topic| (topic.organization.0, topic.partition_count)).collect();
    assert_eq!(counts, [(1, 1), (2, 2)]);
    store.delete_topic(OrganizationId(2), topic_id(1)).await.expect("deleted");
    assert_eq!(store.list_topics().await.expect("list").len(), 1);
}

/// And no other name is known.
pub async fn the_default_organization_has_its_name(store: &dyn MetadataStore) {
    assert_eq!(store.organization("default").await.expect("read"), Some(OrganizationId::DEFAULT));
    assert_eq!(store.organization("nobody").await.expect("read"), None);
}

/// The name can be used again, with a new id.
pub async fn a_deleted_topic_is_gone_and_its_name_is_free(store: &dyn MetadataStore) {
    create(store, 1, "orders", 1).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    assert!(store.list_topics().await.expect("list").is_empty());
    let again = create(store, 2, "orders", 4).await;
    assert_eq!(store.list_topics().await.expect("list"), [again]);
}

/// Both are `Unknown`.
pub async fn an_unknown_or_deleted_topic_cannot_be_deleted(store: &dyn MetadataStore) {
    create(store, 1, "orders", 1).await;
    let unknown = store.delete_topic(ORGANIZATION, topic_id(9)).await;
    assert!(matches!(unknown, Err(DeleteTopicError::Unknown)));
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let again = store.delete_topic(ORGANIZATION, topic_id(1)).await;
    assert!(matches!(again, Err(DeleteTopicError::Unknown)));
}

/// The count only grows.
pub async fn partitions_are_added_but_never_taken_away(store: &dyn MetadataStore) {
    create(store, 1, "orders", 2).await;
    let grown = store.create_partitions(ORGANIZATION, topic_id(1), 5).await.expect("grown");
    assert_eq!(grown.partition_count, 5);
    assert_eq!(store.list_topics().await.expect("list"), [grown]);
    for total in [5, 2] {
        let refused = store.create_partitions(ORGANIZATION, topic_id(1), total).await;
        assert!(matches!(refused, Err(CreatePartitionsError::NotMore { current: 5 })), "{refused:?}");
    }
}

/// New partitions are like those of a new topic; the old ones stay as they are.
pub async fn added_partitions_can_be_leased_from_offset_zero(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    assert_eq!(commit(store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await, [RangeOutcome::Accepted]);
    store.create_partitions(ORGANIZATION, topic_id(1), 3).await.expect("grown");
    let rows = acquire(store, session, &[key(1, 0), key(1, 1), key(1, 2)]).await;
    let seen: Vec<_> = rows.iter().map(|row| (row.key.partition, row.leader_epoch, row.next_offset)).collect();
    assert_eq!(seen, [(0, 1, 10), (1, 0, 0), (2, 0, 0)]);
}

/// Nothing else of the topic changes, and agents are told.
pub async fn configs_are_replaced_if_they_are_what_was_expected(store: &dyn MetadataStore) {
    let created = create(store, 1, "orders", 2).await;
    create(store, 2, "others", 1).await;
    let version = store.changes_since(0).await.expect("read").version;
    let wanted = configs(&[("cleanup.policy", "compact"), ("x", "\"\0ä")]);
    let altered = alter(store, &created.configs, &wanted).await.expect("altered");
    assert_eq!(altered, TopicRow { configs: wanted.clone(), ..created.clone() });
    let changes = store.changes_since(version).await.expect("read");
    assert!(changes.version > version && changes.leases.is_empty());
    assert_eq!(changes.topics, std::slice::from_ref(&altered));
    for expected in [created.configs, BTreeMap::new(), configs(&[("cleanup.policy", "compact")])] {
        match alter(store, &expected, &BTreeMap::new()).await {
            Err(AlterTopicConfigsError::Changed(found)) => assert_eq!(*found, altered),
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!(store.list_topics().await.expect("list")[0], altered);
    assert_eq!(alter(store, &wanted, &BTreeMap::new()).await.expect("altered").configs, BTreeMap::new());
}

/// Both are `Unknown`.
pub async fn an_unknown_or_deleted_topic_keeps_its_configs(store: &dyn MetadataStore) {
    let created = create(store, 1, "orders", 2).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let again = create(store, 2, "orders", 2).await;
    for (organization, unknown) in [(ORGANIZATION, 1), (ORGANIZATION, 9), (OrganizationId(2), 2)] {
        let none = BTreeMap::new();
        let refused = store.alter_topic_configs(organization, topic_id(unknown), &created.configs, &none).await;
        assert!(matches!(refused, Err(AlterTopicConfigsError::Unknown)), "{refused:?}");
    }
    assert_eq!(store.list_topics().await.expect("list"), [again]);
}

type Configs = BTreeMap<String, String>;

async fn alter(
    store: &dyn MetadataStore,
    expected: &Configs,
    configs: &Configs,
) -> Result<TopicRow, AlterTopicConfigsError> {
    store.alter_topic_configs(ORGANIZATION, topic_id(1), expected, configs).await
}

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Both are `Unknown`.
pub async fn an_unknown_or_deleted_topic_gets_no_partitions(store: &dyn MetadataStore) {
    let unknown = store.create_partitions(ORGANIZATION, topic_id(1), 5).await;
    assert!(matches!(unknown, Err(CreatePartitionsError::Unknown)));
    create(store, 1, "orders", 2).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let deleted = store.create_partitions(ORGANIZATION, topic_id(1), 5).await;
    assert!(matches!(deleted, Err(CreatePartitionsError::Unknown)));
}

/// Raises partition 1's epoch to 2 (partition 0's to 0), then deletes the topic.
async fn with_a_past(store: &dyn MetadataStore) -> segment::SessionId {
    let session = leased(store, 2).await;
    acquire(store, session, &[key(1, 1)]).await;
    acquire(store, session, &[key(1, 1)]).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    session
}

/// Every partition's first acquisition is above the highest epoch of any partition before.
pub async fn a_recreated_name_starts_above_the_old_epoch(store: &dyn MetadataStore) {
    let session = with_a_past(store).await;
    create(store, 2, "orders", 2).await;
    let epochs: Vec<_> =
        acquire(store, session, &[key(2, 0), key(2, 1)]).await.iter().map(|row| row.leader_epoch).collect();
    assert_eq!(epochs, [3, 3]);
    create(store, 3, "invoices", 1).await;
    assert_eq!(acquire(store, session, &[key(3, 0)]).await[0].leader_epoch, 0, "another name is not touched");
}

/// The floor outlives the rows, and a second creation that never had a lease does not lower it.
pub async fn a_recreated_name_starts_above_the_old_epoch_also_after_purge(store: &dyn MetadataStore) {
    let session = with_a_past(store).await;
    while store.purge_deleted(100).await.expect("purge") > 0 {}
    create(store, 2, "orders", 1).await;
    store.delete_topic(ORGANIZATION, topic_id(2)).await.expect("deleted");
    while store.purge_deleted(100).await.expect("purge") > 0 {}
    create(store, 3, "orders", 1).await;
    assert_eq!(acquire(store, session, &[key(3, 0)]).await[0].leader_epoch, 3);
}

/// `create_partitions` knows the floor too.
pub async fn partitions_added_to_a_recreated_name_start_above_the_old_epoch(store: &dyn MetadataStore) {
    let session = with_a_past(store).await;
    create(store, 2, "orders", 1).await;
    store.create_partitions(ORGANIZATION, topic_id(2), 2).await.expect("grown");
    assert_eq!(acquire(store, session, &[key(2, 1)]).await[0].leader_epoch, 3);
}

/// Each call stays within its rows; the rows are gone in the end.
pub async fn purge_is_bounded_and_ends_at_zero(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    for lane in 0..5 {
        let mut ranges = vec![range(key(1, 0), 0, lane, lane + 1), range(key(1, 1), 0, lane, lane + 1)];
        ranges[0].snapshot = Some("state".into());
        commit(store, session, lane, ranges).await;
    }
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    // 10 ranges, 2 snapshots, 2 epochs, 2 partitions, 1 topic.
    let mut purged = Vec::new();
    loop {
        let rows = store.purge_deleted(4).await.expect("purge");
        if rows == 0 {
            break;
        }
        assert!(rows <= 4);
        purged.push(rows);
    }
    assert_eq!(purged.iter().sum::<u64>(), 17);
    assert!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").is_empty());
    assert!(store.leader_epochs(ORGANIZATION, topic_id(1), 0).await.expect("read").is_empty());
    assert_eq!(store.producer_history(key(1, 0)).await.expect("read"), crate::ProducerHistory::default());
}

/// Live topics keep everything.
pub async fn purge_touches_only_deleted_topics(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    commit(store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    create(store, 2, "invoices", 1).await;
    assert_eq!(store.purge_deleted(100).await.expect("purge"), 0);
    store.delete_topic(ORGANIZATION, topic_id(2)).await.expect("deleted");
    assert_eq!(store.purge_deleted(100).await.expect("purge"), 2);
    assert_eq!(store.ranges_from(key(1, 0), 0, 10).await.expect("read").len(), 1);
    let other = open(store, "agent-2").await;
    assert!(acquire(store, other, &[key(1, 0)]).await.is_empty(), "the lease is still held");
}
