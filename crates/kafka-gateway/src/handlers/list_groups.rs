//! ListGroups 0–5: the groups whose coordinator this agent is. From version 4 on by state, from 5 on by type too.

use std::sync::Arc;

use broker::groups::api::{ListGroups, ListedGroup};
use kafka_protocol::messages::list_groups_response::ListedGroup as Shown;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use crate::context::{Context, text};
use crate::error_code;

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: ListGroupsRequest) -> ListGroupsResponse {
    let names = |names: Vec<kafka_protocol::protocol::StrBytes>| names.iter().map(|name| name.to_string()).collect();
    let wanted = ListGroups { states_filter: names(request.states_filter), types_filter: names(request.types_filter) };
    match context.broker.list_groups(context.organization, wanted).await {
        Ok(groups) => {
            ListGroupsResponse::default().with_groups(groups.into_iter().map(|group| shown(version, group)).collect())
        }
        Err(error) => ListGroupsResponse::default().with_error_code(error_code::of_group(error).code()),
    }
}

fn shown(version: i16, group: ListedGroup) -> Shown {
    let shown =
        Shown::default().with_group_id(GroupId(text(group.group_id))).with_protocol_type(text(group.protocol_type));
    let shown = if version >= 4 { shown.with_group_state(text(group.state.as_str())) } else { shown };
    if version >= 5 { shown.with_group_type(text(group.group_type.as_str())) } else { shown }
}
