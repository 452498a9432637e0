//! Heartbeat 0–4.

use std::sync::Arc;

use broker::groups::api::Heartbeat;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::context::Context;
use crate::error_code;

pub(crate) async fn handle(context: Arc<Context>, _version: i16, request: HeartbeatRequest) -> HeartbeatResponse {
    let heartbeat = Heartbeat {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    let outcome = context.broker.heartbeat(context.organization, heartbeat).await;
    HeartbeatResponse::default().with_error_code(error_code::of_group_outcome(outcome.err()))
}
