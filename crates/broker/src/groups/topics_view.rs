//! The topics as they were at one moment: what subscriptions are resolved against.

use std::collections::HashMap;
use std::sync::Arc;

use segment::TopicId;

use crate::topics::Topic;

/// A tenant's topics at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicsView {
    version: u64,
    by_name: Vec<Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

impl TopicsView {
    /// `version` tells two views of one coordinator apart.
    pub(crate) fn new(version: u64, mut topics: Vec<Arc<Topic>>) -> Self {
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let by_id = topics.iter().map(|topic| (topic.topic_id, Arc::clone(topic))).collect();
        Self { version, by_name: topics, by_id }
    }

    /// Another version, other topics (or maybe not).
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Topic> {
        let at = self.by_name.binary_search_by(|topic| topic.name.as_str().cmp(name)).ok()?;
        self.by_name.get(at).map(AsRef::as_ref)
    }

    pub(crate) fn by_id(&self, topic_id: TopicId) -> Option<&Topic> {
        self.by_id.get(&topic_id).map(AsRef::as_ref)
    }

    /// All topics, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.iter().map(AsRef::as_ref)
    }
}
