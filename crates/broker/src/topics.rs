//! Topics as the gateways see them, and what can be done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metadata::{AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, NewTopic, TopicRow};
use segment::{LeaderEpoch, OrganizationId, PartitionIndex, TopicId};

use crate::broker::Broker;
use crate::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, REPLICAS_DEFAULT_MAX};
use crate::topic_config::{self, ConfigChanges};

/// How long a new topic's creator waits for other agents to take up their partitions; clients ask again after it.
const LEADERS_WAIT: Duration = Duration::from_secs(2);
/// How often a change of configs is decided anew, because another agent changed them just now.
const ALTERATIONS_MAX: usize = 10;

/// A topic of the catalogue.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its tenant.
    pub organization: OrganizationId,
    /// Its id.
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partition_count: i32,
    /// `AGENT_GROUP` whose agents share its partitions; empty = any.
    pub agent_group: String,
    /// As the creator asked.
    pub replication_factor: i16,
    /// The configs that were set on it.
    pub configs: BTreeMap<String, String>,
}

/// The topic whose partitions' leaders are the coordinators of groups.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Topic {
    /// Kafka's internal flag: `__consumer_offsets` and `__transaction_state`.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | "__transaction_state")
}

/// A partition as Metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its index.
    pub partition: PartitionIndex,
    /// Node id of the lease holder; `None` = LEADER_NOT_AVAILABLE (5), leader id -1.
    pub leader: Option<i32>,
    /// Its leader epoch, -1 before the first lease.
    pub leader_epoch: LeaderEpoch,
    /// The leader, then live agents of other zones, then others, up to the replication factor; is the ISR too.
    pub replicas: Vec<i32>,
}

/// CreateTopics, one topic.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    /// The tenant.
    pub organization: OrganizationId,
    /// The name.
    pub name: String,
    /// -1 = the default (`num.partitions`).
    pub partition_count: i32,
    /// -1 = the default: as many as there are zones, at most [`REPLICAS_DEFAULT_MAX`]. Any positive number is accepted and
    /// stored; it says how many agents clients may ask, not how often anything is kept.
    pub replication_factor: i16,
    /// Configs; a `None` value is refused as Kafka does.
    pub configs: Vec<(String, Option<String>)>,
    /// Check all, change nothing.
    pub validate_only: bool,
}

/// Why a topic was not created, changed, deleted or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Kafka 17.
    #[error("invalid topic name: {0}")]
    InvalidName(String),
    /// Kafka 36.
    #[error("topic '{0}' already exists")]
    AlreadyExists(String),
    /// Kafka 37.
    #[error("{0}")]
    InvalidPartitions(String),
    /// Kafka 38.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// Kafka 40.
    #[error("{0}")]
    InvalidConfig(String),
    /// Kafka 3, or 100 by id.
    #[error("unknown topic")]
    Unknown,
    /// Metadata is away: Kafka 7 (REQUEST_TIMED_OUT), gRPC UNAVAILABLE.
    #[error("metadata store unavailable: {0}")]
    Unavailable(String),
}

/// Kafka's config types (DescribeConfigs 3+): the discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
#[repr(i8)]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// Where a config's value comes from: the discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
#[repr(i8)]
pub enum ConfigSource {
    TopicConfig = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    GroupConfig = 8,
}

/// One config as DescribeConfigs answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type.
    pub config_type: ConfigType,
    /// Whether it cannot be altered.
    pub read_only: bool,
    /// Whether the value must not be shown.
    pub sensitive: bool,
    /// What it means.
    pub documentation: String,
    /// Where a value could come from, most specific first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// One possible source of a config's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name there (a broker's differs from the topic's).
    pub name: String,
    /// The value there.
    pub value: Option<String>,
    /// Which source.
    pub source: ConfigSource,
}

impl Broker {
    /// A topic by name.
    #[must_use]
    pub fn topic(&self, organization: OrganizationId, name: &str) -> Option<Arc<Topic>> {
        self.catalog().by_name(organization, name).map(|found| found.topic)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, organization: OrganizationId, topic_id: TopicId) -> Option<Arc<Topic>> {
        self.catalog().by_id(organization, topic_id).map(|found| found.topic)
    }

    /// All topics of a tenant, by name.
    #[must_use]
    pub fn topics(&self, organization: OrganizationId) -> Vec<Arc<Topic>> {
        self.catalog().all(organization)
    }

    /// The partitions of a topic, by index.
    #[must_use]
    pub fn partitions(&self, topic: &Topic) -> Vec<PartitionView> {
        self.view().partitions(topic)
    }

    /// All configs of a topic, by name.
    #[must_use]
    pub fn topic_configs(&self, topic: &Topic) -> Vec<ConfigEntry> {
        topic_config::describe(&topic.configs)
    }

    /// Creates a topic; usable (leased) when it returns. With `validate_only` the topic returned does not exist. A client
    /// that hangs up does not stop what was begun.
    pub async fn create_topic(&self, request: CreateTopic) -> Result<Arc<Topic>, TopicError> {
        let topic = self.check_new_topic(request.clone())?;
        if request.validate_only {
            return Ok(Arc::new(described(topic)));
        }
        let broker = self.clone();
        finish(async move {
            let _one_at_a_time = broker.admin_lock().lock().await;
            match broker.metadata().create_topic(topic).await {
                Ok(row) => Ok(broker.settled(row).await),
                // Perhaps by a call that lost its reply, or by another agent just now.
                Err(CreateTopicError::AlreadyExists(row)) => {
                    Err(TopicError::AlreadyExists(broker.settled(*row).await.name.clone()))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    fn check_new_topic(&self, request: CreateTopic) -> Result<NewTopic, TopicError> {
        check_name(&request.name)?;
        if self.topic(request.organization, &request.name).is_some() {
            return Err(TopicError::AlreadyExists(request.name));
        }
        if let Some(other) = self.catalog().collision(request.organization, &request.name) {
            return Err(collides(&request.name, &other));
        }
        let partition_count = match request.partition_count {
            -1 if request.name == OFFSETS_TOPIC => self.settings().groups.offsets_topic_partitions,
            -1 => self.settings().default_partitions,
            count => count,
        };
        self.check_partition_count(partition_count, 0)?;
        let replication_factor = match request.replication_factor {
            -1 => self.default_replication_factor(),
            factor if factor > 0 => factor,
            _ => {
                return Err(TopicError::InvalidReplicationFactor(
                    "Replication factor must be larger than 0.".to_owned(),
                ));
            }
        };
        let mut configs = topic_config::validate(&request.configs).map_err(TopicError::InvalidConfig)?;
        if is_internal(&request.name) {
            configs.entry("cleanup.policy".to_owned()).or_insert_with(|| "compact".to_owned());
        }
        let (organization, name, topic_id) = (request.organization, request.name, self.random_topic_id());
        // Internal topics are every agent's.
        let agent_group = if is_internal(&name) { String::new() } else { self.settings().group.clone() };
        Ok(NewTopic { organization, topic_id, name, partition_count, agent_group, replication_factor, configs })
    }

    /// One agent to ask in each zone.
    pub(crate) fn default_replication_factor(&self) -> i16 {
        let cluster = self.cluster();
        let zones: BTreeSet<&str> = cluster.agents.iter().map(|agent| agent.zone.as_str()).collect();
        i16::try_from(zones.len()).unwrap_or(REPLICAS_DEFAULT_MAX).clamp(1, REPLICAS_DEFAULT_MAX)
    }

    fn check_partition_count(&self, total: i32, existing: i32) -> Result<(), TopicError> {
        if total <= 0 {
            return Err(TopicError::InvalidPartitions("Number of partitions must be larger than 0.".to_owned()));
        }
        if total > PARTITIONS_PER_TOPIC_MAX {
            return Err(TopicError::InvalidPartitions(format!(
                "A topic has at most {PARTITIONS_PER_TOPIC_MAX} partitions."
            )));
        }
        let added = usize::try_from(total - existing).unwrap_or(0);
        if self.catalog().partition_count() + added > PARTITIONS_MAX {
            return Err(TopicError::InvalidPartitions(format!("The cluster has at most {PARTITIONS_MAX} partitions.")));
        }
        Ok(())
    }

    /// Takes a topic over as metadata has it now, and waits a little until every partition has a leader, here or elsewhere.
    async fn settled(&self, row: TopicRow) -> Arc<Topic> {
        let mut changes = self.cluster_changes();
        self.refresh().await;
        let topic = match self.topic_by_id(row.organization, row.topic_id) {
            Some(topic) if topic.partition_count >= row.partition_count => topic,
            _ => Arc::new(Topic::from(row)), // metadata is away again; the coordinator takes it over when it answers
        };
        let led = async {
            while self.partitions(&topic).iter().any(|partition| partition.leader.is_none()) {
                changes.changed().await;
            }
        };
        let _ = tokio::time::timeout(LEADERS_WAIT, led).await;
        topic
    }

    /// The topic of the coordinators; made when it is first needed.
    ///
    /// # Errors
    /// [`TopicError::Unavailable`] while metadata is away, or what else stands in the way of a new topic.
    pub async fn offsets_topic(&self, organization: OrganizationId) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topic(organization, OFFSETS_TOPIC) {
            return Ok(topic);
        }
        let name = OFFSETS_TOPIC.to_owned();
        let (partition_count, replication_factor, configs, validate_only) = (-1, -1, Vec::new(), false);
        let request = CreateTopic { organization, name, partition_count, replication_factor, configs, validate_only };
        match self.create_topic(request).await {
            // Somebody else was faster.
            Err(TopicError::AlreadyExists(name)) => {
                self.topic(organization, OFFSETS_TOPIC).ok_or(TopicError::Unavailable(name))
            }
            created => created,
        }
    }

    /// Deletes a topic. Batches in line are refused, its name is free at once.
    pub async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), TopicError> {
        self.check_not_internal(organization, topic_id)?;
        let broker = self.clone();
        finish(async move {
            let _one_at_a_time = broker.admin_lock().lock().await;
            let deleted = broker.metadata().delete_topic(organization, topic_id).await;
            // Unknown to metadata = deleted by a call that lost its reply, or by another agent.
            if matches!(deleted, Ok(()) | Err(DeleteTopicError::Unknown)) {
                broker.refresh().await;
            }
            deleted.map_err(TopicError::from)
        })
        .await
    }

    /// Raises a topic's partition count to `total`; the new partitions are usable when it returns.
    pub async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        self.check_not_internal(organization, topic_id)?;
        let existing = self.topic_by_id(organization, topic_id).ok_or(TopicError::Unknown)?.partition_count;
        if total <= existing {
            return Err(not_more(existing, total));
        }
        self.check_partition_count(total, existing)?;
        if validate_only {
            return Ok(());
        }
        let broker = self.clone();
        finish(async move {
            let _one_at_a_time = broker.admin_lock().lock().await;
            let row =
                broker.metadata().create_partitions(organization, topic_id, total).await.map_err(
                    |error| match error {
                        CreatePartitionsError::Unknown => TopicError::Unknown,
                        CreatePartitionsError::NotMore { current } => not_more(current, total),
                        CreatePartitionsError::Store(error) => TopicError::Unavailable(error.to_string()),
                    },
                )?;
            broker.settled(row).await;
            Ok(())
        })
        .await
    }

    /// Changes a topic's configs. When it returns they hold for this agent; other agents read them as they read any change
    /// of the catalogue, a moment later.
    pub async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        changes: ConfigChanges,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        let topic = self.topic_by_id(organization, topic_id).ok_or(TopicError::Unknown)?;
        self.alter_configs(topic, move |current| changes.apply(current), validate_only).await
    }

    /// Lets `alter` decide on what a topic's configs are then, again when somebody else was faster.
    pub(crate) async fn alter_configs(
        &self,
        topic: Arc<Topic>,
        alter: impl Fn(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> + Send + 'static,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        if validate_only {
            return alter(&topic.configs).map(|_| ()).map_err(TopicError::InvalidConfig);
        }
        let (organization, topic_id) = (topic.organization, topic.topic_id);
        let broker = self.clone();
        finish(async move {
            let _one_at_a_time = broker.admin_lock().lock().await;
            let mut expected = topic.configs.clone();
            for _ in 0..ALTERATIONS_MAX {
                let configs = alter(&expected).map_err(TopicError::InvalidConfig)?;
                if configs == expected {
                    return Ok(());
                }
                match broker.metadata().alter_topic_configs(organization, topic_id, &expected, &configs).await {
                    Ok(_) => {
                        broker.refresh().await;
                        return Ok(());
                    }
                    Err(AlterTopicConfigsError::Changed(row)) => expected = row.configs,
                    Err(AlterTopicConfigsError::Unknown) => return Err(TopicError::Unknown),
                    Err(AlterTopicConfigsError::Store(error)) => {
                        return Err(TopicError::Unavailable(error.to_string()));
                    }
                }
            }
            Err(TopicError::Unavailable("the topic's configs change all the time".to_owned()))
        })
        .await
    }
}

impl Broker {
    /// Deleting the coordinators' topic would forget every offset; more partitions of it would send every group to another
    /// coordinator than the one that knows it.
    fn check_not_internal(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), TopicError> {
        match self.topic_by_id(organization, topic_id) {
            Some(topic) if topic.is_internal() => {
                Err(TopicError::InvalidName(format!("'{}' is an internal topic", topic.name)))
            }
            _ => Ok(()),
        }
    }
}

/// Runs an admin operation to its end, whatever becomes of the client.
async fn finish<T: Send + 'static>(
    operation: impl Future<Output = Result<T, TopicError>> + Send + 'static,
) -> Result<T, TopicError> {
    let stopped = |error: tokio::task::JoinError| TopicError::Unavailable(error.to_string());
    tokio::spawn(operation).await.map_err(stopped)?
}

impl From<TopicRow> for Topic {
    fn from(row: TopicRow) -> Self {
        Self {
            organization: row.organization,
            topic_id: row.topic_id,
            name: row.name,
            partition_count: row.partition_count,
            agent_group: row.agent_group,
            replication_factor: row.replication_factor,
            configs: row.configs,
        }
    }
}

fn described(topic: NewTopic) -> Topic {
    Topic {
        organization: topic.organization,
        topic_id: topic.topic_id,
        name: topic.name,
        partition_count: topic.partition_count,
        agent_group: topic.agent_group,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
    }
}

fn not_more(current: i32, wanted: i32) -> TopicError {
    TopicError::InvalidPartitions(if current == wanted {
        format!("Topic already has {current} partition(s).")
    } else {
        format!("The topic currently has {current} partition(s); {wanted} would not be an increase.")
    })
}

fn collides(name: &str, other: &str) -> TopicError {
    TopicError::InvalidName(format!("Topic '{name}' collides with existing topic: {other}"))
}

/// Kafka's rule for topic names.
pub(crate) fn check_name(name: &str) -> Result<(), TopicError> {
    let refuse = |why: &str| Err(TopicError::InvalidName(format!("Topic name is invalid: {why}")));
    match name {
        "" => refuse("the empty string is not allowed"),
        "." | ".." => refuse("it cannot be \".\" or \"..\""),
        _ if name.len() > 249 => refuse("the length of the name is longer than the max allowed length 249"),
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) => {
            refuse("it contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => Ok(()),
    }
}

impl From<CreateTopicError> for TopicError {
    fn from(error: CreateTopicError) -> Self {
        match error {
            CreateTopicError::AlreadyExists(row) => Self::AlreadyExists(row.name),
            CreateTopicError::Collides(other) => {
                Self::InvalidName(format!("Topic collides with existing topic: {other}"))
            }
            CreateTopicError::Store(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<DeleteTopicError> for TopicError {
    fn from(error: DeleteTopicError) -> Self {
        match error {
            DeleteTopicError::Unknown => Self::Unknown,
            DeleteTopicError::Store(error) => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
