//! The topics an agent knows, in memory: every request resolves names and ids here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use metadata::TopicRow;
use parking_lot::RwLock;
use segment::{OrganizationId, TopicId};

use crate::groups::topics_view::TopicsView;
use crate::topic_config::LogConfig;
use crate::topics::Topic;

/// A topic with what appends need of its configs, parsed.
#[derive(Clone, Debug)]
pub(crate) struct CatalogTopic {
    pub(crate) topic: Arc<Topic>,
    pub(crate) log_config: Arc<LogConfig>,
}

#[derive(Debug, Default)]
struct Topics {
    by_id: HashMap<TopicId, CatalogTopic>,
    by_name: BTreeMap<OrganizationId, BTreeMap<String, TopicId>>,
    partitions: usize,
    /// Rises with every change.
    version: u64,
}

/// All topics that are not deleted.
#[derive(Debug, Default)]
pub(crate) struct Catalog(RwLock<Topics>);

impl Catalog {
    /// Adds a topic, or takes over its new state.
    pub(crate) fn put(&self, row: TopicRow) -> Arc<Topic> {
        let log_config = Arc::new(LogConfig::from_configs(&row.configs));
        let topic = Arc::new(Topic::from(row));
        let mut topics = self.0.write();
        topics.by_name.entry(topic.organization).or_default().insert(topic.name.clone(), topic.topic_id);
        let before = topics.by_id.insert(topic.topic_id, CatalogTopic { topic: Arc::clone(&topic), log_config });
        let count = |topic: &Topic| usize::try_from(topic.partition_count).unwrap_or(0);
        topics.version += 1;
        topics.partitions = topics.partitions + count(&topic) - before.map_or(0, |before| count(&before.topic));
        topic
    }

    pub(crate) fn remove(&self, topic_id: TopicId) {
        let mut topics = self.0.write();
        let Some(removed) = topics.by_id.remove(&topic_id) else { return };
        topics.version += 1;
        topics.partitions -= usize::try_from(removed.topic.partition_count).unwrap_or(0);
        if let Some(names) = topics.by_name.get_mut(&removed.topic.organization)
            && names.get(&removed.topic.name) == Some(&topic_id)
        {
            names.remove(&removed.topic.name);
        }
    }

    pub(crate) fn by_name(&self, organization: OrganizationId, name: &str) -> Option<CatalogTopic> {
        let topics = self.0.read();
        let topic_id = topics.by_name.get(&organization)?.get(name)?;
        topics.by_id.get(topic_id).cloned()
    }

    /// The topic, if it is this tenant's: a foreign id looks like an absent one.
    pub(crate) fn by_id(&self, organization: OrganizationId, topic_id: TopicId) -> Option<CatalogTopic> {
        self.0.read().by_id.get(&topic_id).filter(|found| found.topic.organization == organization).cloned()
    }

    /// All topics of a tenant, by name.
    pub(crate) fn all(&self, organization: OrganizationId) -> Vec<Arc<Topic>> {
        let topics = self.0.read();
        let Some(names) = topics.by_name.get(&organization) else { return Vec::new() };
        names.values().filter_map(|topic_id| topics.by_id.get(topic_id)).map(|found| Arc::clone(&found.topic)).collect()
    }

    /// Of every tenant that has it, the topic of that name.
    pub(crate) fn named(&self, name: &str) -> Vec<Arc<Topic>> {
        let topics = self.0.read();
        let ids = topics.by_name.values().filter_map(|names| names.get(name));
        ids.filter_map(|topic_id| topics.by_id.get(topic_id)).map(|found| Arc::clone(&found.topic)).collect()
    }

    /// A tenant's topics as they are now: `known` itself, if nothing changed since.
    pub(crate) fn view(&self, organization: OrganizationId, known: &Arc<TopicsView>) -> Arc<TopicsView> {
        let version = self.0.read().version;
        if version == known.version() {
            return Arc::clone(known);
        }
        // What changed in between is seen the next time: the version is the older one.
        Arc::new(TopicsView::new(version, self.all(organization)))
    }

    /// All topics of all tenants, by id.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        let topics = self.0.read();
        let mut all: Vec<_> = topics.by_id.values().map(|found| Arc::clone(&found.topic)).collect();
        all.sort_unstable_by_key(|topic| topic.topic_id);
        all
    }

    /// A name that differs from `name` only in '.' against '_', as Kafka refuses it.
    pub(crate) fn collision(&self, organization: OrganizationId, name: &str) -> Option<String> {
        if !name.contains(['.', '_']) {
            return None;
        }
        let plain = name.replace('.', "_");
        let topics = self.0.read();
        topics
            .by_name
            .get(&organization)?
            .keys()
            .find(|other| *other != name && other.replace('.', "_") == plain)
            .cloned()
    }

    /// Partitions of all topics together.
    pub(crate) fn partition_count(&self) -> usize {
        self.0.read().partitions
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
