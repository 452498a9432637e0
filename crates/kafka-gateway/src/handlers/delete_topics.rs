//! DeleteTopics 1–6: by name, from version 6 on also by id.
//!
//! An unknown name is UNKNOWN_TOPIC_OR_PARTITION, an unknown id UNKNOWN_TOPIC_ID. A topic with name and id, with neither,
//! or named twice is INVALID_REQUEST. A topic of name and id that are in one request under both is deleted once.
//!
//! Skipped: the request's time-out.

use std::collections::HashMap;
use std::sync::Arc;

use broker::Topic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use uuid::Uuid;

use crate::context::{Context, text};
use crate::error_code::{self, Code, NamedBy};

type Refusal = (Code, &'static str);

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = if version >= 6 {
        request.topics
    } else {
        request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name))).collect()
    };
    let mut times_named: HashMap<(Option<TopicName>, Uuid), usize> = HashMap::new();
    for topic in &asked {
        *times_named.entry((topic.name.clone(), topic.topic_id)).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        let times = times_named.insert((topic.name.clone(), topic.topic_id), 0).unwrap_or(0);
        if times > 0 {
            responses.push(delete(&context, version, topic, times > 1).await);
        }
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

pub(crate) fn has_error(response: &DeleteTopicsResponse) -> bool {
    response.responses.iter().any(|response| response.error_code != 0)
}

async fn delete(context: &Context, version: i16, asked: DeleteTopicState, repeated: bool) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_name(asked.name.clone()).with_topic_id(asked.topic_id);
    let named_by = if asked.name.is_some() { NamedBy::Name } else { NamedBy::Id };
    let refused = |answer: DeletableTopicResult, code: Code, message: String| {
        let answer = answer.with_error_code(code.code());
        if version >= 5 { answer.with_error_message(Some(text(message))) } else { answer }
    };
    let topic = match find(context, &asked, repeated) {
        Ok(topic) => topic,
        Err((code, message)) => return refused(answer, code, message.to_owned()),
    };
    let answer = answer.with_name(Some(TopicName(text(topic.name.as_str())))).with_topic_id(topic.topic_id.0);
    match context.broker.delete_topic(context.organization, topic.topic_id).await {
        Ok(()) => answer,
        Err(error) => refused(answer, error_code::of_topic(&error, named_by), error.to_string()),
    }
}

fn find(context: &Context, asked: &DeleteTopicState, repeated: bool) -> Result<Arc<Topic>, Refusal> {
    if repeated {
        return Err((Code::InvalidRequest, "the request names this topic more than once"));
    }
    match (&asked.name, asked.topic_id.is_nil()) {
        (Some(_), false) => Err((Code::InvalidRequest, "both name and id of a topic are set; give only one")),
        (None, true) => Err((Code::InvalidRequest, "neither name nor id of a topic is set")),
        (Some(name), true) => context.topic(name).ok_or((Code::UnknownTopicOrPartition, "unknown topic")),
        (None, false) => context.topic_by_id(asked.topic_id).ok_or((Code::UnknownTopicId, "unknown topic id")),
    }
}
