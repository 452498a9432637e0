//! DescribeCluster 0–2.
//!
//! Endpoint type 1 (brokers) is answered; 2 (controllers) is MISMATCHED_ENDPOINT_TYPE, as from a broker of Apache Kafka,
//! anything else UNSUPPORTED_ENDPOINT_TYPE. There are no fenced brokers to include: only live agents are listed.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use crate::context::{CLUSTER_OPERATIONS, Context, OPERATIONS_NOT_ASKED, kafka_uuid, text};
use crate::error_code::Code;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((Code::MismatchedEndpointType, "The request was sent to an endpoint of type BROKER")),
        _ => Some((Code::UnsupportedEndpointType, "Unsupported endpoint type")),
    };
    if let Some((code, message)) = refused {
        return DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
            .with_controller_id(BrokerId(-1))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
    }
    let cluster = context.broker.cluster();
    let brokers = context.endpoints(&cluster).into_iter().map(|endpoint| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(endpoint.node_id))
            .with_host(text(endpoint.host))
            .with_port(endpoint.port)
            .with_rack(Some(text(endpoint.rack)))
    });
    let asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(kafka_uuid(cluster.cluster_id)))
        .with_controller_id(BrokerId(cluster.controller_id))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED })
}
