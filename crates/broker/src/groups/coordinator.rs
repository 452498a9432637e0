//! What gateways ask of groups: each question goes to the coordinator of its group, if that is here.
//!
//! The coordinator of a group is the leader of the partition of `__consumer_offsets` that Kafka's hash of the group's id names.

use std::sync::Arc;

use metadata::COORDINATOR_KEY_BYTES_MAX;
use segment::{OrganizationId, PartitionIndex, PartitionKey};

use super::api::{
    DescribedGroup, FetchedOffset, GroupError, Heartbeat, JoinGroup, JoinRefused, Joined, LeaveGroup, LeftMember,
    ListGroups, ListedGroup, OffsetCommit, OffsetDelete, OffsetFetch, PartitionOutcome, SyncGroup, Synced,
};
use super::effects::Reply;
use super::registry::Request;
use super::shards::Running;
use crate::broker::Broker;
use crate::cluster::Agent;
use crate::topics::{OFFSETS_TOPIC, Topic};

/// Longest id of a group: the rest of a row's key is for what is in it.
pub(crate) const GROUP_ID_BYTES_MAX: usize = COORDINATOR_KEY_BYTES_MAX / 2;

impl Broker {
    /// The agent to ask about a group.
    ///
    /// # Errors
    /// [`GroupError::CoordinatorNotAvailable`] while there is none, [`GroupError::InvalidGroupId`].
    pub async fn find_coordinator(&self, organization: OrganizationId, group_id: &str) -> Result<Agent, GroupError> {
        check_group_id(group_id)?;
        let unavailable = |error| {
            tracing::warn!(%error, "no coordinator to be had");
            GroupError::CoordinatorNotAvailable
        };
        let topic = self.offsets_topic(organization).await.map_err(unavailable)?;
        let partition = partition_of(group_id, topic.partition_count);
        let leader = self.partition_leader(topic.topic_id, partition);
        leader.map(|(agent, _)| agent).ok_or(GroupError::CoordinatorNotAvailable)
    }

    /// JoinGroup: answered when the rebalance is complete. Who stops waiting stays a member until its time-out.
    ///
    /// # Errors
    /// As Kafka's coordinator, with the member id to answer with.
    pub async fn join_group(&self, organization: OrganizationId, join: JoinGroup) -> Result<Joined, JoinRefused> {
        let (group_id, member_id) = (join.group_id.clone(), join.member_id.clone());
        match self.ask_coordinator(organization, &group_id, Request::Join(join)).await {
            Ok(Reply::Join(answer)) => answer,
            Ok(_) => Err(JoinRefused { error: GroupError::UnknownServerError, member_id }),
            Err(error) => Err(JoinRefused { error, member_id }),
        }
    }

    /// SyncGroup: answered when the leader has assigned.
    ///
    /// # Errors
    /// As Kafka's coordinator.
    pub async fn sync_group(&self, organization: OrganizationId, sync: SyncGroup) -> Result<Synced, GroupError> {
        let group_id = sync.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::Sync(sync)).await? {
            Reply::Sync(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    /// Heartbeat.
    ///
    /// # Errors
    /// As Kafka's coordinator.
    pub async fn heartbeat(&self, organization: OrganizationId, heartbeat: Heartbeat) -> Result<(), GroupError> {
        let group_id = heartbeat.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::Heartbeat(heartbeat)).await {
            Ok(Reply::Heartbeat(answer)) => answer,
            Ok(_) => Err(GroupError::UnknownServerError),
            // As Kafka: sessions begin anew when the groups are loaded, so it is alive.
            Err(GroupError::CoordinatorLoadInProgress) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// LeaveGroup; outcomes are in the order of the request.
    ///
    /// # Errors
    /// As Kafka's coordinator; nobody left.
    pub async fn leave_group(
        &self,
        organization: OrganizationId,
        leave: LeaveGroup,
    ) -> Result<Vec<LeftMember>, GroupError> {
        let group_id = leave.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::Leave(leave)).await? {
            Reply::Leave(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    /// OffsetCommit; durable when it returns. Outcomes are in the order of the request.
    ///
    /// # Errors
    /// As Kafka's coordinator, for all partitions.
    pub async fn commit_offsets(
        &self,
        organization: OrganizationId,
        commit: OffsetCommit,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let group_id = commit.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::OffsetCommit(commit)).await? {
            Reply::OffsetCommit(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    /// OffsetFetch. Only the current coordinator may say how far a group came, so the lease is confirmed by a metadata read
    /// begun now.
    ///
    /// # Errors
    /// As Kafka's coordinator; [`GroupError::NotCoordinator`] too while metadata does not answer.
    pub async fn fetch_offsets(
        &self,
        organization: OrganizationId,
        fetch: OffsetFetch,
    ) -> Result<Vec<FetchedOffset>, GroupError> {
        let (key, coordinator) = self.coordinator_of(organization, &fetch.group_id)?;
        let leader_epoch = coordinator.leader_epoch;
        let confirmed = self.shards().confirmation.epoch(key);
        let (confirmed, answer) = tokio::join!(confirmed, coordinator.ask(Request::OffsetFetch(fetch)));
        match answer? {
            _ if confirmed != Some(leader_epoch) => Err(GroupError::NotCoordinator),
            Reply::OffsetFetch(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    /// OffsetDelete; outcomes are in the order of the request.
    ///
    /// # Errors
    /// As Kafka's coordinator, for all partitions.
    pub async fn delete_offsets(
        &self,
        organization: OrganizationId,
        delete: OffsetDelete,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let group_id = delete.group_id.clone();
        match self.ask_coordinator(organization, &group_id, Request::OffsetDelete(delete)).await? {
            Reply::OffsetDelete(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    /// The groups whose coordinator is here.
    ///
    /// # Errors
    /// [`GroupError::CoordinatorLoadInProgress`] while some are not known yet.
    pub async fn list_groups(
        &self,
        organization: OrganizationId,
        wanted: ListGroups,
    ) -> Result<Vec<ListedGroup>, GroupError> {
        let mut listed = Vec::new();
        for coordinator in self.shards().all(organization) {
            match coordinator.ask(Request::List(wanted.clone())).await {
                Ok(Reply::List(groups)) => listed.extend(groups),
                // Its groups are another agent's to list.
                Err(GroupError::NotCoordinator) => {}
                Ok(_) => return Err(GroupError::UnknownServerError),
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// DescribeGroups, one of them.
    pub async fn describe_group(&self, organization: OrganizationId, group_id: String) -> DescribedGroup {
        match self.ask_coordinator(organization, &group_id, Request::Describe(group_id.clone())).await {
            Ok(Reply::Describe(described)) => described,
            Ok(_) => DescribedGroup::refused(group_id, GroupError::UnknownServerError),
            Err(error) => DescribedGroup::refused(group_id, error),
        }
    }

    /// DeleteGroups, one of them.
    ///
    /// # Errors
    /// As Kafka's coordinator.
    pub async fn delete_group(&self, organization: OrganizationId, group_id: &str) -> Result<(), GroupError> {
        match self.ask_coordinator(organization, group_id, Request::DeleteGroup(group_id.to_owned())).await? {
            Reply::DeleteGroup(answer) => answer,
            _ => Err(GroupError::UnknownServerError),
        }
    }

    pub(super) async fn ask_coordinator(
        &self,
        organization: OrganizationId,
        group_id: &str,
        request: Request,
    ) -> Result<Reply, GroupError> {
        self.coordinator_of(organization, group_id)?.1.ask(request).await
    }

    fn coordinator_of(
        &self,
        organization: OrganizationId,
        group_id: &str,
    ) -> Result<(PartitionKey, Running), GroupError> {
        check_group_id(group_id)?;
        let topic: Arc<Topic> = self.topic(organization, OFFSETS_TOPIC).ok_or(GroupError::NotCoordinator)?;
        let partition = partition_of(group_id, topic.partition_count);
        let key = PartitionKey { organization, topic_id: topic.topic_id, partition };
        self.shards().of(key).map(|running| (key, running)).ok_or(GroupError::NotCoordinator)
    }
}

fn check_group_id(group_id: &str) -> Result<(), GroupError> {
    if group_id.len() <= GROUP_ID_BYTES_MAX { Ok(()) } else { Err(GroupError::InvalidGroupId) }
}

/// The partition whose leader coordinates a group: `Utils.abs(groupId.hashCode()) % partitions`, as in Kafka.
fn partition_of(group_id: &str, partition_count: i32) -> PartitionIndex {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `abs` of the smallest number is 0.
    hash.checked_abs().unwrap_or(0) % partition_count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_partition_that_kafka_gives_it() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("abc", 50), 96_354 % 50);
        // The hash of this text is the smallest number of 32 bits.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // UTF-16, as Java counts: one character outside of the first plane is two units.
        assert_eq!(partition_of("\u{1f600}", 1_000_000), (0xd83d_i32 * 31 + 0xde00) % 1_000_000);
    }
}
