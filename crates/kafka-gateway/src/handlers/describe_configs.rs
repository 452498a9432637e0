//! DescribeConfigs 1–4.
//!
//! Resources: topic (2), broker (4: this agent by its id, or "" for the cluster-wide dynamic defaults, of which there are
//! none), broker logger (8: empty), group (32: of any name, whether there is such a group or not). Other types, and another agent's id, are INVALID_REQUEST. `configuration_keys` picks
//! names, none or null means all. A resource is answered once, however often it is named: its configs are many times the size of
//! its name. Synonyms and documentation only where asked for; values of sensitive configs never.

use std::collections::HashSet;
use std::sync::Arc;

use broker::ConfigEntry;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use crate::context::{Context, text};
use crate::error_code::Code;
use crate::handlers::metadata::is_topic_name;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const GROUP: i8 = 32;

type Refusal = (Code, String);

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let with_documentation = version >= 3 && request.include_documentation;
    let mut seen: HashSet<(i8, &str)> = HashSet::with_capacity(request.resources.len());
    let distinct = request.resources.iter().filter(|asked| seen.insert((asked.resource_type, &asked.resource_name)));
    let results = distinct.map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match configs(&context, resource) {
            Ok(configs) => {
                let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
                let names: Option<HashSet<&str>> = keys.map(|keys| keys.iter().map(|key| key.as_str()).collect());
                let asked = configs
                    .into_iter()
                    .filter(|config| names.as_ref().is_none_or(|names| names.contains(config.name.as_str())));
                result.with_configs(
                    asked.map(|config| described(config, request.include_synonyms, with_documentation)).collect(),
                )
            }
            Err((code, message)) => result.with_error_code(code.code()).with_error_message(Some(text(message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

pub(crate) fn has_error(response: &DescribeConfigsResponse) -> bool {
    response.results.iter().any(|result| result.error_code != 0)
}

fn configs(context: &Context, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => match context.topic(name) {
            Some(topic) => Ok(context.broker.topic_configs(&topic)),
            None if !is_topic_name(name) => Err((Code::InvalidTopicException, format!("invalid topic name '{name}'"))),
            None => Err((Code::UnknownTopicOrPartition, format!("unknown topic '{name}'"))),
        },
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER => own_id(context, name).map(|()| context.broker.broker_configs()),
        BROKER_LOGGER => own_id(context, name).map(|()| Vec::new()),
        GROUP if name.is_empty() => Err((Code::InvalidRequest, "Group name must not be empty".to_owned())),
        GROUP => Ok(context.broker.group_configs(context.organization, name)),
        other => Err((Code::InvalidRequest, format!("unsupported resource type {other}"))),
    }
}

/// Refuses a broker's name that is not this agent's id.
pub(crate) fn own_id(context: &Context, name: &str) -> Result<(), Refusal> {
    let own = context.broker.cluster().node_id;
    match name.parse::<i32>() {
        Ok(id) if id == own => Ok(()),
        Ok(_) => Err((Code::InvalidRequest, format!("unexpected broker id, expected {own}, but received {name}"))),
        Err(_) => Err((Code::InvalidRequest, format!("broker id must be an integer, but it is: {name}"))),
    }
}

fn described(config: ConfigEntry, with_synonyms: bool, with_documentation: bool) -> DescribeConfigsResourceResult {
    let sensitive = config.sensitive;
    let shown = |value: Option<String>| value.filter(|_| !sensitive).map(text);
    let synonyms = config.synonyms.into_iter().filter(|_| with_synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(shown(synonym.value))
            .with_source(synonym.source as i8)
    });
    DescribeConfigsResourceResult::default()
        .with_name(text(config.name))
        .with_read_only(config.read_only)
        .with_config_source(config.source as i8)
        .with_is_sensitive(sensitive)
        .with_synonyms(synonyms.collect())
        .with_value(shown(config.value))
        .with_config_type(config.config_type as i8)
        .with_documentation(with_documentation.then(|| text(config.documentation)))
}
