//! FindCoordinator 0–6: COORDINATOR_NOT_AVAILABLE for every key, until there are groups and transactions.
//!
//! It must be advertised all the same: librdkafka before 2.11.1 takes FindCoordinator 0 as the sign that a broker knows
//! LZ4, and clients retry on this code instead of failing. Key types 0 (group), 1 (transaction) and, from version 6 on,
//! 2 (share group) exist; others are INVALID_REQUEST. Version 4+ asks for many keys at once.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use crate::context::{Context, text};
use crate::error_code::Code;

pub(crate) async fn handle(
    _context: Arc<Context>,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let last_type = if version >= 6 { 2 } else { 1 };
    let (code, message) = if (0..=last_type).contains(&request.key_type) {
        (Code::CoordinatorNotAvailable, "this broker has no groups and no transactions yet")
    } else {
        (Code::InvalidRequest, "unknown coordinator key type")
    };
    if version < 4 {
        let response =
            FindCoordinatorResponse::default().with_error_code(code.code()).with_node_id(BrokerId(-1)).with_port(-1);
        return if version >= 1 { response.with_error_message(Some(text(message))) } else { response };
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}
