//! ElectLeaders 0–2.
//!
//! Who leads is placement's to say, and every agent can: a partition with a leader is ELECTION_NOT_NEEDED, one between two
//! leaders PREFERRED_LEADER_NOT_AVAILABLE or, where an unclean election was asked for, ELIGIBLE_LEADERS_NOT_AVAILABLE. Asked for all
//! partitions, only those without a leader are answered, as in Apache Kafka. There are no unclean elections.

use std::sync::Arc;

use broker::PartitionView;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};

use crate::context::{Context, text};
use crate::error_code::Code;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(crate) async fn handle(context: Arc<Context>, _version: i16, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let election_type = request.election_type;
    if !matches!(election_type, PREFERRED | UNCLEAN) {
        return ElectLeadersResponse::default().with_error_code(Code::InvalidRequest.code());
    }
    let results = match request.topic_partitions {
        None => {
            let topics = context.broker.topics(context.organization).into_iter().map(|topic| {
                let views = context.broker.partitions(&topic).into_iter();
                let leaderless = views.filter(|view| view.leader.is_none());
                let partitions = leaderless.map(|view| result(view.partition, Some(&view), election_type)).collect();
                (TopicName(text(topic.name.as_str())), partitions)
            });
            topics.filter(|(_, partitions): &(_, Vec<_>)| !partitions.is_empty()).collect()
        }
        Some(asked) => {
            let topics = asked.into_iter().map(|asked| {
                let views =
                    context.topic(&asked.topic).map_or_else(Vec::new, |topic| context.broker.partitions(&topic));
                let partitions = asked.partitions.into_iter().map(|index| {
                    let view = views.iter().find(|view| view.partition == index);
                    result(index, view, election_type)
                });
                (asked.topic, partitions.collect())
            });
            topics.collect::<Vec<_>>()
        }
    };
    let results = results.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default().with_topic(topic).with_partition_result(partitions)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

pub(crate) fn has_error(response: &ElectLeadersResponse) -> bool {
    let partitions = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    let not_needed = Code::ElectionNotNeeded.code();
    response.error_code != 0
        || partitions.into_iter().any(|partition| partition.error_code != 0 && partition.error_code != not_needed)
}

fn result(index: i32, view: Option<&PartitionView>, election_type: i8) -> PartitionResult {
    let (code, message) = match view {
        None => (Code::UnknownTopicOrPartition, "No such topic or partition."),
        Some(view) if view.leader.is_some() => {
            (Code::ElectionNotNeeded, "Leader election not needed for topic partition.")
        }
        Some(_) if election_type == UNCLEAN => {
            (Code::EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.")
        }
        Some(_) => (Code::PreferredLeaderNotAvailable, "The preferred leader was not available."),
    };
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
}
