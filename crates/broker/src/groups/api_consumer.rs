//! What is asked of a KIP-848 consumer group and what it answers, and what every heartbeat must look like.
//!
//! ConsumerGroupHeartbeat carries joining, leaving, subscriptions, what a member owns and what it is assigned; a field
//! that is `None` says "as before". What needs no group to be refused is refused here, with Kafka's words.

use std::time::Duration;

use segment::TopicId;

use super::api::{GroupError, GroupState};
pub use super::consumer::{Assignment, Assignor};
use super::consumer::{ID_BYTES_MAX, LEAVE_EPOCH, STATIC_LEAVE_EPOCH, SUBSCRIBED_NAMES_MAX};

/// ConsumerGroupHeartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group_id: String,
    /// From version 1 on made by the client; before, empty when it joins.
    pub member_id: String,
    /// 0 to join, -1 to leave, -2 where a static member leaves and will be back.
    pub member_epoch: i32,
    /// Names a static member.
    pub instance_id: Option<String>,
    /// The client's rack.
    pub rack_id: Option<String>,
    /// How long the member may take to give up partitions.
    pub rebalance_timeout: Option<Duration>,
    /// Of the client that asks.
    pub client_id: String,
    /// Of the client that asks, as `/127.0.0.1`.
    pub client_host: String,
    /// What it subscribes to by name.
    pub subscribed_topic_names: Option<Vec<String>>,
    /// What it subscribes to by regular expression; empty = nothing.
    pub subscribed_topic_regex: Option<String>,
    /// The assignor it would like.
    pub server_assignor: Option<String>,
    /// The partitions it has.
    pub owned: Option<Assignment>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    /// The member's id.
    pub member_id: String,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When to come again; zero for a member that left.
    pub heartbeat_interval: Duration,
    /// What it should have from now on; `None` = as before.
    pub assignment: Option<Assignment>,
}

/// Why a heartbeat, or a description, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HeartbeatRefused {
    /// The code.
    pub error: GroupError,
    /// In words, for the client's log.
    pub message: String,
}

impl HeartbeatRefused {
    pub(crate) fn new(error: GroupError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    pub(crate) fn no_group(group_id: &str) -> Self {
        Self::new(GroupError::GroupIdNotFound, format!("Group {group_id} not found."))
    }

    pub(crate) fn not_consumer(group_id: &str) -> Self {
        Self::new(GroupError::GroupIdNotFound, format!("Group {group_id} is not a consumer group."))
    }

    pub(crate) fn cannot_upgrade(group_id: &str, why: &str) -> Self {
        let message = format!("Cannot upgrade classic group {group_id} to consumer group because {why}.");
        Self::new(GroupError::GroupIdNotFound, message)
    }
}

impl From<GroupError> for HeartbeatRefused {
    fn from(error: GroupError) -> Self {
        Self::new(error, error.to_string())
    }
}

impl ConsumerHeartbeat {
    /// Whether it says all that a member says when it joins, or after an error.
    pub(crate) fn is_full(&self) -> bool {
        let subscribes = self.subscribed_topic_names.is_some() || self.subscribed_topic_regex.is_some();
        self.member_epoch == 0 || self.rebalance_timeout.is_some() && subscribes && self.owned.is_some()
    }

    /// Whether it is a heartbeat at all, whatever the group. `makes_member_id`: the client has to name itself (version 1).
    ///
    /// # Errors
    /// As Kafka.
    pub fn check(&self, makes_member_id: bool) -> Result<(), HeartbeatRefused> {
        let invalid = |message: &str| Err(HeartbeatRefused::new(GroupError::InvalidRequest, message));
        let is_blank = |text: &str| text.trim().is_empty();
        let is_blank_option = |text: &Option<String>| text.as_deref().is_some_and(is_blank);
        let must_name_itself = makes_member_id || self.member_epoch > 0 || self.member_epoch == LEAVE_EPOCH;
        if must_name_itself && is_blank(&self.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&self.group_id) {
            return invalid("GroupId can't be empty.");
        }
        if is_blank_option(&self.instance_id) {
            return invalid("InstanceId can't be empty.");
        }
        if is_blank_option(&self.rack_id) {
            return invalid("RackId can't be empty.");
        }
        match self.member_epoch {
            0 if self.rebalance_timeout.is_none() => {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            0 if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            0 if self.subscribed_topic_names.is_none() && self.subscribed_topic_regex.is_none() => {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
            STATIC_LEAVE_EPOCH if self.instance_id.is_none() => return invalid("InstanceId can't be null."),
            ..STATIC_LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        if let Some(name) = self.server_assignor.as_deref()
            && Assignor::of_name(name).is_none()
        {
            let known = Assignor::ALL.map(Assignor::name).join(", ");
            let message = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
            return Err(HeartbeatRefused::new(GroupError::UnsupportedAssignor, message));
        }
        self.check_bounds()
    }

    /// Our own bounds; Kafka's is the size of a record.
    fn check_bounds(&self) -> Result<(), HeartbeatRefused> {
        let ids = [Some(&self.member_id), self.instance_id.as_ref(), self.rack_id.as_ref()];
        if ids.into_iter().flatten().any(|id| id.len() > ID_BYTES_MAX) {
            let message = format!("An id has more than {ID_BYTES_MAX} bytes.");
            return Err(HeartbeatRefused::new(GroupError::InvalidRequest, message));
        }
        if self.subscribed_topic_names.as_ref().is_some_and(|names| names.len() > SUBSCRIBED_NAMES_MAX) {
            let message = format!("More than {SUBSCRIBED_NAMES_MAX} topics are subscribed to by name.");
            return Err(HeartbeatRefused::new(GroupError::InvalidRequest, message));
        }
        Ok(())
    }
}

/// ConsumerGroupDescribe, one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Its id.
    pub group_id: String,
    /// Where it is in its life.
    pub state: GroupState,
    /// Rises with everything that asks for another assignment.
    pub group_epoch: i32,
    /// The group epoch that the target assignment is for.
    pub assignment_epoch: i32,
    /// The assignor that most members want.
    pub assignor: Assignor,
    /// Its members, by id.
    pub members: Vec<DescribedConsumer>,
}

/// A member in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// Its id.
    pub member_id: String,
    /// Names a static member.
    pub instance_id: Option<String>,
    /// The client's rack.
    pub rack_id: Option<String>,
    /// Its epoch.
    pub member_epoch: i32,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
    /// Of its client.
    pub client_id: String,
    /// Of its client.
    pub client_host: String,
    /// What it subscribes to by name.
    pub subscribed_topic_names: Vec<String>,
    /// What it subscribes to by regular expression; empty = nothing.
    pub subscribed_topic_regex: String,
    /// What it has.
    pub assignment: Vec<DescribedTopic>,
    /// What it should have.
    pub target_assignment: Vec<DescribedTopic>,
}

/// Partitions of a topic in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    /// Its id.
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
    /// The partitions.
    pub partitions: Vec<i32>,
}

#[cfg(test)]
#[path = "api_consumer_tests.rs"]
mod tests;
