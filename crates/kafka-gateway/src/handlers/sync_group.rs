//! SyncGroup 0–5: answered when the leader has assigned.
//!
//! From version 5 on protocol type and name must be there; without, INCONSISTENT_GROUP_PROTOCOL.

use std::sync::Arc;

use broker::groups::api::{GroupError, SyncGroup};
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::context::{Context, optional_text};
use crate::error_code;

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
    let refused = |error| SyncGroupResponse::default().with_error_code(error_code::of_group(error).code());
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return refused(GroupError::InconsistentGroupProtocol);
    }
    let assignments = request.assignments.into_iter();
    let sync = SyncGroup {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol_name: request.protocol_name.map(|name| name.to_string()),
        assignments: assignments.map(|member| (member.member_id.to_string(), member.assignment)).collect(),
    };
    match context.broker.sync_group(context.organization, sync).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(optional_text(synced.protocol_type.filter(|_| version >= 5)))
            .with_protocol_name(optional_text(synced.protocol_name.filter(|_| version >= 5)))
            .with_assignment(synced.assignment),
        Err(error) => refused(error),
    }
}
