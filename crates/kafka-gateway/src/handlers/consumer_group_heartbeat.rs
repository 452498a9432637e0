//! ConsumerGroupHeartbeat 0–1 (KIP-848): joins, leaves, subscribes, says what a member has and learns what it should have.
//!
//! Null says "as before"; -1 does for the rebalance time-out. Version 0 (Java 3.7 to 3.9) lets the broker make the member id and
//! has no regular expressions; from version 1 on the client makes it. An answer has an assignment only when
//! there is something to tell: a whole request, or one that changed what the member should have.

use std::sync::Arc;
use std::time::Duration;

use broker::TopicId;
use broker::groups::api_consumer::{Assignment as Partitions, ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use crate::context::{Context, text};
use crate::error_code;

/// First version whose clients name themselves.
const CLIENTS_MAKE_MEMBER_IDS_SINCE: i16 = 1;

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    client_id: String,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let optional = |text: Option<StrBytes>| text.map(|text| text.to_string());
    let topics = request.topic_partitions;
    let owned = topics.map(|topics| {
        let of_topic = |topic: kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions| {
            topic.partitions.into_iter().map(move |partition| (TopicId(topic.topic_id), partition))
        };
        topics.into_iter().flat_map(of_topic).collect()
    });
    let names = request.subscribed_topic_names;
    let heartbeat = ConsumerHeartbeat {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        instance_id: optional(request.instance_id),
        rack_id: optional(request.rack_id),
        rebalance_timeout: rebalance_timeout(request.rebalance_timeout_ms),
        client_id,
        client_host: context.client_host(),
        subscribed_topic_names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        subscribed_topic_regex: optional(request.subscribed_topic_regex),
        server_assignor: optional(request.server_assignor),
        owned,
    };
    let makes_member_id = version >= CLIENTS_MAKE_MEMBER_IDS_SINCE;
    match context.broker.consumer_group_heartbeat(context.organization, makes_member_id, heartbeat).await {
        Ok(answer) => shown(answer),
        Err(refused) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(error_code::of_group(refused.error).code())
            .with_error_message(Some(text(refused.message))),
    }
}

/// -1 = as before; another negative number is no time at all.
fn rebalance_timeout(ms: i32) -> Option<Duration> {
    (ms != -1).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

fn shown(answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let interval = i32::try_from(answer.heartbeat_interval.as_millis()).unwrap_or(i32::MAX);
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(answer.member_id)))
        .with_member_epoch(answer.member_epoch)
        .with_heartbeat_interval_ms(interval)
        .with_assignment(answer.assignment.as_ref().map(shown_assignment))
}

fn shown_assignment(partitions: &Partitions) -> Assignment {
    let topics = partitions.topics().map(|(topic_id, partitions)| {
        TopicPartitions::default().with_topic_id(topic_id.0).with_partitions(partitions.iter().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
