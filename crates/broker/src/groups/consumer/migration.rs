//! A KIP-848 group that was a classic group, or is about to be one.

use std::sync::Arc;

use segment::{PartitionIndex, TopicId};
use tokio::time::Instant;

use super::assignment::Assignment;
use super::consumer_group::ConsumerGroup;
use super::limits::{ConsumerSettings, ID_BYTES_MAX, SUBSCRIBED_NAMES_MAX};
use super::member::{ClassicMetadata, CurrentAssignment, Member, MemberMetadata, MemberState};
use super::rows::Epochs;
use crate::groups::embedded::{Assigned, NamedPartitions, Subscription};
use crate::groups::limits::GROUP_BYTES_MAX;
use crate::groups::migration::{Migrant, Migration};
use crate::groups::topics_view::TopicsView;

impl ConsumerGroup {
    /// Number of members.
    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    /// Whether any member speaks KIP-848.
    pub(crate) fn has_consumers(&self) -> bool {
        self.members.values().any(|member| member.metadata.classic.is_none())
    }

    /// What a classic group becomes, all of it to be written: everybody has and should have what they were assigned.
    ///
    /// # Errors
    /// Why it cannot, in Kafka's words.
    pub(crate) fn migrated(
        group_id: String,
        settings: ConsumerSettings,
        now: Instant,
        migration: Migration,
        topics: &TopicsView,
    ) -> Result<Self, &'static str> {
        let mut group = Self::new(group_id, settings);
        let generation = migration.generation;
        group.set_epochs(Epochs { group: generation, target: generation, metadata_hash: 0 });
        let mut had: Vec<(Arc<str>, NamedPartitions)> = Vec::new();
        for migrant in migration.members {
            let (member_id, metadata, subscription) = read(&migrant)?;
            let Assigned { partitions, has_user_data } = Assigned::parse(&migrant.assignment).ok_or(MALFORMED)?;
            if has_user_data {
                return Err("an unsupported custom assignor is in use");
            }
            let assigned = by_id(&partitions, topics);
            if assigned.iter().any(|partition| group.holders.contains_key(&partition)) {
                return Err("its members are assigned the same partitions");
            }
            let session = now + metadata.session_timeout(&group.settings);
            group.set_metadata(&member_id, metadata);
            group.deadlines.set_session(&member_id, session);
            group.set_target(&member_id, assigned.clone());
            let (epoch, previous_epoch) = (generation, generation);
            group.set_current(
                now,
                &member_id,
                CurrentAssignment { epoch, previous_epoch, assigned, ..Default::default() },
            );
            had.push((member_id, subscription.owned));
        }
        if group.metadata_bytes > GROUP_BYTES_MAX {
            return Err("the group has no room for so much metadata of members");
        }
        for (member_id, owned) in had {
            group.hold_until_it_joins(now, &member_id, &by_id(&owned, topics));
        }
        Ok(group)
    }

    /// Nobody gets what a member had when it joined until it joins again: it may not have heard yet that it is not assigned it.
    fn hold_until_it_joins(&mut self, now: Instant, member_id: &Arc<str>, owned: &Assignment) {
        let free = |partition: &(TopicId, PartitionIndex)| !self.holders.contains_key(partition);
        let pending_revocation: Assignment = owned.iter().filter(free).collect();
        let Some(member) = self.members.get(member_id).filter(|_| !pending_revocation.is_empty()) else { return };
        let state = MemberState::UnrevokedPartitions;
        self.set_current(now, member_id, CurrentAssignment { state, pending_revocation, ..member.current.clone() });
    }

    /// What the group is to a classic one; all of its members speak the classic protocol. They are assigned what they have:
    /// where that is not what they should have they have to join again, and until then nobody else gets it.
    pub(crate) fn migration(&self, topics: &TopicsView) -> Migration {
        let members = self.members.iter().map(|(member_id, Member { metadata, current })| {
            let classic = metadata.classic.clone().unwrap_or_default();
            Migrant {
                member_id: member_id.to_string(),
                group_instance_id: metadata.instance_id.clone(),
                client_id: metadata.client_id.clone(),
                client_host: metadata.client_host.clone(),
                rebalance_timeout: metadata.rebalance_timeout,
                session_timeout: classic.session_timeout,
                assignment: Assigned::write(&by_name(&current.held().collect(), topics), classic.version()),
                protocols: classic.protocols,
            }
        });
        Migration { generation: self.epochs.target, members: members.collect() }
    }
}

/// Kafka's words for what is no subscription, or no assignment.
const MALFORMED: &str = "the embedded consumer protocol is malformed";

fn read(migrant: &Migrant) -> Result<(Arc<str>, MemberMetadata, Subscription), &'static str> {
    let ids = [Some(&migrant.member_id), migrant.group_instance_id.as_ref()];
    if ids.into_iter().flatten().any(|id| id.len() > ID_BYTES_MAX) {
        return Err("the id of a member is too long");
    }
    let classic = ClassicMetadata { session_timeout: migrant.session_timeout, protocols: migrant.protocols.clone() };
    let subscription = classic.subscription().ok_or(MALFORMED)?;
    if subscription.topics.len() > SUBSCRIBED_NAMES_MAX {
        return Err("a member subscribes to too many topics");
    }
    let metadata = MemberMetadata {
        instance_id: migrant.group_instance_id.clone(),
        rack_id: subscription.rack_id.clone(),
        client_id: migrant.client_id.clone(),
        client_host: migrant.client_host.clone(),
        rebalance_timeout: migrant.rebalance_timeout,
        subscribed_topic_names: subscription.topics.clone(),
        classic: Some(classic),
        ..MemberMetadata::default()
    };
    Ok((Arc::from(migrant.member_id.as_str()), metadata, subscription))
}

impl ClassicMetadata {
    /// What it says in the first of its protocols; it is the same in all.
    pub(super) fn subscription(&self) -> Option<Subscription> {
        Subscription::parse(&self.protocols.first()?.metadata)
    }

    /// Of its subscription, and so of what it is told.
    pub(super) fn version(&self) -> i16 {
        self.subscription().map_or(0, |subscription| subscription.version)
    }
}

/// The partitions that there are of these.
pub(super) fn by_id(partitions: &NamedPartitions, topics: &TopicsView) -> Assignment {
    let known =
        partitions.iter().filter_map(|(name, partitions)| topics.by_name(name).map(|topic| (topic, partitions)));
    let exist = known.flat_map(|(topic, partitions)| {
        let count = topic.partition_count;
        partitions.iter().filter(move |index| (0..count).contains(*index)).map(|index| (topic.topic_id, *index))
    });
    exist.collect()
}

/// As clients of the classic protocol know them; without topics that are gone.
pub(super) fn by_name(assignment: &Assignment, topics: &TopicsView) -> NamedPartitions {
    let known = assignment.topics().filter_map(|(topic_id, partitions)| {
        Some((topics.by_id(topic_id)?.name.clone(), partitions.iter().copied().collect()))
    });
    known.collect()
}
