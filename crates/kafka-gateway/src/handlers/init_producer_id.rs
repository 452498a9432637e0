//! InitProducerId 0–5, for idempotent producers.
//!
//! Without a transactional id: a new producer id with epoch 0, always; a producer id in the request (3+) is not kept, as
//! in Apache Kafka, and naming only one of id and epoch is INVALID_REQUEST. An empty transactional id is INVALID_REQUEST.
//!
//! Skipped: transactions. A transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED: of the codes clients know, it is
//! the one that is fatal at once, with a clear message, in Java and in librdkafka. COORDINATOR_NOT_AVAILABLE would be
//! nearer to the truth, but clients retry it until their time-out.
//! While metadata is away the answer is COORDINATOR_LOAD_IN_PROGRESS, which every client retries without looking for
//! another coordinator.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::context::Context;
use crate::error_code::Code;

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    if let Some(id) = &request.transactional_id {
        return refused(if id.is_empty() { Code::InvalidRequest } else { Code::TransactionalIdAuthorizationFailed });
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return refused(Code::InvalidRequest);
    }
    match context.broker.init_producer_id().await {
        Ok((id, epoch)) => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
        Err(error) => {
            tracing::debug!(%error, "no producer id");
            refused(Code::CoordinatorLoadInProgress)
        }
    }
}

fn refused(code: Code) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
