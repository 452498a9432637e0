//! The one place where the broker's errors become Kafka's: an exhaustive mapping per enum.

use broker::groups::api::GroupError;
use broker::{AppendError, DeleteRecordsError, FetchError, OffsetError, TopicError};
pub(crate) use kafka_protocol::error::ResponseError as Code;

/// How the request named its topics: decides what "unknown topic" is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    /// By name: UNKNOWN_TOPIC_OR_PARTITION.
    Name,
    /// By id: UNKNOWN_TOPIC_ID.
    Id,
}

impl NamedBy {
    pub(crate) fn unknown_topic(self) -> Code {
        match self {
            Self::Name => Code::UnknownTopicOrPartition,
            Self::Id => Code::UnknownTopicId,
        }
    }
}

/// The code of a refused append. `None`: the outcome is unknown for ever, so nothing that could be answered is true;
/// the connection is closed instead.
pub(crate) fn of_append(error: &AppendError, named_by: NamedBy) -> Option<Code> {
    Some(match error {
        AppendError::UnknownTopic => named_by.unknown_topic(),
        AppendError::UnknownPartition => Code::UnknownTopicOrPartition,
        AppendError::InternalTopic => Code::InvalidTopicException,
        AppendError::NotLeader | AppendError::StoreGaveUp | AppendError::Draining | AppendError::Unavailable => {
            Code::NotLeaderOrFollower
        }
        AppendError::Corrupt(_) => Code::CorruptMessage,
        AppendError::InvalidRecord { .. } => Code::InvalidRecord,
        AppendError::InvalidTimestamp { .. } => Code::InvalidTimestamp,
        AppendError::TooLarge { .. } | AppendError::UnpacksTooLarge { .. } => Code::MessageTooLarge,
        AppendError::UnsupportedCompression => Code::UnsupportedCompressionType,
        AppendError::InvalidProducerEpoch => Code::InvalidProducerEpoch,
        AppendError::OutOfOrderSequence { .. } => Code::OutOfOrderSequenceNumber,
        AppendError::TransactionalRefused => Code::InvalidTxnState,
        // Only a conditional append can fail so, and Kafka's protocol has none.
        AppendError::UnexpectedOffset { .. } => Code::UnknownServerError,
        AppendError::TimedOut => Code::RequestTimedOut,
        AppendError::Unknown => return None,
    })
}

/// The code of a partition that was not read.
pub(crate) fn of_fetch(error: &FetchError, named_by: NamedBy) -> Code {
    match error {
        FetchError::UnknownTopic => named_by.unknown_topic(),
        FetchError::UnknownPartition => Code::UnknownTopicOrPartition,
        FetchError::NotLeader => Code::NotLeaderOrFollower,
        FetchError::OffsetOutOfRange { .. } => Code::OffsetOutOfRange,
        FetchError::FencedLeaderEpoch => Code::FencedLeaderEpoch,
        FetchError::UnknownLeaderEpoch => Code::UnknownLeaderEpoch,
        FetchError::OffsetNotAvailable => Code::OffsetNotAvailable,
        FetchError::Storage(_) => Code::KafkaStorageError,
    }
}

/// The code of an offset that was not found out.
pub(crate) fn of_offset(error: &OffsetError) -> Code {
    match error {
        OffsetError::UnknownTopicOrPartition => Code::UnknownTopicOrPartition,
        OffsetError::NotLeader => Code::NotLeaderOrFollower,
        OffsetError::FencedLeaderEpoch => Code::FencedLeaderEpoch,
        OffsetError::UnknownLeaderEpoch => Code::UnknownLeaderEpoch,
        OffsetError::LeaderNotAvailable => Code::LeaderNotAvailable,
        OffsetError::Storage(_) => Code::KafkaStorageError,
    }
}

/// The code of records that were not deleted.
pub(crate) fn of_deletion(error: &DeleteRecordsError) -> Code {
    match error {
        DeleteRecordsError::UnknownTopicOrPartition => Code::UnknownTopicOrPartition,
        DeleteRecordsError::NotLeader => Code::NotLeaderOrFollower,
        DeleteRecordsError::OffsetOutOfRange => Code::OffsetOutOfRange,
        DeleteRecordsError::PolicyViolation => Code::PolicyViolation,
        DeleteRecordsError::Unavailable(_) => Code::RequestTimedOut,
    }
}

/// The code of a topic operation that was refused.
pub(crate) fn of_topic(error: &TopicError, named_by: NamedBy) -> Code {
    match error {
        TopicError::InvalidName(_) => Code::InvalidTopicException,
        TopicError::AlreadyExists(_) => Code::TopicAlreadyExists,
        TopicError::InvalidPartitions(_) => Code::InvalidPartitions,
        TopicError::InvalidReplicationFactor(_) => Code::InvalidReplicationFactor,
        TopicError::InvalidConfig(_) => Code::InvalidConfig,
        TopicError::Unknown => named_by.unknown_topic(),
        TopicError::Unavailable(_) => Code::RequestTimedOut,
    }
}

/// The code of a group that refused.
pub(crate) fn of_group(error: GroupError) -> Code {
    match error {
        GroupError::UnknownServerError => Code::UnknownServerError,
        GroupError::UnknownTopicOrPartition => Code::UnknownTopicOrPartition,
        GroupError::RequestTimedOut => Code::RequestTimedOut,
        GroupError::OffsetMetadataTooLarge => Code::OffsetMetadataTooLarge,
        GroupError::CoordinatorLoadInProgress => Code::CoordinatorLoadInProgress,
        GroupError::CoordinatorNotAvailable => Code::CoordinatorNotAvailable,
        GroupError::NotCoordinator => Code::NotCoordinator,
        GroupError::IllegalGeneration => Code::IllegalGeneration,
        GroupError::InconsistentGroupProtocol => Code::InconsistentGroupProtocol,
        GroupError::InvalidGroupId => Code::InvalidGroupId,
        GroupError::UnknownMemberId => Code::UnknownMemberId,
        GroupError::InvalidSessionTimeout => Code::InvalidSessionTimeout,
        GroupError::RebalanceInProgress => Code::RebalanceInProgress,
        GroupError::InvalidCommitOffsetSize => Code::InvalidCommitOffsetSize,
        GroupError::UnsupportedVersion => Code::UnsupportedVersion,
        GroupError::InvalidRequest => Code::InvalidRequest,
        GroupError::NonEmptyGroup => Code::NonEmptyGroup,
        GroupError::GroupIdNotFound => Code::GroupIdNotFound,
        GroupError::MemberIdRequired => Code::MemberIdRequired,
        GroupError::GroupMaxSizeReached => Code::GroupMaxSizeReached,
        GroupError::FencedInstanceId => Code::FencedInstanceId,
        GroupError::GroupSubscribedToTopic => Code::GroupSubscribedToTopic,
        GroupError::UnstableOffsetCommit => Code::UnstableOffsetCommit,
        GroupError::UnknownTopicId => Code::UnknownTopicId,
        GroupError::FencedMemberEpoch => Code::FencedMemberEpoch,
        GroupError::UnreleasedInstanceId => Code::UnreleasedInstanceId,
        GroupError::UnsupportedAssignor => Code::UnsupportedAssignor,
        GroupError::StaleMemberEpoch => Code::StaleMemberEpoch,
        GroupError::InvalidRegularExpression => Code::InvalidRegularExpression,
    }
}

/// The code of an outcome.
pub(crate) fn of_group_outcome(error: Option<GroupError>) -> i16 {
    error.map_or(0, |error| of_group(error).code())
}
