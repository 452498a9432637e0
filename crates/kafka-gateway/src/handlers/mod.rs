//! One file per Kafka API, or per few that belong together. Each opens with the versions served, its behaviour, and what is skipped.

pub(crate) mod acls;
pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod client_quotas;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_user_scram_credentials;
pub(crate) mod elect_leaders;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod init_producer_id;
pub(crate) mod list_config_resources;
pub(crate) mod list_offsets;
pub(crate) mod list_transactions;
pub(crate) mod log_dirs;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod partition_reassignments;
pub(crate) mod produce;
