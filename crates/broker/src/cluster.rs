//! The cluster as clients see it: agents are brokers, the lowest listed one is the controller.

use segment::SessionId;
use tokio::time::Instant;
use uuid::Uuid;

/// A live agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its session: another one of the same agent is another life of it.
    pub session: SessionId,
    /// Kafka's broker id.
    pub node_id: i32,
    /// `host:port` for Kafka clients; empty = the address the client connected to.
    pub kafka_address: String,
    /// `host:port` for gRPC clients.
    pub grpc_address: String,
    /// Kafka's rack.
    pub zone: String,
}

/// A snapshot of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Kafka's cluster id is this as unpadded URL-safe base64 (22 characters), as Kafka prints its own.
    pub cluster_id: Uuid,
    /// The agent that answers.
    pub node_id: i32,
    /// Lowest listed agent.
    pub controller_id: i32,
    /// Active sessions by node id. This agent is among them, unless it was fenced a moment ago.
    pub agents: Vec<Agent>,
    /// Agents that went without a word, with the time until which clients are told of them all the same.
    pub departed: Vec<(Agent, Instant)>,
}

impl Cluster {
    /// The agents that Metadata lists: the live ones, and for a while those that went without a word. A client that does not find a
    /// broker in it any more gives up what that broker has not answered; librdkafka since 2.10 takes it for not written and sends it
    /// again, even under a new producer epoch.
    pub fn listed(&self, now: Instant) -> impl Iterator<Item = &Agent> {
        let departed = self.departed.iter().filter(move |(_, until)| *until > now).map(|(agent, _)| agent);
        self.agents.iter().chain(departed)
    }
}
