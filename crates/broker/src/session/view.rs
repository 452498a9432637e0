//! The cluster as this agent knows it: live agents, who leads what, and who should. Written by the coordinator alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metadata::{AgentRow, LeaseHolder};
use parking_lot::RwLock;
use segment::{LeaderEpoch, PartitionIndex, PartitionKey, SessionId, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::lease_table::{Lease, LeaseTable};
use super::placement::{PlacedTopic, Placement, TopicPlacement};
use crate::change_count::{ChangeCount, ChangesSeen};
use crate::cluster::{Agent, Cluster};
use crate::topics::{PartitionView, Topic};

/// How long clients are told of an agent that went without a word: longer than they wait for an answer (`request.timeout.ms` is 30 s).
const LISTED_AFTER_DEATH: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct ClusterView {
    cluster_id: Uuid,
    /// This agent's Kafka broker id.
    node_id: i32,
    state: RwLock<State>,
    /// Counts what was taken over, for those who wait for a change.
    changed: ChangeCount,
}

#[derive(Debug)]
struct State {
    cluster: Arc<Cluster>,
    agents: Vec<AgentRow>,
    nodes: HashMap<SessionId, i32>,
    placement: Placement,
    leases: LeaseTable,
}

impl ClusterView {
    pub(crate) fn new(cluster_id: Uuid, node_id: i32) -> Self {
        let state = State {
            cluster: Arc::new(cluster(cluster_id, node_id, &[], Vec::new())),
            agents: Vec::new(),
            nodes: HashMap::new(),
            placement: Placement::default(),
            leases: LeaseTable::default(),
        };
        Self { cluster_id, node_id, state: RwLock::new(state), changed: ChangeCount::default() }
    }

    /// Takes over the active sessions, if they changed in anything but their renewals.
    pub(crate) fn set_agents(&self, agents: Vec<AgentRow>) {
        let mut state = self.state.write();
        let same =
            |(old, new): (&AgentRow, &AgentRow)| old.session == new.session && old.registration == new.registration;
        if agents.len() != state.agents.len() || !state.agents.iter().zip(&agents).all(same) {
            let departed = departed(&state, &agents, Instant::now());
            state.cluster = Arc::new(cluster(self.cluster_id, self.node_id, &agents, departed));
            state.nodes = nodes(&agents);
            state.placement = Placement::new(&agents);
        }
        state.agents = agents;
    }

    /// Takes over leases of others and of this agent.
    pub(crate) fn put_leases(&self, leases: &[LeaseHolder]) {
        let mut state = self.state.write();
        leases.iter().for_each(|holder| state.leases.put(holder));
    }

    /// This agent leads a partition now.
    pub(crate) fn led(&self, key: PartitionKey, session: SessionId, leader_epoch: LeaderEpoch) {
        self.state.write().leases.led(key, session, leader_epoch);
    }

    pub(crate) fn forget_topic(&self, topic_id: TopicId) {
        self.state.write().leases.remove(topic_id);
    }

    /// Tells those who wait for a change.
    pub(crate) fn announce(&self) {
        self.changed.add();
    }

    pub(crate) fn node_id(&self) -> i32 {
        self.node_id
    }

    pub(crate) fn subscribe(&self) -> ChangesSeen {
        self.changed.subscribe()
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.state.read().cluster)
    }

    /// All active sessions, as one read saw them.
    pub(crate) fn agents(&self) -> Vec<AgentRow> {
        self.state.read().agents.clone()
    }

    /// The row of an active session.
    pub(crate) fn agent(&self, session: SessionId) -> Option<AgentRow> {
        self.state.read().agents.iter().find(|agent| agent.session == session).cloned()
    }

    pub(crate) fn is_active(&self, session: SessionId) -> bool {
        self.state.read().nodes.contains_key(&session)
    }

    pub(crate) fn lease(&self, topic_id: TopicId, partition: PartitionIndex) -> Lease {
        self.state.read().leases.get(topic_id, partition)
    }

    /// Node id of the active session that holds the partition, and the epoch.
    pub(crate) fn holder(&self, topic_id: TopicId, partition: PartitionIndex) -> (Option<i32>, LeaderEpoch) {
        self.state.read().holder(topic_id, partition)
    }

    /// Who should lead each partition of a topic, by index.
    pub(crate) fn owners(&self, topic: &Topic) -> Vec<Option<SessionId>> {
        let state = self.state.read();
        let placement = state.placement.of_topic(placed(topic));
        (0..topic.partition_count).map(|partition| placement.owner(partition)).collect()
    }

    /// Who should lead a partition.
    pub(crate) fn owner(&self, topic: &Topic, partition: PartitionIndex) -> Option<SessionId> {
        self.state.read().placement.of_topic(placed(topic)).owner(partition)
    }

    /// Leader and epoch of each partition of a topic, and the agents that clients may ask, by index.
    pub(crate) fn partitions(&self, topic: &Topic) -> Vec<PartitionView> {
        let state = self.state.read();
        let placement = state.placement.of_topic(placed(topic));
        (0..topic.partition_count).map(|partition| state.partition(topic, &placement, partition)).collect()
    }

    /// The same of one partition.
    pub(crate) fn partition(&self, topic: &Topic, partition: PartitionIndex) -> PartitionView {
        let state = self.state.read();
        state.partition(topic, &state.placement.of_topic(placed(topic)), partition)
    }
}

impl State {
    fn holder(&self, topic_id: TopicId, partition: PartitionIndex) -> (Option<i32>, LeaderEpoch) {
        let lease = self.leases.get(topic_id, partition);
        (lease.session.and_then(|session| self.nodes.get(&session).copied()), lease.leader_epoch)
    }

    fn partition(&self, topic: &Topic, placement: &TopicPlacement<'_>, partition: PartitionIndex) -> PartitionView {
        let (leader, leader_epoch) = self.holder(topic.topic_id, partition);
        let count = usize::try_from(topic.replication_factor).unwrap_or(1).max(1);
        PartitionView { partition, leader, leader_epoch, replicas: placement.replicas(partition, leader, count) }
    }
}

fn placed(topic: &Topic) -> PlacedTopic<'_> {
    let (name, group) = (topic.name.as_str(), topic.agent_group.as_str());
    PlacedTopic { topic_id: topic.topic_id, name, group, is_internal: topic.is_internal() }
}

fn nodes(agents: &[AgentRow]) -> HashMap<SessionId, i32> {
    agents.iter().map(|agent| (agent.session, agent.node_id)).collect()
}

/// Who went without a word: before, and with this change. One that was leaving has answered everything.
fn departed(state: &State, agents: &[AgentRow], now: Instant) -> Vec<(Agent, Instant)> {
    let leaving =
        |agent: &Agent| state.agents.iter().any(|row| row.session == agent.session && !row.registration.accepts_leases);
    let gone = state.cluster.agents.iter().filter(|agent| !leaving(agent));
    let known = state.cluster.departed.iter().cloned();
    known
        .chain(gone.map(|agent| (agent.clone(), now + LISTED_AFTER_DEATH)))
        .filter(|(agent, until)| *until > now && agents.iter().all(|row| row.node_id != agent.node_id))
        .collect()
}

/// The lowest node id is the controller.
fn cluster(cluster_id: Uuid, node_id: i32, agents: &[AgentRow], departed: Vec<(Agent, Instant)>) -> Cluster {
    let shown = |agent: &AgentRow| Agent {
        session: agent.session,
        node_id: agent.node_id,
        kafka_address: agent.registration.kafka_address.clone(),
        grpc_address: agent.registration.grpc_address.clone(),
        zone: agent.registration.zone.clone(),
    };
    let agents: Vec<_> = agents.iter().map(shown).collect();
    let controller_id = agents.iter().map(|agent| agent.node_id).min().unwrap_or(node_id);
    Cluster { cluster_id, node_id, controller_id, agents, departed }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
