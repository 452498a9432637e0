//! Bodies of requests and answers through the protocol crate, by API key: for the tests that hold our bytes against
//! another codec's, and for the fuzz target, whose answers must be readable whatever was asked.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as m, ApiKey};
use kafka_protocol::protocol::{Decodable, Encodable, Request};

/// Which of the two bodies of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// Decodes a body and encodes it again; `None` if it does not decode. What it leaves of `body` is too much of it.
///
/// # Panics
/// If the API is not served, so that a new one cannot be forgotten here.
pub(crate) fn again(side: Side, key: ApiKey, version: i16, body: &mut Bytes) -> Option<BytesMut> {
    match key {
        ApiKey::Produce => either::<m::ProduceRequest>(side, version, body),
        ApiKey::Fetch => either::<m::FetchRequest>(side, version, body),
        ApiKey::ListOffsets => either::<m::ListOffsetsRequest>(side, version, body),
        ApiKey::Metadata => either::<m::MetadataRequest>(side, version, body),
        ApiKey::OffsetCommit => either::<m::OffsetCommitRequest>(side, version, body),
        ApiKey::OffsetFetch => either::<m::OffsetFetchRequest>(side, version, body),
        ApiKey::FindCoordinator => either::<m::FindCoordinatorRequest>(side, version, body),
        ApiKey::JoinGroup => either::<m::JoinGroupRequest>(side, version, body),
        ApiKey::Heartbeat => either::<m::HeartbeatRequest>(side, version, body),
        ApiKey::LeaveGroup => either::<m::LeaveGroupRequest>(side, version, body),
        ApiKey::SyncGroup => either::<m::SyncGroupRequest>(side, version, body),
        ApiKey::DescribeGroups => either::<m::DescribeGroupsRequest>(side, version, body),
        ApiKey::ListGroups => either::<m::ListGroupsRequest>(side, version, body),
        ApiKey::ApiVersions => either::<m::ApiVersionsRequest>(side, version, body),
        ApiKey::CreateTopics => either::<m::CreateTopicsRequest>(side, version, body),
        ApiKey::DeleteTopics => either::<m::DeleteTopicsRequest>(side, version, body),
        ApiKey::DeleteRecords => either::<m::DeleteRecordsRequest>(side, version, body),
        ApiKey::InitProducerId => either::<m::InitProducerIdRequest>(side, version, body),
        ApiKey::OffsetForLeaderEpoch => either::<m::OffsetForLeaderEpochRequest>(side, version, body),
        ApiKey::DescribeAcls => either::<m::DescribeAclsRequest>(side, version, body),
        ApiKey::CreateAcls => either::<m::CreateAclsRequest>(side, version, body),
        ApiKey::DeleteAcls => either::<m::DeleteAclsRequest>(side, version, body),
        ApiKey::DescribeConfigs => either::<m::DescribeConfigsRequest>(side, version, body),
        ApiKey::AlterConfigs => either::<m::AlterConfigsRequest>(side, version, body),
        ApiKey::AlterReplicaLogDirs => either::<m::AlterReplicaLogDirsRequest>(side, version, body),
        ApiKey::DescribeLogDirs => either::<m::DescribeLogDirsRequest>(side, version, body),
        ApiKey::CreatePartitions => either::<m::CreatePartitionsRequest>(side, version, body),
        ApiKey::DeleteGroups => either::<m::DeleteGroupsRequest>(side, version, body),
        ApiKey::ElectLeaders => either::<m::ElectLeadersRequest>(side, version, body),
        ApiKey::IncrementalAlterConfigs => either::<m::IncrementalAlterConfigsRequest>(side, version, body),
        ApiKey::AlterPartitionReassignments => either::<m::AlterPartitionReassignmentsRequest>(side, version, body),
        ApiKey::ListPartitionReassignments => either::<m::ListPartitionReassignmentsRequest>(side, version, body),
        ApiKey::OffsetDelete => either::<m::OffsetDeleteRequest>(side, version, body),
        ApiKey::DescribeClientQuotas => either::<m::DescribeClientQuotasRequest>(side, version, body),
        ApiKey::AlterClientQuotas => either::<m::AlterClientQuotasRequest>(side, version, body),
        ApiKey::DescribeUserScramCredentials => either::<m::DescribeUserScramCredentialsRequest>(side, version, body),
        ApiKey::DescribeCluster => either::<m::DescribeClusterRequest>(side, version, body),
        ApiKey::DescribeProducers => either::<m::DescribeProducersRequest>(side, version, body),
        ApiKey::ListTransactions => either::<m::ListTransactionsRequest>(side, version, body),
        ApiKey::ConsumerGroupHeartbeat => either::<m::ConsumerGroupHeartbeatRequest>(side, version, body),
        ApiKey::ConsumerGroupDescribe => either::<m::ConsumerGroupDescribeRequest>(side, version, body),
        ApiKey::ListConfigResources => either::<m::ListConfigResourcesRequest>(side, version, body),
        ApiKey::DescribeTopicPartitions => either::<m::DescribeTopicPartitionsRequest>(side, version, body),
        key => unreachable!("{key:?} has no codec here"),
    }
}

fn either<R: Request>(side: Side, version: i16, body: &mut Bytes) -> Option<BytesMut> {
    match side {
        Side::Request => through::<R>(version, body),
        Side::Answer => through::<R::Response>(version, body),
    }
}

fn through<T: Decodable + Encodable>(version: i16, body: &mut Bytes) -> Option<BytesMut> {
    let message = T::decode(body, version).ok()?;
    let mut out = BytesMut::new();
    message.encode(&mut out, version).ok()?;
    Some(out)
}
