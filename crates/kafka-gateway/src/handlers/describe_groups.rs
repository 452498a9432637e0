//! DescribeGroups 0–6. A group that does not exist is `Dead`, from version 6 on with GROUP_ID_NOT_FOUND.

use std::sync::Arc;

use broker::groups::api::{DescribedGroup, DescribedMember, GroupError};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup as Shown, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use crate::context::{Context, GROUP_OPERATIONS, OPERATIONS_NOT_ASKED, optional_text, text};
use crate::error_code;

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations =
        if version >= 3 && request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let mut groups = Vec::with_capacity(request.groups.len());
    for group_id in request.groups {
        let described = context.broker.describe_group(context.organization, group_id.to_string()).await;
        groups.push(shown(version, described).with_authorized_operations(operations));
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

pub(crate) fn has_error(response: &DescribeGroupsResponse) -> bool {
    response.groups.iter().any(|group| group.error_code != 0)
}

fn shown(version: i16, group: DescribedGroup) -> Shown {
    let not_found = group.error == Some(GroupError::GroupIdNotFound);
    let message = (not_found && version >= 6).then(|| text(format!("Group {} not found.", group.group_id)));
    let error = group.error.filter(|_| !not_found || version >= 6);
    let state = if group.error.is_some() && !not_found { "" } else { group.state.as_str() };
    Shown::default()
        .with_error_code(error_code::of_group_outcome(error))
        .with_error_message(message)
        .with_group_id(GroupId(text(group.group_id)))
        .with_group_state(text(state))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol_data))
        .with_members(group.members.into_iter().map(|member| shown_member(version, member)).collect())
}

fn shown_member(version: i16, member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(optional_text(member.group_instance_id.filter(|_| version >= 4)))
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_member_metadata(member.member_metadata)
        .with_member_assignment(member.member_assignment)
}
