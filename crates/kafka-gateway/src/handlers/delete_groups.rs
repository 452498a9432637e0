//! DeleteGroups 0–2: groups without members, with their offsets. One that is named twice is answered once.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(context: Arc<Context>, _version: i16, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::with_capacity(request.groups_names.len());
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        if seen.insert(group_id.clone()) {
            let deleted = context.broker.delete_group(context.organization, &group_id).await;
            let code = error_code::of_group_outcome(deleted.err());
            results.push(DeletableGroupResult::default().with_group_id(group_id).with_error_code(code));
        }
    }
    DeleteGroupsResponse::default().with_results(results)
}

pub(crate) fn has_error(response: &DeleteGroupsResponse) -> bool {
    response.results.iter().any(|result| result.error_code != 0)
}
