//! The version table: which APIs are served in which versions. ApiVersions is derived from it.
//!
//! The minimums matter as much as the maximums: librdkafka before 2.11.1 switches a feature on only if one exact
//! version lies inside the advertised range (gzip and snappy: Produce 0; lz4: FindCoordinator 0; zstd: Produce 7 and
//! Fetch 10; record headers: Produce 3 and Fetch 4), and kafka-go and kafkajs do not look at minimums at all. So
//! Produce is advertised from 0 though 0 to 2 are not served; Apache Kafka 4 does the same (KAFKA-18659).

use kafka_protocol::messages::ApiKey;

use crate::schema::{self, Body};

/// One API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    /// Its name, for metrics and logs.
    pub(crate) name: &'static str,
    /// Lowest version in ApiVersions.
    pub(crate) advertised_min: i16,
    /// Lowest version that is answered; a lower one closes the connection.
    pub(crate) served_min: i16,
    /// Highest version, advertised and served.
    pub(crate) max: i16,
    /// First version with compact lengths and tagged fields.
    pub(crate) flexible_since: i16,
    /// What the body looks like.
    pub(crate) body: Body,
}

impl Api {
    /// The API of that key, if it is served.
    pub(crate) fn of_key(key: i16) -> Option<&'static Self> {
        APIS.iter().find(|api| api.key as i16 == key)
    }

    /// Whether this version is answered.
    pub(crate) fn serves(&self, version: i16) -> bool {
        (self.served_min..=self.max).contains(&version)
    }

    const fn new(key: ApiKey, name: &'static str, versions: (i16, i16), flexible_since: i16, body: Body) -> Self {
        Self { key, name, advertised_min: versions.0, served_min: versions.0, max: versions.1, flexible_since, body }
    }

    const fn advertised_from(mut self, version: i16) -> Self {
        self.advertised_min = version;
        self
    }
}

/// For APIs whose versions all have plain lengths.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// Every API, by key.
pub(crate) const APIS: &[Api] = &[
    Api::new(ApiKey::Produce, "Produce", (3, 13), 9, schema::PRODUCE).advertised_from(0),
    Api::new(ApiKey::Fetch, "Fetch", (4, 18), 12, schema::FETCH),
    Api::new(ApiKey::ListOffsets, "ListOffsets", (1, 10), 6, schema::LIST_OFFSETS),
    Api::new(ApiKey::Metadata, "Metadata", (0, 13), 9, schema::METADATA),
    Api::new(ApiKey::OffsetCommit, "OffsetCommit", (2, 10), 8, schema::OFFSET_COMMIT),
    Api::new(ApiKey::OffsetFetch, "OffsetFetch", (1, 10), 6, schema::OFFSET_FETCH),
    Api::new(ApiKey::FindCoordinator, "FindCoordinator", (0, 6), 3, schema::FIND_COORDINATOR),
    Api::new(ApiKey::JoinGroup, "JoinGroup", (0, 9), 6, schema::JOIN_GROUP),
    Api::new(ApiKey::Heartbeat, "Heartbeat", (0, 4), 4, schema::HEARTBEAT),
    Api::new(ApiKey::LeaveGroup, "LeaveGroup", (0, 5), 4, schema::LEAVE_GROUP),
    Api::new(ApiKey::SyncGroup, "SyncGroup", (0, 5), 4, schema::SYNC_GROUP),
    Api::new(ApiKey::DescribeGroups, "DescribeGroups", (0, 6), 5, schema::DESCRIBE_GROUPS),
    Api::new(ApiKey::ListGroups, "ListGroups", (0, 5), 3, schema::LIST_GROUPS),
    Api::new(ApiKey::ApiVersions, "ApiVersions", (0, 4), 3, schema::API_VERSIONS),
    Api::new(ApiKey::CreateTopics, "CreateTopics", (2, 7), 5, schema::CREATE_TOPICS),
    Api::new(ApiKey::DeleteTopics, "DeleteTopics", (1, 6), 4, schema::DELETE_TOPICS),
    Api::new(ApiKey::DeleteRecords, "DeleteRecords", (0, 2), 2, schema::DELETE_RECORDS),
    Api::new(ApiKey::InitProducerId, "InitProducerId", (0, 5), 2, schema::INIT_PRODUCER_ID),
    Api::new(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", (2, 4), 4, schema::OFFSET_FOR_LEADER_EPOCH),
    Api::new(ApiKey::DescribeAcls, "DescribeAcls", (1, 3), 2, schema::DESCRIBE_ACLS),
    Api::new(ApiKey::CreateAcls, "CreateAcls", (1, 3), 2, schema::CREATE_ACLS),
    Api::new(ApiKey::DeleteAcls, "DeleteAcls", (1, 3), 2, schema::DELETE_ACLS),
    Api::new(ApiKey::DescribeConfigs, "DescribeConfigs", (1, 4), 4, schema::DESCRIBE_CONFIGS),
    Api::new(ApiKey::AlterConfigs, "AlterConfigs", (0, 2), 2, schema::ALTER_CONFIGS),
    Api::new(ApiKey::AlterReplicaLogDirs, "AlterReplicaLogDirs", (1, 2), 2, schema::ALTER_REPLICA_LOG_DIRS),
    Api::new(ApiKey::DescribeLogDirs, "DescribeLogDirs", (1, 4), 2, schema::DESCRIBE_LOG_DIRS),
    Api::new(ApiKey::CreatePartitions, "CreatePartitions", (0, 3), 2, schema::CREATE_PARTITIONS),
    Api::new(ApiKey::DeleteGroups, "DeleteGroups", (0, 2), 2, schema::DELETE_GROUPS),
    Api::new(ApiKey::ElectLeaders, "ElectLeaders", (0, 2), 2, schema::ELECT_LEADERS),
    Api::new(ApiKey::IncrementalAlterConfigs, "IncrementalAlterConfigs", (0, 1), 1, schema::INCREMENTAL_ALTER_CONFIGS),
    Api::new(
        ApiKey::AlterPartitionReassignments,
        "AlterPartitionReassignments",
        (0, 1),
        0,
        schema::ALTER_PARTITION_REASSIGNMENTS,
    ),
    Api::new(
        ApiKey::ListPartitionReassignments,
        "ListPartitionReassignments",
        (0, 0),
        0,
        schema::LIST_PARTITION_REASSIGNMENTS,
    ),
    Api::new(ApiKey::OffsetDelete, "OffsetDelete", (0, 0), NEVER_FLEXIBLE, schema::OFFSET_DELETE),
    Api::new(ApiKey::DescribeClientQuotas, "DescribeClientQuotas", (0, 1), 1, schema::DESCRIBE_CLIENT_QUOTAS),
    Api::new(ApiKey::AlterClientQuotas, "AlterClientQuotas", (0, 1), 1, schema::ALTER_CLIENT_QUOTAS),
    Api::new(
        ApiKey::DescribeUserScramCredentials,
        "DescribeUserScramCredentials",
        (0, 0),
        0,
        schema::DESCRIBE_USER_SCRAM_CREDENTIALS,
    ),
    Api::new(ApiKey::DescribeCluster, "DescribeCluster", (0, 2), 0, schema::DESCRIBE_CLUSTER),
    Api::new(ApiKey::DescribeProducers, "DescribeProducers", (0, 0), 0, schema::DESCRIBE_PRODUCERS),
    Api::new(ApiKey::ListTransactions, "ListTransactions", (0, 2), 0, schema::LIST_TRANSACTIONS),
    Api::new(ApiKey::ConsumerGroupHeartbeat, "ConsumerGroupHeartbeat", (0, 1), 0, schema::CONSUMER_GROUP_HEARTBEAT),
    Api::new(ApiKey::ConsumerGroupDescribe, "ConsumerGroupDescribe", (0, 1), 0, schema::CONSUMER_GROUP_DESCRIBE),
    Api::new(ApiKey::ListConfigResources, "ListConfigResources", (0, 1), 0, schema::LIST_CONFIG_RESOURCES),
    Api::new(ApiKey::DescribeTopicPartitions, "DescribeTopicPartitions", (0, 0), 0, schema::DESCRIBE_TOPIC_PARTITIONS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_key() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
    }

    #[test]
    fn every_exact_version_that_old_librdkafka_gates_on_is_advertised() {
        let groups = [(8, 2), (9, 1), (10, 0), (11, 0), (12, 0), (13, 0), (14, 0)];
        let gates = [(0, 0), (0, 3), (1, 4), (2, 1), (22, 0), (0, 7), (1, 10), (23, 2)].into_iter().chain(groups);
        for (key, version) in gates {
            let api = Api::of_key(key).unwrap();
            assert!((api.advertised_min..=api.max).contains(&version), "{} {version}", api.name);
        }
    }
}
