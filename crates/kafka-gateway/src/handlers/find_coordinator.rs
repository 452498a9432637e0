//! FindCoordinator 0–6: which agent knows a group.
//!
//! Key types 0 (group), 1 (transaction) and, from version 6 on, 2 (share group) exist; others are INVALID_REQUEST. There are no
//! transactions and no share groups yet: COORDINATOR_NOT_AVAILABLE, on which clients try again. Version 4+ asks for many
//! keys at once. The first question makes `__consumer_offsets`, usable when the answer comes.
//!
//! librdkafka before 2.11.1 takes FindCoordinator 0 as the sign that a broker knows LZ4.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use crate::context::{Context, Endpoint, text};
use crate::error_code::{self, Code};

const GROUP: i8 = 0;

type Refusal = (Code, &'static str);

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if version < 4 {
        return single(version, find(&context, version, request.key_type, &request.key).await);
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let found = find(&context, version, request.key_type, &key).await;
        let answer = Coordinator::default().with_key(key);
        coordinators.push(match found {
            Ok(endpoint) => answer
                .with_node_id(BrokerId(endpoint.node_id))
                .with_host(text(endpoint.host))
                .with_port(endpoint.port)
                .with_error_message(Some(text(""))),
            Err((code, message)) => answer
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code.code())
                .with_error_message(Some(text(message))),
        });
    }
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

pub(crate) fn has_error(response: &FindCoordinatorResponse) -> bool {
    response.error_code != 0 || response.coordinators.iter().any(|coordinator| coordinator.error_code != 0)
}

fn single(version: i16, found: Result<Endpoint, Refusal>) -> FindCoordinatorResponse {
    let (response, message) = match found {
        Ok(endpoint) => {
            let response = FindCoordinatorResponse::default().with_node_id(BrokerId(endpoint.node_id));
            (response.with_host(text(endpoint.host)).with_port(endpoint.port), "NONE")
        }
        Err((code, message)) => {
            let response = FindCoordinatorResponse::default().with_error_code(code.code());
            (response.with_node_id(BrokerId(-1)).with_port(-1), message)
        }
    };
    if version >= 1 { response.with_error_message(Some(text(message))) } else { response }
}

async fn find(context: &Context, version: i16, key_type: i8, key: &str) -> Result<Endpoint, Refusal> {
    let last_type = if version >= 6 { 2 } else { 1 };
    if !(GROUP..=last_type).contains(&key_type) {
        return Err((Code::InvalidRequest, "unknown coordinator key type"));
    }
    if key_type != GROUP {
        return Err((Code::CoordinatorNotAvailable, "this broker has no transactions and no share groups yet"));
    }
    match context.broker.find_coordinator(context.organization, key).await {
        Ok(agent) => Ok(context.endpoint(&agent)),
        Err(error) => Err((error_code::of_group(error), "the coordinator is not available")),
    }
}
