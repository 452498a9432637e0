//! What is asked of a group and what it answers: Kafka's group APIs in the domain's words.
//!
//! A gateway has resolved topics to ids before it asks, and answers itself for those that are not there. Fields keep
//! Kafka's names. What differs between versions of an API is a field here (`require_known_member_id`), so that nothing
//! below a gateway knows versions.

use std::time::Duration;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Why a group refuses; one variant for each of Kafka's codes of the group APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// Kafka -1.
    #[error("the state of the group is not as it must be")]
    UnknownServerError,
    /// Kafka 3.
    #[error("unknown topic or partition")]
    UnknownTopicOrPartition,
    /// Kafka 7: not known in time whether it happened.
    #[error("not decided in time")]
    RequestTimedOut,
    /// Kafka 12.
    #[error("the metadata of the offset is too large")]
    OffsetMetadataTooLarge,
    /// Kafka 14: ask again soon.
    #[error("the coordinator is loading its groups")]
    CoordinatorLoadInProgress,
    /// Kafka 15: find the coordinator again.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// Kafka 16: find the coordinator again.
    #[error("not the coordinator of the group")]
    NotCoordinator,
    /// Kafka 22.
    #[error("not the generation of the group")]
    IllegalGeneration,
    /// Kafka 23.
    #[error("no protocol that all members have")]
    InconsistentGroupProtocol,
    /// Kafka 24.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// Kafka 25.
    #[error("no such member")]
    UnknownMemberId,
    /// Kafka 26.
    #[error("the session time-out is out of bounds")]
    InvalidSessionTimeout,
    /// Kafka 27: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// Kafka 28: more than one request may commit.
    #[error("the commit is too large")]
    InvalidCommitOffsetSize,
    /// Kafka 35.
    #[error("the group does not speak this version")]
    UnsupportedVersion,
    /// Kafka 42.
    #[error("the request contradicts itself")]
    InvalidRequest,
    /// Kafka 68.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// Kafka 69.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// Kafka 79: join again with the id that comes with this.
    #[error("a member id is required")]
    MemberIdRequired,
    /// Kafka 81.
    #[error("the group has no room for another member")]
    GroupMaxSizeReached,
    /// Kafka 82.
    #[error("another member has this instance id now")]
    FencedInstanceId,
    /// Kafka 86.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// Kafka 88: an open transaction may still change the offset.
    #[error("offsets of open transactions are pending")]
    UnstableOffsetCommit,
    /// Kafka 100.
    #[error("unknown topic id")]
    UnknownTopicId,
    /// Kafka 110.
    #[error("the member's epoch is not that of the group's coordinator")]
    FencedMemberEpoch,
    /// Kafka 111.
    #[error("the instance id belongs to another member")]
    UnreleasedInstanceId,
    /// Kafka 112.
    #[error("no such assignor")]
    UnsupportedAssignor,
    /// Kafka 113: take the new epoch and try again.
    #[error("the member's epoch is stale")]
    StaleMemberEpoch,
    /// Kafka 128.
    #[error("not a regular expression")]
    InvalidRegularExpression,
}

/// One of the ways in which a member could divide the work, with what it says about itself in that way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, as `range`.
    pub name: String,
    /// Opaque to the coordinator (of protocol type `consumer`: the subscription).
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The group.
    pub group_id: String,
    /// Empty for a new member.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// Of the client that asks.
    pub client_id: String,
    /// Of the client that asks, as `/127.0.0.1`.
    pub client_host: String,
    /// The member is gone after so long without a sign; out of bounds (negative: zero) it is refused.
    pub session_timeout: Duration,
    /// The group waits so long for this member in a rebalance; in version 0 the session time-out.
    pub rebalance_timeout: Duration,
    /// `consumer`, `connect`, `sr`, …
    pub protocol_type: String,
    /// In the order of preference.
    pub protocols: Vec<Protocol>,
    /// From version 4 a new member gets an id first and joins with it ([`GroupError::MemberIdRequired`]).
    pub require_known_member_id: bool,
    /// From version 9 a leader can be told to leave the assignment as it is.
    pub supports_skipping_assignment: bool,
    /// Why it joins (KIP-800), for the log.
    pub reason: Option<String>,
}

/// The answer to a member that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation it is a member of.
    pub generation_id: i32,
    /// The group's.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol_name: Option<String>,
    /// The leader's member id.
    pub leader: String,
    /// The leader keeps the assignment as it is (KIP-814).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: String,
    /// All members for the leader, none for the others.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// What it said with the protocol that was chosen.
    pub metadata: Bytes,
}

/// The answer to a member that did not join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to answer with; with [`GroupError::MemberIdRequired`] the one to join with.
    pub member_id: String,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// The group.
    pub group_id: String,
    /// As the answer to JoinGroup said.
    pub generation_id: i32,
    /// Who asks.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// From version 5; must be the group's.
    pub protocol_type: Option<String>,
    /// From version 5; must be the group's.
    pub protocol_name: Option<String>,
    /// From the leader: member id and what it is assigned.
    pub assignments: Vec<(String, Bytes)>,
}

/// What a member is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's.
    pub protocol_type: Option<String>,
    /// The group's.
    pub protocol_name: Option<String>,
    /// Opaque to the coordinator.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group_id: String,
    /// As the answer to JoinGroup said.
    pub generation_id: i32,
    /// Who asks.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
}

/// LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    /// The group.
    pub group_id: String,
    /// Who leaves; one before version 3.
    pub members: Vec<LeavingMember>,
}

/// A member that leaves, or is removed by an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty: the static member of that instance id, whatever its member id.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// Why it leaves (KIP-800), for the log.
    pub reason: Option<String>,
}

/// What became of a member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// As asked.
    pub member_id: String,
    /// As asked.
    pub group_instance_id: Option<String>,
    /// `None`: it left.
    pub error: Option<GroupError>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The group.
    pub group_id: String,
    /// The classic generation or the KIP-848 member epoch; -1 outside of a group.
    pub generation_id_or_member_epoch: i32,
    /// Empty outside of a group.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// Versions 2 to 4: how long from now, where the client says so.
    pub retention: Option<Duration>,
    /// Version 9 and above: codes for what does not exist or is old are the newer ones.
    pub knows_new_errors: bool,
    /// What is committed.
    pub partitions: Vec<OffsetToCommit>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// Of the last record read; -1 if not known.
    pub leader_epoch: LeaderEpoch,
    /// The client's own words.
    pub metadata: String,
}

/// What became of a partition in a request of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// `None`: done.
    pub error: Option<GroupError>,
}

/// OffsetFetch, one group of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetch {
    /// The group.
    pub group_id: String,
    /// Who asks (KIP-848).
    pub member_id: Option<String>,
    /// Its epoch (KIP-848); -1 outside of a group.
    pub member_epoch: i32,
    /// `None`: all that the group has.
    pub partitions: Option<Vec<(TopicId, PartitionIndex)>>,
    /// Offsets of open transactions are an error instead of being left out.
    pub require_stable: bool,
}

/// A committed offset; -1, -1 and "" where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to read.
    pub offset: Offset,
    /// As committed.
    pub leader_epoch: LeaderEpoch,
    /// As committed.
    pub metadata: String,
    /// Why it is not told.
    pub error: Option<GroupError>,
}

/// ListGroups. Both filters are compared without regard to case; an empty one lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    /// Names of states.
    pub states_filter: Vec<String>,
    /// Names of types.
    pub types_filter: Vec<String>,
}

impl ListGroups {
    /// Whether a group is asked for.
    #[must_use]
    pub fn asks_for(&self, state: GroupState, group_type: GroupType) -> bool {
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        passes(&self.states_filter, state.as_str()) && passes(&self.types_filter, group_type.as_str())
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// Empty where it only has offsets.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
    /// Its type.
    pub group_type: GroupType,
}

/// The protocol that a group's members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// JoinGroup and SyncGroup.
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupType {
    /// As Kafka spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No members; it may have offsets.
    Empty,
    /// Classic: waits for its members to join.
    PreparingRebalance,
    /// Classic: waits for the leader's assignment.
    CompletingRebalance,
    /// Everybody has what is assigned.
    Stable,
    /// Does not exist (any more).
    Dead,
    /// KIP-848: the assignment is behind the group.
    Assigning,
    /// KIP-848: members are on their way to the assignment.
    Reconciling,
}

impl GroupState {
    /// As Kafka spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
        }
    }
}

/// DescribeGroups, one group. An unknown one is `Dead`, with `error` [`GroupError::GroupIdNotFound`] that only version 6
/// and above show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its id.
    pub group_id: String,
    /// Why there is nothing to tell.
    pub error: Option<GroupError>,
    /// Its state.
    pub state: GroupState,
    /// Empty where it only has offsets.
    pub protocol_type: String,
    /// The protocol that was chosen, in `Stable`; else empty.
    pub protocol_data: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

impl DescribedGroup {
    /// The answer for a group of which nothing is known but why.
    #[must_use]
    pub fn refused(group_id: String, error: GroupError) -> Self {
        let (protocol_type, protocol_data) = (String::new(), String::new());
        Self {
            group_id,
            error: Some(error),
            state: GroupState::Dead,
            protocol_type,
            protocol_data,
            members: Vec::new(),
        }
    }
}

/// A member in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Names a static member.
    pub group_instance_id: Option<String>,
    /// Of its client.
    pub client_id: String,
    /// Of its client.
    pub client_host: String,
    /// What it said with the protocol that was chosen; empty except in `Stable`.
    pub member_metadata: Bytes,
    /// What it is assigned; empty except in `Stable`.
    pub member_assignment: Bytes,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDelete {
    /// The group.
    pub group_id: String,
    /// Whose offsets go.
    pub partitions: Vec<(TopicId, PartitionIndex)>,
}
