//! What gateways ask of KIP-848 consumer groups; the way is that of [`super::coordinator`].

use segment::OrganizationId;

use super::api::GroupError;
use super::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumerGroup, HeartbeatRefused};
use super::effects::Reply;
use super::registry::Request;
use crate::broker::Broker;

impl Broker {
    /// ConsumerGroupHeartbeat. `makes_member_id`: the client has to name itself.
    ///
    /// # Errors
    /// As Kafka's coordinator.
    pub async fn consumer_group_heartbeat(
        &self,
        organization: OrganizationId,
        makes_member_id: bool,
        heartbeat: ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        heartbeat.check(makes_member_id)?;
        let group_id = heartbeat.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::ConsumerHeartbeat(Box::new(heartbeat))).await? {
            Reply::ConsumerHeartbeat(answer) => answer,
            _ => Err(GroupError::UnknownServerError.into()),
        }
    }

    /// ConsumerGroupDescribe, one group.
    ///
    /// # Errors
    /// As Kafka's coordinator.
    pub async fn describe_consumer_group(
        &self,
        organization: OrganizationId,
        group_id: String,
    ) -> Result<DescribedConsumerGroup, HeartbeatRefused> {
        if group_id.is_empty() {
            return Err(GroupError::InvalidGroupId.into());
        }
        match self.ask_coordinator(organization, &group_id, Request::ConsumerDescribe(group_id.clone())).await? {
            Reply::ConsumerDescribe(answer) => answer,
            _ => Err(GroupError::UnknownServerError.into()),
        }
    }
}
