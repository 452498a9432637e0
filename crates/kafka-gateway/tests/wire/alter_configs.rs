//! AlterConfigs and IncrementalAlterConfigs: what they change holds at once, and is described.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Resource, AlterableConfig as Operation,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::{Client, Server, batch, produce};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn resource(kind: i8, name: &str, operations: &[(&str, i8, Option<&str>)]) -> Resource {
    let operations = operations.iter().map(|(config, operation, value)| {
        Operation::default().with_name(text(config)).with_config_operation(*operation).with_value(value.map(text))
    });
    Resource::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(operations.collect())
}

fn incremental(resources: Vec<Resource>) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest::default().with_resources(resources)
}

/// Code and message of a change of one resource.
async fn altered(client: &mut Client, resource: Resource) -> (i16, String) {
    let response = client.call(1, &incremental(vec![resource])).await;
    let answer = &response.responses[0];
    (answer.error_code, answer.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

async fn described(client: &mut Client, topic: &str, config: &str) -> DescribeConfigsResourceResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text(config)]));
    let request = DescribeConfigsRequest::default().with_include_synonyms(true).with_resources(vec![resource]);
    client.call(4, &request).await.results.remove(0).configs.remove(0)
}

async fn value(client: &mut Client, topic: &str, config: &str) -> (String, i8) {
    let described = described(client, topic, config).await;
    (described.value.unwrap().to_string(), described.config_source)
}

#[tokio::test]
async fn each_operation_changes_its_config_and_is_described() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    for version in 0..=1 {
        let request = incremental(vec![resource(
            2,
            "t",
            &[("retention.ms", SET, Some("5000")), ("cleanup.policy", APPEND, Some("compact"))],
        )]);
        let response = client.call(version, &request).await;
        assert_eq!((response.responses[0].error_code, response.responses[0].resource_type), (0, 2));
        assert_eq!(value(&mut client, "t", "retention.ms").await, ("5000".to_owned(), 1));
        assert_eq!(value(&mut client, "t", "cleanup.policy").await, ("delete,compact".to_owned(), 1));
        let synonyms = described(&mut client, "t", "retention.ms").await.synonyms;
        let synonyms: Vec<(&str, i8)> = synonyms.iter().map(|known| (known.name.as_str(), known.source)).collect();
        assert_eq!(synonyms, [("retention.ms", 1), ("log.retention.ms", 5)]);
        let request = incremental(vec![resource(
            2,
            "t",
            &[("retention.ms", DELETE, None), ("cleanup.policy", SUBTRACT, Some("delete"))],
        )]);
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
        assert_eq!(value(&mut client, "t", "retention.ms").await, ("604800000".to_owned(), 5));
        assert_eq!(value(&mut client, "t", "cleanup.policy").await, ("compact".to_owned(), 1));
        assert_eq!(altered(&mut client, resource(2, "t", &[("cleanup.policy", DELETE, None)])).await.0, 0);
    }
}

#[tokio::test]
async fn a_change_holds_for_the_next_batch() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let request = produce("", id, &[(0, Some(batch(&["twenty bytes and more, many more"])))]);
    assert_eq!(client.call(13, &request).await.responses[0].partition_responses[0].error_code, 0);
    let small = resource(2, "t", &[("max.message.bytes", SET, Some("20"))]);
    assert_eq!(altered(&mut client, small).await.0, 0);
    assert_eq!(client.call(13, &request).await.responses[0].partition_responses[0].error_code, 10);
    let append_time = [("max.message.bytes", DELETE, None), ("message.timestamp.type", SET, Some("LogAppendTime"))];
    assert_eq!(altered(&mut client, resource(2, "t", &append_time)).await.0, 0);
    let answer = client.call(13, &request).await.responses.remove(0).partition_responses.remove(0);
    assert!(answer.error_code == 0 && answer.log_append_time_ms > 0, "{answer:?}");
}

#[tokio::test]
async fn what_cannot_be_altered_says_why_and_changes_nothing() {
    let (server, mut client, _) = Server::with_topic("t").await;
    let own = server.broker.cluster().node_id.to_string();
    let rows: Vec<(Resource, i16, &str)> = vec![
        (resource(2, "unknown", &[]), 3, "The topic 'unknown' does not exist."),
        (resource(2, "..", &[]), 17, "invalid topic name"),
        (resource(2, "t", &[("no.such", SET, Some("1"))]), 40, "Unknown topic config name: no.such"),
        (resource(2, "t", &[("retention.ms", SET, Some("soon"))]), 40, "Invalid value soon for configuration"),
        (resource(2, "t", &[("retention.ms", APPEND, Some("1"))]), 40, "Can't APPEND to key retention.ms"),
        (resource(2, "t", &[("retention.ms", SET, None)]), 42, "Null value not supported for : retention.ms"),
        (resource(2, "t", &[("retention.ms", 7, Some("1"))]), 42, "Unknown operation type 7"),
        (
            resource(2, "t", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]),
            42,
            "Error due to duplicate config keys",
        ),
        (
            resource(4, &own, &[("broker.id", SET, Some("9"))]),
            42,
            "Cannot update these configs dynamically: Set(broker.id)",
        ),
        (resource(4, "", &[("log.retention.ms", SET, Some("9"))]), 42, "Cannot update these configs dynamically"),
        (resource(4, "77", &[]), 42, "unexpected broker id"),
        (resource(4, "x", &[]), 42, "broker id must be an integer"),
        (resource(4, &own, &[("log.retention.ms", DELETE, None)]), 0, ""),
        (resource(8, &own, &[("kafka", SET, Some("DEBUG"))]), 40, "Logger kafka does not exist!"),
        (resource(8, &own, &[]), 0, ""),
        (resource(16, "x", &[]), 42, "Unknown resource type 16"),
        (resource(2, "t", &[]), 0, ""),
        (resource(2, "t", &[("no.such", DELETE, None)]), 0, ""),
    ];
    for (resource, code, message) in rows {
        let what = format!("{resource:?}");
        let answer = altered(&mut client, resource).await;
        assert!(answer.0 == code && answer.1.contains(message), "{what}: {answer:?}");
    }
    let twice = vec![
        resource(2, "t", &[("retention.ms", SET, Some("1"))]),
        resource(4, &own, &[]),
        resource(2, "t", &[("retention.ms", SET, Some("2"))]),
    ];
    let response = client.call(1, &incremental(twice)).await;
    let codes: Vec<i16> = response.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [42, 0, 42]);
    let dry = incremental(vec![resource(2, "t", &[("retention.ms", SET, Some("1"))])]).with_validate_only(true);
    assert_eq!(client.call(1, &dry).await.responses[0].error_code, 0);
    let bad = incremental(vec![resource(2, "t", &[("retention.ms", SET, Some("x"))])]).with_validate_only(true);
    assert_eq!(client.call(1, &bad).await.responses[0].error_code, 40);
    assert_eq!(value(&mut client, "t", "retention.ms").await, ("604800000".to_owned(), 5), "nothing of that was done");
}

#[tokio::test]
async fn the_older_api_replaces_all_configs() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    let replace = |configs: &[(&str, Option<&str>)]| {
        let configs = configs
            .iter()
            .map(|(name, value)| AlterableConfig::default().with_name(text(name)).with_value(value.map(text)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(configs.collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    for version in 0..=2 {
        let two = replace(&[("retention.ms", Some("5")), ("segment.ms", Some("6"))]);
        assert_eq!(client.call(version, &two).await.responses[0].error_code, 0);
        let one = replace(&[("segment.ms", Some("7"))]);
        assert_eq!(client.call(version, &one).await.responses[0].error_code, 0);
        assert_eq!(value(&mut client, "t", "retention.ms").await, ("604800000".to_owned(), 5));
        assert_eq!(value(&mut client, "t", "segment.ms").await, ("7".to_owned(), 1));
        for (configs, code) in
            [(("segment.ms", None), 42), (("no.such", Some("1")), 40), (("segment.ms", Some("x")), 40)]
        {
            assert_eq!(client.call(version, &replace(&[configs])).await.responses[0].error_code, code, "{configs:?}");
        }
        let dry = replace(&[]).with_validate_only(true);
        assert_eq!(client.call(version, &dry).await.responses[0].error_code, 0);
        assert_eq!(value(&mut client, "t", "segment.ms").await, ("7".to_owned(), 1), "nothing of that was done");
    }
}

#[tokio::test]
async fn groups_have_configs_of_their_own() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    let set = |value| resource(32, "g", &[("consumer.session.timeout.ms", SET, Some(value))]);
    assert_eq!(altered(&mut client, set("50000")).await, (0, String::new()));
    let (code, message) = altered(&mut client, set("1")).await;
    assert!(code == 40 && message.contains("group.consumer.min.session.timeout.ms"), "{code} {message}");
    assert_eq!(altered(&mut client, resource(32, "", &[])).await.0, 42);
    let resource = |name| DescribeConfigsResource::default().with_resource_type(32).with_resource_name(text(name));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource("g"), resource("h"), resource("")]);
    let results = client.call(4, &request).await.results;
    let told = |at: usize| {
        let configs = results[at].configs.iter();
        configs.map(|config| (config.name.to_string(), config.value.clone().unwrap().to_string(), config.config_source))
    };
    let entry = |name: &str, value: &str, source: i8| (name.to_owned(), value.to_owned(), source);
    let interval = entry("consumer.heartbeat.interval.ms", "5000", 5);
    let name = "consumer.session.timeout.ms";
    assert_eq!(told(0).collect::<Vec<_>>(), [interval.clone(), entry(name, "50000", 8)]);
    assert_eq!(told(1).collect::<Vec<_>>(), [interval, entry(name, "45000", 5)]);
    assert_eq!(results[2].error_code, 42);
    let list = ListConfigResourcesRequest::default().with_resource_types(vec![32]);
    let listed = client.call(1, &list).await.config_resources;
    let listed: Vec<(i8, &str)> =
        listed.iter().map(|found| (found.resource_type, found.resource_name.as_str())).collect();
    assert_eq!(listed, [(32, "g")]);
}
