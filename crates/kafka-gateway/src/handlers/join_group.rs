//! JoinGroup 0–9: answered when the rebalance is complete, which holds back what comes later on the connection.
//!
//! - Version 0 has no rebalance time-out: the session time-out counts. From 4 on a new member gets an id first
//!   (MEMBER_ID_REQUIRED), from 5 on it may be static, from 9 on a leader may be told to leave the assignment as it is.
//! - The protocol that was chosen is never null below version 7.

use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::{JoinGroup, JoinedMember, Protocol};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::context::{Context, optional_text, text};
use crate::error_code;

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    client_id: String,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let rebalance_timeout_ms = if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    let protocols = request.protocols.into_iter();
    let join = JoinGroup {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id,
        client_host: context.client_host(),
        session_timeout: milliseconds(request.session_timeout_ms),
        rebalance_timeout: milliseconds(rebalance_timeout_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols
            .map(|protocol| Protocol { name: protocol.name.to_string(), metadata: protocol.metadata })
            .collect(),
        require_known_member_id: version >= 4,
        supports_skipping_assignment: version >= 9,
        reason: request.reason.map(|reason| reason.to_string()),
    };
    let response = match context.broker.join_group(context.organization, join).await {
        Ok(joined) => JoinGroupResponse::default()
            .with_generation_id(joined.generation_id)
            .with_protocol_type(optional_text(joined.protocol_type.filter(|_| version >= 7)))
            .with_protocol_name(optional_text(joined.protocol_name))
            .with_leader(text(joined.leader))
            .with_skip_assignment(joined.skip_assignment && version >= 9)
            .with_member_id(text(joined.member_id))
            .with_members(joined.members.into_iter().map(|member| shown(version, member)).collect()),
        Err(refused) => JoinGroupResponse::default()
            .with_error_code(error_code::of_group(refused.error).code())
            .with_generation_id(-1)
            .with_protocol_name(None)
            .with_member_id(text(refused.member_id)),
    };
    match response.protocol_name {
        None if version < 7 => response.with_protocol_name(Some(text(""))),
        _ => response,
    }
}

fn shown(version: i16, member: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.group_instance_id.filter(|_| version >= 5)))
        .with_metadata(member.metadata)
}

/// A negative number is zero, which is out of bounds.
fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
