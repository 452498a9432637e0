//! AlterPartitionReassignments 0–1 and ListPartitionReassignments 0.
//!
//! Which agent leads a partition is placement's to say, and there are no copies to move, so no reassignment is ever under way:
//! the list is empty, and to cancel one is NO_REASSIGNMENT_IN_PROGRESS. An assignment that is as it is already succeeds, any
//! other is INVALID_REPLICA_ASSIGNMENT.

use std::collections::HashSet;
use std::sync::Arc;

use broker::PartitionView;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::context::{Context, text};
use crate::error_code::Code;

pub(crate) async fn alter(
    context: Arc<Context>,
    _version: i16,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let allowed = request.allow_replication_factor_change;
    let topics = request.topics.into_iter().map(|asked| {
        let views = context.topic(&asked.name).map_or_else(Vec::new, |topic| context.broker.partitions(&topic));
        let partitions = asked.partitions.into_iter().map(|partition| {
            let index = partition.partition_index;
            let view = views.iter().find(|view| view.partition == index);
            let answer = ReassignablePartitionResponse::default().with_partition_index(index);
            match reassign(view, partition.replicas.as_deref()) {
                Ok(()) => answer.with_error_message(None),
                Err((code, message)) => answer.with_error_code(code.code()).with_error_message(Some(text(message))),
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(asked.name).with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(allowed)
        .with_error_message(None)
        .with_responses(topics.collect())
}

pub(crate) fn alter_has_error(response: &AlterPartitionReassignmentsResponse) -> bool {
    response.responses.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

fn reassign(view: Option<&PartitionView>, replicas: Option<&[BrokerId]>) -> Result<(), (Code, &'static str)> {
    let view = view.ok_or((Code::UnknownTopicOrPartition, "unknown topic or partition"))?;
    let replicas = replicas.ok_or((Code::NoReassignmentInProgress, "No partition reassignment is in progress."))?;
    let wanted: HashSet<i32> = replicas.iter().map(|replica| replica.0).collect();
    let has_all = view.replicas.iter().all(|replica| wanted.contains(replica));
    if has_all && wanted.len() == view.replicas.len() && wanted.len() == replicas.len() {
        return Ok(());
    }
    Err((Code::InvalidReplicaAssignment, "Agents share partitions out by themselves; the object store keeps the data."))
}

pub(crate) async fn list(
    _context: Arc<Context>,
    _version: i16,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(Vec::new())
}
