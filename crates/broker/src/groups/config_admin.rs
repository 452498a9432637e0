//! Configs of groups, as administrators read and alter them. Any agent does it: see [`super::configs`].

use segment::OrganizationId;

use super::configs;
use crate::broker::Broker;
use crate::topic_config::ConfigChanges;
use crate::topics::{ConfigEntry, OFFSETS_TOPIC, TopicError};

impl Broker {
    /// All configs of a group, which need not exist.
    #[must_use]
    pub fn group_configs(&self, organization: OrganizationId, group_id: &str) -> Vec<ConfigEntry> {
        let settings = &self.settings().groups;
        match self.topic(organization, OFFSETS_TOPIC) {
            Some(topic) => configs::describe(&topic.configs, group_id, settings),
            None => configs::describe(&Default::default(), group_id, settings),
        }
    }

    /// The groups that have configs of their own.
    #[must_use]
    pub fn groups_with_configs(&self, organization: OrganizationId) -> Vec<String> {
        self.topic(organization, OFFSETS_TOPIC).map_or_else(Vec::new, |topic| configs::groups(&topic.configs))
    }

    /// Alters configs of a group; its members hear of it with their next heartbeat.
    ///
    /// # Errors
    /// [`TopicError::InvalidConfig`] in Kafka's words, [`TopicError::Unavailable`] while metadata is away.
    pub async fn alter_group_configs(
        &self,
        organization: OrganizationId,
        group_id: &str,
        changes: ConfigChanges,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        let topic = self.offsets_topic(organization).await?;
        let (group_id, settings) = (group_id.to_owned(), self.settings().groups);
        let alter = move |current: &_| configs::alter(current, &group_id, &changes, &settings);
        self.alter_configs(topic, alter, validate_only).await
    }
}
