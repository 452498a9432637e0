//! Shares of topics in what the object store is asked for, under a bounded number of names.
//!
//! At most [`COST_TOPICS_MAX`] topics have a series of their own; what the others do is one more. A topic that does much
//! without a series gets one from a topic that did less than half as much: looked at when the metrics are read, so that a
//! counter never falls while it has its name.

use std::collections::HashMap;

use segment::{OrganizationId, TopicId};

use super::account::{Account, Operation};
use crate::limits::{COST_TOPICS_COUNTED_MAX, COST_TOPICS_MAX};

/// Requests and bytes; a request that several topics share is counted in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count {
    pub(super) requests: f64,
    pub(super) bytes: f64,
}

impl Count {
    pub(super) fn add(&mut self, requests: f64, bytes: f64) {
        self.requests += requests;
        self.bytes += bytes;
    }
}

pub(super) type ByOperation = [Count; Operation::ALL.len()];

#[derive(Debug, Default)]
struct TopicCount {
    organization: Option<OrganizationId>,
    /// Its own series, if it has one.
    series: Option<ByOperation>,
    /// Bytes since the names were looked at last.
    recent: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_id: HashMap<TopicId, TopicCount>,
    named: usize,
    other: ByOperation,
}

impl Topics {
    /// Shares requests and bytes among an account's topics.
    pub(super) fn add(&mut self, account: &Account, operation: Operation, requests: f64, bytes: f64) {
        let all = account.topics.iter().map(|(_, share)| to_float(*share)).sum::<f64>();
        for (topic_id, share) in account.topics.iter() {
            let part = if all > 0.0 { to_float(*share) / all } else { 0.0 };
            self.add_one(*topic_id, account.organization, operation, requests * part, bytes * part);
        }
    }

    fn add_one(
        &mut self,
        topic_id: TopicId,
        organization: Option<OrganizationId>,
        operation: Operation,
        requests: f64,
        bytes: f64,
    ) {
        let is_full = self.by_id.len() >= COST_TOPICS_COUNTED_MAX;
        if is_full && !self.by_id.contains_key(&topic_id) {
            return self.other[operation as usize].add(requests, bytes);
        }
        let topic = self.by_id.entry(topic_id).or_default();
        topic.organization = organization;
        topic.recent += bytes;
        if topic.series.is_none() && self.named < COST_TOPICS_MAX {
            topic.series = Some(ByOperation::default());
            self.named += 1;
        }
        topic.series.as_mut().unwrap_or(&mut self.other)[operation as usize].add(requests, bytes);
    }

    /// Gives names to those who do much; forgets topics that have none and did nothing.
    pub(super) fn rank(&mut self) {
        let recent = |named: bool| {
            let those = self.by_id.iter().filter(|(_, topic)| topic.series.is_some() == named);
            let mut those: Vec<_> = those.map(|(id, topic)| (topic.recent, *id)).collect();
            those.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            those
        };
        let (least_named, busiest) = (recent(true), recent(false));
        let swaps = least_named.iter().zip(busiest.iter().rev()).filter(|((did, _), (does, _))| *does > 2.0 * *did);
        for ((_, loses), (_, gains)) in swaps {
            self.by_id.entry(*loses).or_default().series = None;
            self.by_id.entry(*gains).or_default().series = Some(ByOperation::default());
        }
        self.by_id.retain(|_, topic| topic.series.is_some() || topic.recent > 0.0);
        self.by_id.values_mut().for_each(|topic| topic.recent = 0.0);
    }

    /// The series of their own.
    pub(super) fn named(&self) -> impl Iterator<Item = (TopicId, Option<OrganizationId>, &ByOperation)> {
        self.by_id.iter().filter_map(|(id, topic)| Some((*id, topic.organization, topic.series.as_ref()?)))
    }

    /// All others together.
    pub(super) fn other(&self) -> &ByOperation {
        &self.other
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one object")]
fn to_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
