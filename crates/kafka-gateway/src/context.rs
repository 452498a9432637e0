//! What a handler needs of its connection, and the answers that several APIs share.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::{Agent, Broker, Cluster, LeaderEpoch, OrganizationId, PartitionIndex, Topic, TopicId};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::connection::Addresses;
use crate::fetch_sessions::FetchSessions;

/// What the operations bit field says where nobody asked for it.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Every operation on a topic, as Kafka answers where no authorizer is configured: read, write, create, delete,
/// alter, describe, describe and alter configs.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// The same for a group: read, delete, describe, describe and alter configs.
pub(crate) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// One connection as its handlers see it.
pub(crate) struct Context {
    pub(crate) broker: Broker,
    pub(crate) organization: OrganizationId,
    /// The client.
    peer: SocketAddr,
    pub(crate) sessions: FetchSessions,
    /// Where the client connected to.
    local: SocketAddr,
}

/// Where clients reach an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: String,
}

impl Context {
    pub(crate) fn new(broker: Broker, sessions: FetchSessions, addresses: Addresses) -> Self {
        let Addresses { peer, local } = addresses;
        Self { broker, organization: OrganizationId::DEFAULT, sessions, peer, local }
    }

    /// The client's host as Kafka shows it.
    pub(crate) fn client_host(&self) -> String {
        format!("/{}", self.peer.ip().to_canonical())
    }

    /// A topic by name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.broker.topic(self.organization, name)
    }

    /// A topic by id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        if id.is_nil() { None } else { self.broker.topic_by_id(self.organization, TopicId(id)) }
    }

    /// Where this connection's client reaches an agent: its configured address, else the one it connected to.
    pub(crate) fn endpoint(&self, agent: &Agent) -> Endpoint {
        let (host, port) = split_address(&agent.kafka_address)
            .unwrap_or_else(|| (self.local.ip().to_canonical().to_string(), self.local.port()));
        Endpoint { node_id: agent.node_id, host, port: i32::from(port), rack: agent.zone.clone() }
    }

    /// Whom Metadata lists as brokers; see [`Cluster::listed`].
    pub(crate) fn listed(&self, cluster: &Cluster) -> Vec<Endpoint> {
        cluster.listed(Instant::now()).map(|agent| self.endpoint(agent)).collect()
    }

    /// The live agents, as brokers.
    pub(crate) fn endpoints(&self, cluster: &Cluster) -> Vec<Endpoint> {
        cluster.agents.iter().map(|agent| self.endpoint(agent)).collect()
    }

    /// Leader and epoch of a partition as Metadata would say, for an answer that says "not the leader" (KIP-951).
    pub(crate) fn leader(&self, topic: &Topic, partition: PartitionIndex) -> Option<(i32, LeaderEpoch)> {
        let view = self.broker.partitions(topic).into_iter().find(|view| view.partition == partition)?;
        Some((view.leader?, view.leader_epoch))
    }
}

/// `host:port`, with brackets around an IPv6 host.
fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

/// Kafka prints UUIDs as unpadded URL-safe base64: 22 characters.
pub(crate) fn kafka_uuid(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    let digit = |shift: i32| {
        let six = if shift >= 0 { bits >> shift } else { bits << -shift } & 0x3f;
        char::from(ALPHABET[six as usize])
    };
    (0..22).map(|position| digit(122 - 6 * position)).collect()
}

/// A string for a response.
pub(crate) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// The same for one that may be null.
pub(crate) fn optional_text(value: Option<String>) -> Option<StrBytes> {
    value.map(StrBytes::from_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_prints_as_kafka_prints_it() {
        assert_eq!(kafka_uuid(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_uuid(Uuid::from_u128(u128::MAX)), "_____________________w");
        assert_eq!(kafka_uuid(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn an_address_is_split_at_its_last_colon() {
        assert_eq!(split_address("a.example:9092"), Some(("a.example".to_owned(), 9092)));
        assert_eq!(split_address("[::1]:9092"), Some(("::1".to_owned(), 9092)));
        assert_eq!(split_address(""), None);
    }
}
