//! ListTransactions 0–2: there are none. States that Kafka does not know are named back, as it does.

use std::sync::Arc;

use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use crate::context::Context;

const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(crate) async fn handle(
    _context: Arc<Context>,
    _version: i16,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let mut unknown = request.state_filters;
    unknown.retain(|state| !STATES.contains(&state.as_str()));
    ListTransactionsResponse::default().with_unknown_state_filters(unknown)
}
