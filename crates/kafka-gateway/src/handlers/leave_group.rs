//! LeaveGroup 0–5: one member below version 3, whose error is the answer's; many from 3 on, each with its own.

use std::sync::Arc;

use broker::groups::api::{LeaveGroup, LeavingMember, LeftMember};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::context::{Context, optional_text, text};
use crate::error_code;

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members = if version < 3 {
        vec![LeavingMember { member_id: request.member_id.to_string(), group_instance_id: None, reason: None }]
    } else {
        let members = request.members.into_iter();
        members
            .map(|member| LeavingMember {
                member_id: member.member_id.to_string(),
                group_instance_id: member.group_instance_id.map(|id| id.to_string()),
                reason: member.reason.map(|reason| reason.to_string()),
            })
            .collect()
    };
    let leave = LeaveGroup { group_id: request.group_id.to_string(), members };
    let response = LeaveGroupResponse::default();
    match context.broker.leave_group(context.organization, leave).await {
        Ok(left) if version < 3 => {
            response.with_error_code(error_code::of_group_outcome(left.first().and_then(|member| member.error)))
        }
        Ok(left) => response.with_members(left.into_iter().map(shown).collect()),
        Err(error) => response.with_error_code(error_code::of_group(error).code()),
    }
}

pub(crate) fn has_error(response: &LeaveGroupResponse) -> bool {
    response.error_code != 0 || response.members.iter().any(|member| member.error_code != 0)
}

fn shown(member: LeftMember) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.group_instance_id))
        .with_error_code(error_code::of_group_outcome(member.error))
}
