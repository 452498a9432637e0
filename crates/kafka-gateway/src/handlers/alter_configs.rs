//! AlterConfigs 0–2 and IncrementalAlterConfigs 0–1.
//!
//! - Topics: checked as CreateTopics checks them; when the answer comes the change holds. AlterConfigs takes every config away
//!   that it does not name.
//! - This agent as broker, or "" for all of them: its configs are set where it is started, none is dynamic, so to set one is
//!   INVALID_REQUEST as for a read-only config of Apache Kafka; to delete one changes nothing and succeeds.
//! - This agent's loggers: there are none, so a logger that is named is INVALID_CONFIG.
//! - Groups: `consumer.session.timeout.ms` and `consumer.heartbeat.interval.ms`, within the agent's bounds; a group need not exist.
//! - A resource or a config that is named twice, and a null value, are INVALID_REQUEST.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use broker::{ConfigChange, ConfigChanges};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::context::{Context, text};
use crate::error_code::{self, Code, NamedBy};
use crate::handlers::describe_configs::{BROKER, BROKER_LOGGER, GROUP, TOPIC, own_id};
use crate::handlers::metadata::is_topic_name;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Refusal = (Code, String);

/// One config of a request: name, operation, value.
type Asked<'a> = (&'a str, i8, Option<&'a StrBytes>);

pub(crate) async fn handle(context: Arc<Context>, _version: i16, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let times_named = count(request.resources.iter().map(|asked| (asked.resource_type, asked.resource_name.as_str())));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        let asked = resource.configs.iter().map(|config| (config.name.as_str(), SET, config.value.as_ref())).collect();
        let named_once = times_named.get(&(kind, name)) == Some(&1);
        let altered = alter(&context, (kind, name), named_once, asked, false, request.validate_only).await;
        let (code, message) = answer(altered);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(kind)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

pub(crate) async fn handle_incremental(
    context: Arc<Context>,
    _version: i16,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let times_named = count(request.resources.iter().map(|asked| (asked.resource_type, asked.resource_name.as_str())));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let (kind, name) = (resource.resource_type, resource.resource_name.as_str());
        let configs = resource.configs.iter();
        let asked =
            configs.map(|config| (config.name.as_str(), config.config_operation, config.value.as_ref())).collect();
        let named_once = times_named.get(&(kind, name)) == Some(&1);
        let altered = alter(&context, (kind, name), named_once, asked, true, request.validate_only).await;
        let (code, message) = answer(altered);
        responses.push(
            IncrementalResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(kind)
                .with_resource_name(resource.resource_name.clone()),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

pub(crate) fn has_error(response: &AlterConfigsResponse) -> bool {
    response.responses.iter().any(|response| response.error_code != 0)
}

pub(crate) fn incremental_has_error(response: &IncrementalAlterConfigsResponse) -> bool {
    response.responses.iter().any(|response| response.error_code != 0)
}

fn answer(altered: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match altered {
        Ok(()) => (0, None),
        Err((code, message)) => (code.code(), Some(text(message))),
    }
}

fn count<'a>(named: impl Iterator<Item = (i8, &'a str)>) -> HashMap<(i8, &'a str), usize> {
    let mut times_named = HashMap::new();
    named.for_each(|resource| *times_named.entry(resource).or_default() += 1);
    times_named
}

async fn alter(
    context: &Context,
    (kind, name): (i8, &str),
    named_once: bool,
    asked: Vec<Asked<'_>>,
    incremental: bool,
    validate_only: bool,
) -> Result<(), Refusal> {
    let refused = |message: String| Err((Code::InvalidRequest, message));
    if !named_once {
        return refused("Each resource must appear at most once.".to_owned());
    }
    let mut seen = HashSet::with_capacity(asked.len());
    if !asked.iter().all(|(config, ..)| seen.insert(*config)) {
        return refused("Error due to duplicate config keys".to_owned());
    }
    let is_null = |(_, operation, value): &&Asked| *operation != DELETE && value.is_none();
    let nulls: Vec<&str> = asked.iter().filter(is_null).map(|(config, ..)| *config).collect();
    if !nulls.is_empty() {
        return refused(format!("Null value not supported for : {}", nulls.join(", ")));
    }
    match kind {
        TOPIC => alter_topic(context, name, &asked, incremental, validate_only).await,
        BROKER => {
            if !name.is_empty() {
                own_id(context, name)?;
            }
            let set: Vec<&str> = asked.iter().filter(|asked| asked.1 != DELETE).map(|asked| asked.0).collect();
            if set.is_empty() {
                return Ok(());
            }
            refused(format!("Cannot update these configs dynamically: Set({})", set.join(", ")))
        }
        BROKER_LOGGER => {
            own_id(context, name)?;
            match asked.first() {
                Some((logger, ..)) => Err((Code::InvalidConfig, format!("Logger {logger} does not exist!"))),
                None => Ok(()),
            }
        }
        GROUP if name.is_empty() => refused("Default group resources are not allowed.".to_owned()),
        GROUP => {
            let changes = changes(&asked, incremental)?;
            let altered = context.broker.alter_group_configs(context.organization, name, changes, validate_only).await;
            altered.map_err(|error| (error_code::of_topic(&error, NamedBy::Name), error.to_string()))
        }
        other => refused(format!("Unknown resource type {other}")),
    }
}

async fn alter_topic(
    context: &Context,
    name: &str,
    asked: &[Asked<'_>],
    incremental: bool,
    validate_only: bool,
) -> Result<(), Refusal> {
    let Some(topic) = context.topic(name) else {
        return Err(if is_topic_name(name) {
            (Code::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."))
        } else {
            (Code::InvalidTopicException, format!("invalid topic name '{name}'"))
        });
    };
    let changes = changes(asked, incremental)?;
    let altered =
        context.broker.alter_topic_configs(context.organization, topic.topic_id, changes, validate_only).await;
    altered.map_err(|error| (error_code::of_topic(&error, NamedBy::Name), error.to_string()))
}

fn changes(asked: &[Asked<'_>], incremental: bool) -> Result<ConfigChanges, Refusal> {
    let changes = asked.iter().map(|(config, operation, value)| {
        let value = value.map_or_else(String::new, ToString::to_string);
        let change = match *operation {
            SET => ConfigChange::Set(value),
            DELETE => ConfigChange::Delete,
            APPEND => ConfigChange::Append(value),
            SUBTRACT => ConfigChange::Subtract(value),
            other => return Err((Code::InvalidRequest, format!("Unknown operation type {other}"))),
        };
        Ok(((*config).to_owned(), change))
    });
    if incremental {
        Ok(ConfigChanges::Each(changes.collect::<Result<_, _>>()?))
    } else {
        let configs = asked
            .iter()
            .map(|(config, _, value)| ((*config).to_owned(), value.map_or_else(String::new, ToString::to_string)));
        Ok(ConfigChanges::Replace(configs.collect()))
    }
}
