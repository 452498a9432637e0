//! DescribeClientQuotas and AlterClientQuotas 0–1.
//!
//! There are no quotas, so every filter that is well formed finds none. To set one is INVALID_REQUEST, as nothing would be
//! bounded by it; to remove one changes nothing and succeeds.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use crate::context::{Context, text};
use crate::error_code::Code;

const ENTITY_TYPES: [&str; 3] = ["user", "client-id", "ip"];

type Refusal = (Code, String);

pub(crate) async fn describe(
    _context: Arc<Context>,
    _version: i16,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match check_filter(&request.components) {
        Ok(()) => DescribeClientQuotasResponse::default().with_entries(Some(Vec::new())),
        Err((code, message)) => DescribeClientQuotasResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
            .with_entries(None),
    }
}

pub(crate) async fn alter(
    _context: Arc<Context>,
    _version: i16,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let entries = request.entries.into_iter().map(|entry| {
        let entity = entry.entity.iter().map(|entity| {
            EntityData::default()
                .with_entity_type(entity.entity_type.clone())
                .with_entity_name(entity.entity_name.clone())
        });
        let answer = EntryData::default().with_entity(entity.collect());
        if entry.ops.iter().all(|op| op.remove) {
            return answer.with_error_message(None);
        }
        let message = "Quotas are neither kept nor enforced.";
        answer.with_error_code(Code::InvalidRequest.code()).with_error_message(Some(text(message)))
    });
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

pub(crate) fn alter_has_error(response: &AlterClientQuotasResponse) -> bool {
    response.entries.iter().any(|entry| entry.error_code != 0)
}

/// Kafka's rules for a filter.
fn check_filter(components: &[ComponentData]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return Err((Code::InvalidRequest, "Unexpected empty filter component entity type".to_owned()));
        }
        if !ENTITY_TYPES.contains(&kind) {
            return Err((Code::UnsupportedVersion, format!("Custom entity type '{kind}' not supported")));
        }
        if !seen.insert(kind) {
            return Err((Code::InvalidRequest, format!("Duplicate {kind} filter component entity type")));
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        let message = "Invalid entity filter component combination, IP filter component should not be used with \
                       user or clientId filter component.";
        return Err((Code::InvalidRequest, message.to_owned()));
    }
    Ok(())
}
