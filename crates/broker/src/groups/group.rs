//! One group: its members, in whichever protocol they speak, and its offsets.

use std::sync::Arc;

use metadata::CoordinatorRow;
use segment::{TimestampMs, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{
    DescribedGroup, FetchedOffset, GroupError, GroupState, GroupType, Heartbeat, JoinGroup, LeaveGroup, LeftMember,
    ListedGroup, OffsetCommit, OffsetDelete, OffsetFetch, PartitionOutcome, SyncGroup,
};
use super::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumerGroup, HeartbeatRefused};
use super::classic::{ClassicGroup, OffsetExpiry};
use super::consumer::{ConsumerGroup, ConsumerSettings};
use super::effects::{Effects, Now, Reply, Ticket};
use super::offsets::Offsets;
use super::registry::Names;
use super::rows::{KIND_CLASSIC_GROUP, KIND_OFFSET, RowError};
use super::tally::Figures;
use super::topics_view::TopicsView;
use crate::settings::GroupSettings;

/// What a decision is made with.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Arc<GroupSettings>,
    pub(crate) topics: &'a TopicsView,
}

/// See the module.
pub(crate) struct Group {
    pub(super) group_id: String,
    pub(super) members: Members,
    offsets: Offsets,
    /// What the registry noted as the time to look at it.
    pub(crate) deadline: Option<Instant>,
    /// What the registry told of it.
    pub(crate) told: Option<Figures>,
}

/// The members, by the protocol they speak; a KIP-848 group may have some that speak the classic one.
pub(super) enum Members {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    /// One that nothing is known of yet: classic until somebody joins it in another way.
    pub(crate) fn new(group_id: String, settings: &Arc<GroupSettings>, now: Now) -> Self {
        let members = Members::Classic(Box::new(ClassicGroup::new(group_id.clone(), Arc::clone(settings), now)));
        Self { group_id, members, offsets: Offsets::default(), deadline: None, told: None }
    }

    /// Takes over one of its rows.
    pub(crate) fn load(
        &mut self,
        settings: &Arc<GroupSettings>,
        now: Now,
        row: &CoordinatorRow,
    ) -> Result<(), RowError> {
        match row.key.kind {
            KIND_CLASSIC_GROUP => {
                let classic = ClassicGroup::load(self.group_id.clone(), Arc::clone(settings), now, &row.value)?;
                self.members = Members::Classic(Box::new(classic));
            }
            KIND_OFFSET => self.offsets.load(&row.key.item, &row.value)?,
            kind if ConsumerGroup::has_kind(kind) => {
                if matches!(self.members, Members::Classic(_)) {
                    let consumer = ConsumerGroup::new(self.group_id.clone(), settings.consumer);
                    self.members = Members::Consumer(Box::new(consumer));
                }
                if let Members::Consumer(consumer) = &mut self.members {
                    consumer.load(now.instant, row)?;
                }
            }
            // Of a later version: it stays as it is.
            _ => {}
        }
        Ok(())
    }

    /// JoinGroup. A KIP-848 group that nobody is in becomes a classic one.
    pub(crate) fn join(
        &mut self,
        context: &Context<'_>,
        join: JoinGroup,
        fresh: Uuid,
        ticket: Ticket,
        effects: &mut Effects,
    ) {
        if let Members::Consumer(consumer) = &self.members {
            if !consumer.is_empty() {
                return self.join_as_classic(context, join, fresh, ticket, effects);
            }
            consumer.delete(&mut effects.changes);
            let classic = ClassicGroup::new(self.group_id.clone(), Arc::clone(context.settings), context.now);
            self.members = Members::Classic(Box::new(classic));
        }
        if let Members::Classic(classic) = &mut self.members {
            classic.join(context.now, join, fresh, ticket, effects);
        }
    }

    /// ConsumerGroupHeartbeat. A classic group of consumers becomes a KIP-848 one when somebody joins so.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        context: &Context<'_>,
        settings: ConsumerSettings,
        heartbeat: &ConsumerHeartbeat,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        let had_consumers = self.has_consumers();
        match &mut self.members {
            Members::Consumer(consumer) => {
                consumer.set_settings(settings);
                let answer =
                    consumer.heartbeat(context.now.instant, heartbeat, context.topics, &mut effects.changes)?;
                self.downgrade_if_due(had_consumers, context, effects);
                Ok(answer)
            }
            Members::Classic(_) => self.join_as_consumer(context, settings, heartbeat, effects),
        }
    }

    /// ConsumerGroupDescribe.
    pub(crate) fn describe_consumer(&self, topics: &TopicsView) -> Result<DescribedConsumerGroup, HeartbeatRefused> {
        match &self.members {
            Members::Classic(_) => Err(HeartbeatRefused::not_consumer(&self.group_id)),
            Members::Consumer(consumer) => Ok(consumer.describe(topics)),
        }
    }

    pub(crate) fn sync(&mut self, context: &Context<'_>, sync: SyncGroup, ticket: Ticket, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.sync(context.now, sync, ticket, effects),
            Members::Consumer(consumer) => {
                let synced = consumer.sync_classic(context.now.instant, sync, context.topics);
                effects.reply(ticket, Reply::Sync(synced));
            }
        }
    }

    pub(crate) fn heartbeat(&mut self, now: Now, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.heartbeat(now, heartbeat),
            Members::Consumer(consumer) => consumer.heartbeat_classic(now.instant, heartbeat),
        }
    }

    pub(crate) fn leave(
        &mut self,
        context: &Context<'_>,
        leave: LeaveGroup,
        effects: &mut Effects,
    ) -> Result<Vec<LeftMember>, GroupError> {
        let had_consumers = self.has_consumers();
        match &mut self.members {
            Members::Classic(classic) => classic.leave(context.now, leave, effects),
            Members::Consumer(consumer) => {
                let left = consumer.leave_classic(leave, &mut effects.changes);
                self.downgrade_if_due(had_consumers, context, effects);
                Ok(left)
            }
        }
    }

    pub(crate) fn commit(
        &mut self,
        now: Now,
        commit: OffsetCommit,
        may_grow: bool,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.check_commit(now, &commit)?,
            Members::Consumer(consumer) => {
                let epoch = commit.generation_id_or_member_epoch;
                consumer.check_commit(&commit.member_id, epoch, commit.knows_new_errors)?;
            }
        }
        if !may_grow && self.offsets.would_grow(&commit) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.offsets.commit(now, commit, effects)
    }

    pub(crate) fn fetch(&self, fetch: &OffsetFetch) -> Result<Vec<FetchedOffset>, GroupError> {
        if let Members::Consumer(consumer) = &self.members {
            consumer.check_fetch(fetch.member_id.as_deref(), fetch.member_epoch)?;
        }
        Ok(self.offsets.fetch(fetch.partitions.as_deref()))
    }

    pub(crate) fn delete_offsets(
        &mut self,
        delete: &OffsetDelete,
        names: &Names<'_>,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let members = &self.members;
        if let Members::Classic(classic) = members {
            classic.check_offset_delete()?;
        }
        let subscribed = |topic_id| members.subscribed(names, topic_id);
        Ok(self.offsets.delete(&self.group_id, &delete.partitions, subscribed, effects))
    }

    pub(crate) fn describe(&self) -> DescribedGroup {
        match &self.members {
            Members::Classic(classic) => classic.describe(),
            Members::Consumer(_) => DescribedGroup::refused(self.group_id.clone(), GroupError::GroupIdNotFound),
        }
    }

    pub(crate) fn listed(&self) -> ListedGroup {
        match &self.members {
            Members::Classic(classic) => classic.listed(),
            Members::Consumer(consumer) => consumer.listed(),
        }
    }

    /// Whether it may be deleted.
    pub(crate) fn check_delete(&self) -> Result<(), GroupError> {
        match &self.members {
            Members::Classic(classic) => classic.check_delete(),
            Members::Consumer(consumer) if consumer.is_empty() => Ok(()),
            Members::Consumer(_) => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Deletes all its rows.
    pub(crate) fn delete(&mut self, effects: &mut Effects) {
        self.offsets.delete_all(&self.group_id, effects);
        self.members.delete(effects);
    }

    /// Forgets what has expired; true if nothing is left of it, and its rows go too.
    pub(crate) fn sweep(&mut self, now: Now, retention: TimestampMs, names: &Names<'_>, effects: &mut Effects) -> bool {
        for topic_id in self.offsets.topics().into_iter().filter(|topic_id| names.of(*topic_id).is_none()) {
            self.offsets.delete_topic(&self.group_id, topic_id, effects);
        }
        let (expiry, is_empty) = match &self.members {
            Members::Classic(classic) => (classic.offset_expiry(), classic.state() == GroupState::Empty),
            Members::Consumer(consumer) => (OffsetExpiry::SinceCommit, consumer.is_empty()),
        };
        let subscribed = |topic_id| self.members.subscribed(names, topic_id);
        self.offsets.expire(&self.group_id, now.timestamp, expiry, retention, subscribed, effects);
        let is_over = self.offsets.is_empty() && is_empty;
        if is_over {
            self.members.delete(effects);
        }
        is_over
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.members {
            Members::Classic(classic) => classic.next_deadline(),
            Members::Consumer(consumer) => consumer.next_deadline(),
        }
    }

    pub(crate) fn tick(&mut self, context: &Context<'_>, effects: &mut Effects) {
        let had_consumers = self.has_consumers();
        match &mut self.members {
            Members::Classic(classic) => classic.tick(context.now, effects),
            Members::Consumer(consumer) => {
                consumer.tick(context.now.instant, &mut effects.changes);
                self.downgrade_if_due(had_consumers, context, effects);
            }
        }
    }

    /// Whether somebody who joins is in it already, or takes a member's place.
    pub(crate) fn has_member(&self, member_id: &str, instance_id: Option<&str>) -> bool {
        match &self.members {
            Members::Classic(classic) => classic.has_member(member_id, instance_id),
            Members::Consumer(consumer) => consumer.has_member(member_id, instance_id),
        }
    }

    /// What is counted of it. Where `members_changed` is false, what its members take in memory is as it was told.
    pub(crate) fn figures(&self, members_changed: bool) -> Figures {
        let listed = |told: &Figures| told.bytes - told.offset_bytes;
        let offset_bytes = self.offsets.bytes();
        let members_before = self.told.as_ref().filter(|_| !members_changed).map(listed);
        let own = size_of::<Self>() + self.group_id.len();
        match &self.members {
            Members::Classic(classic) => Figures {
                group_type: GroupType::Classic,
                state: classic.state(),
                members: classic.size(),
                bytes: offset_bytes + members_before.unwrap_or_else(|| own + classic.bytes()),
                offset_bytes,
                generation: classic.generation(),
            },
            Members::Consumer(consumer) => Figures {
                group_type: GroupType::Consumer,
                state: consumer.state(),
                members: consumer.size(),
                bytes: offset_bytes + own + consumer.bytes(),
                offset_bytes,
                generation: consumer.epoch(),
            },
        }
    }

    /// Whether there is nothing in it, and nothing stored.
    pub(crate) fn is_unused(&self) -> bool {
        self.offsets.is_empty()
            && match &self.members {
                Members::Classic(classic) => classic.is_unused(),
                Members::Consumer(consumer) => consumer.is_unused(),
            }
    }
}

impl Members {
    /// Whether some of them read the topic, as far as the coordinator can tell.
    fn subscribed(&self, names: &Names<'_>, topic_id: TopicId) -> bool {
        names.of(topic_id).is_some_and(|name| match self {
            Self::Classic(classic) => classic.is_subscribed_to(&name),
            Self::Consumer(consumer) => consumer.is_subscribed_to(topic_id, &name),
        })
    }

    /// Deletes all their rows.
    fn delete(&self, effects: &mut Effects) {
        match self {
            Self::Classic(classic) => classic.delete(effects),
            Self::Consumer(consumer) => consumer.delete(&mut effects.changes),
        }
    }
}
