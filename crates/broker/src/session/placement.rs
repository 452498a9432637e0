//! Who should lead what: rendezvous hashing, which every agent computes alone from the same rows.
//!
//! A partition's owner is the candidate with the greatest hash of (agent id, topic id, partition). Candidates are the
//! active sessions that accept leases, are of the topic's `AGENT_GROUP`, and whose `MANAGED_TOPICS` match its name. An
//! agent that comes or goes moves only its own share. Agent ids are hashed, not sessions: a restarted agent gets back
//! what it had.
//!
//! The replicas that clients are shown hold nothing: they are the agents to ask instead of the leader, and spread over zones.

use std::collections::BTreeSet;

use metadata::AgentRow;
use segment::{PartitionIndex, SessionId, TopicId};

/// What placement needs of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedTopic<'a> {
    pub(crate) topic_id: TopicId,
    pub(crate) name: &'a str,
    /// Empty: any.
    pub(crate) group: &'a str,
    pub(crate) is_internal: bool,
}

/// The sessions among which partitions are shared out.
#[derive(Debug, Default)]
pub(crate) struct Placement(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    session: SessionId,
    node_id: i32,
    seed: u64,
    zone: String,
    group: String,
    topics: TopicFilter,
}

/// The candidates for one topic.
#[derive(Debug)]
pub(crate) struct TopicPlacement<'a> {
    topic_id: TopicId,
    candidates: Vec<&'a Candidate>,
    /// The others of its group: they may read it for consumers of their zone.
    readers: Vec<&'a Candidate>,
}

impl Placement {
    pub(crate) fn new(agents: &[AgentRow]) -> Self {
        let accepting = agents.iter().filter(|agent| agent.registration.accepts_leases);
        let candidate = |agent: &AgentRow| Candidate {
            session: agent.session,
            node_id: agent.node_id,
            seed: hash_text(&agent.registration.agent_id),
            zone: agent.registration.zone.clone(),
            group: agent.registration.group.clone(),
            topics: TopicFilter::parse(&agent.registration.managed_topics),
        };
        Self(accepting.map(candidate).collect())
    }

    /// Who may lead partitions of this topic.
    pub(crate) fn of_topic(&self, topic: PlacedTopic<'_>) -> TopicPlacement<'_> {
        let of_group = |candidate: &&Candidate| topic.group.is_empty() || topic.group == candidate.group;
        let may_lead = |candidate: &&Candidate| topic.is_internal || candidate.topics.matches(topic.name);
        let (candidates, readers) = self.0.iter().filter(of_group).partition(may_lead);
        TopicPlacement { topic_id: topic.topic_id, candidates, readers }
    }
}

impl TopicPlacement<'_> {
    /// Who should lead this partition; `None` if nobody may.
    pub(crate) fn owner(&self, partition: PartitionIndex) -> Option<SessionId> {
        let score = |candidate: &&&Candidate| score(candidate, self.topic_id, partition);
        self.candidates.iter().max_by_key(score).map(|candidate| candidate.session)
    }

    /// Node ids of at most `count` agents: the leader, then one of each other zone, then whoever is left; among equals those
    /// first that would lead next.
    pub(crate) fn replicas(&self, partition: PartitionIndex, leader: Option<i32>, count: usize) -> Vec<i32> {
        let mut order = self.by_score(&self.candidates, partition);
        order.extend(self.by_score(&self.readers, partition));
        let (leading, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|one| Some(one.node_id) == leader);
        let mut zones: BTreeSet<&str> = leading.iter().map(|one| one.zone.as_str()).collect();
        let (of_new_zones, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|one| zones.insert(&one.zone));
        let others = of_new_zones.into_iter().chain(rest).map(|one| one.node_id);
        leader.into_iter().chain(others).take(count).collect()
    }

    fn by_score<'c>(&self, candidates: &[&'c Candidate], partition: PartitionIndex) -> Vec<&'c Candidate> {
        let mut sorted = candidates.to_vec();
        sorted.sort_by_cached_key(|candidate| std::cmp::Reverse(score(candidate, self.topic_id, partition)));
        sorted
    }
}

/// The node id decides between equal hashes, so that all agents agree.
fn score(candidate: &Candidate, topic_id: TopicId, partition: PartitionIndex) -> (u64, i32) {
    let (high, low) = topic_id.0.as_u64_pair();
    let hash = [high, low, u64::from(partition.unsigned_abs())]
        .into_iter()
        .fold(candidate.seed, |hash, part| mix(hash ^ part));
    (hash, candidate.node_id)
}

/// The finalizer of `SplitMix64`: fixed for ever, as agents of different builds must agree.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// `MANAGED_TOPICS`: names separated by commas, where a trailing `*` stands for any ending; empty = all.
#[derive(Debug)]
struct TopicFilter(Vec<String>);

impl TopicFilter {
    fn parse(managed_topics: &str) -> Self {
        let patterns = managed_topics.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        Self(patterns.map(str::to_owned).collect())
    }

    fn matches(&self, name: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        self.0.is_empty() || self.0.iter().any(matches)
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
