//! ListConfigResources 0–1.
//!
//! Version 0 asks for client metrics subscriptions, of which there are none. Version 1 asks for resources by type (none
//! named: all types): topics, brokers and their loggers, groups that have configs of their own. A type that Kafka does not
//! have is UNSUPPORTED_VERSION.

use std::sync::Arc;

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::context::{Context, text};
use crate::error_code::Code;
use crate::handlers::describe_configs::{BROKER, BROKER_LOGGER, GROUP, TOPIC};

const CLIENT_METRICS: i8 = 16;
const TYPES: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let asked = &request.resource_types;
    if asked.iter().any(|kind| !TYPES.contains(kind)) {
        return ListConfigResourcesResponse::default().with_error_code(Code::UnsupportedVersion.code());
    }
    let wants = |kind: i8| version >= 1 && (asked.is_empty() || asked.contains(&kind));
    let resource =
        |kind: i8, name: String| ConfigResource::default().with_resource_type(kind).with_resource_name(text(name));
    let mut resources = Vec::new();
    if wants(TOPIC) {
        let topics = context.broker.topics(context.organization);
        resources.extend(topics.iter().map(|topic| resource(TOPIC, topic.name.clone())));
    }
    for kind in [BROKER, BROKER_LOGGER].into_iter().filter(|kind| wants(*kind)) {
        let cluster = context.broker.cluster();
        resources.extend(cluster.agents.iter().map(|agent| resource(kind, agent.node_id.to_string())));
    }
    if wants(GROUP) {
        let groups = context.broker.groups_with_configs(context.organization);
        resources.extend(groups.into_iter().map(|group_id| resource(GROUP, group_id)));
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
