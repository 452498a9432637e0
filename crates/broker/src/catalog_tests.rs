//! Tests of `catalog`.

use super::*;

const ONE: OrganizationId = OrganizationId(1);
const OTHER: OrganizationId = OrganizationId(2);

fn row(organization: OrganizationId, id: u128, name: &str, partition_count: i32) -> TopicRow {
    TopicRow {
        organization,
        topic_id: TopicId(uuid::Uuid::from_u128(id)),
        name: name.to_owned(),
        partition_count,
        agent_group: String::new(),
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_at: 0,
    }
}

#[test]
fn a_tenant_sees_its_own_topics_only() {
    let catalog = Catalog::default();
    let topic = catalog.put(row(ONE, 1, "t", 2));
    catalog.put(row(OTHER, 2, "t", 3));
    assert_eq!(catalog.by_name(ONE, "t").map(|found| found.topic.topic_id), Some(topic.topic_id));
    assert!(catalog.by_id(OTHER, topic.topic_id).is_none(), "a foreign id looks like an absent one");
    assert_eq!(catalog.all(ONE).len(), 1);
    assert!(catalog.all(OrganizationId(9)).is_empty());
    assert_eq!(catalog.partition_count(), 5);
}

#[test]
fn partitions_are_counted_through_growth_and_removal() {
    let catalog = Catalog::default();
    let topic = catalog.put(row(ONE, 1, "t", 2));
    catalog.put(row(ONE, 1, "t", 7));
    assert_eq!(catalog.partition_count(), 7);
    catalog.remove(topic.topic_id);
    catalog.remove(topic.topic_id);
    assert_eq!(catalog.partition_count(), 0);
    assert!(catalog.by_name(ONE, "t").is_none());
}

#[test]
fn removing_a_former_topic_leaves_the_new_one_of_its_name() {
    let catalog = Catalog::default();
    let former = catalog.put(row(ONE, 1, "t", 1));
    let new = catalog.put(row(ONE, 2, "t", 1));
    catalog.remove(former.topic_id);
    assert_eq!(catalog.by_name(ONE, "t").map(|found| found.topic.topic_id), Some(new.topic_id));
}

#[test]
fn names_that_differ_in_dots_and_underscores_only_collide_within_a_tenant() {
    let catalog = Catalog::default();
    catalog.put(row(ONE, 1, "a.b_c", 1));
    assert_eq!(catalog.collision(ONE, "a_b.c").as_deref(), Some("a.b_c"));
    assert_eq!(catalog.collision(ONE, "a.b_c"), None, "itself");
    assert_eq!(catalog.collision(ONE, "a-b-c"), None);
    assert_eq!(catalog.collision(OTHER, "a_b.c"), None);
}
