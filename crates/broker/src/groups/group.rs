//! One group: its members, in whichever protocol they speak, and its offsets.

use std::sync::Arc;

use metadata::CoordinatorRow;
use segment::{TimestampMs, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{
    DescribedGroup, FetchedOffset, GroupError, GroupState, Heartbeat, JoinGroup, JoinRefused, LeaveGroup, LeftMember,
    ListedGroup, OffsetCommit, OffsetDelete, OffsetFetch, PartitionOutcome, SyncGroup,
};
use super::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumerGroup, HeartbeatRefused};
use super::classic::{ClassicGroup, OffsetExpiry};
use super::consumer::{ConsumerGroup, ConsumerSettings};
use super::effects::{Effects, Now, Reply, Ticket};
use super::offsets::Offsets;
use super::registry::Names;
use super::rows::{KIND_CLASSIC_GROUP, KIND_OFFSET, RowError};
use super::topics_view::TopicsView;
use crate::settings::GroupSettings;

/// See the module.
pub(crate) struct Group {
    group_id: String,
    members: Members,
    offsets: Offsets,
    /// What the registry noted as the time to look at it.
    pub(crate) deadline: Option<Instant>,
}

/// The members, by the protocol they speak.
enum Members {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    /// One that nothing is known of yet: classic until somebody joins it in another way.
    pub(crate) fn new(group_id: String, settings: &Arc<GroupSettings>, now: Now) -> Self {
        let members = Members::Classic(Box::new(ClassicGroup::new(group_id.clone(), Arc::clone(settings), now)));
        Self { group_id, members, offsets: Offsets::default(), deadline: None }
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
                    let consumer = ConsumerGroup::new(self.group_id.clone(), ConsumerSettings::default());
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

    /// JoinGroup. A KIP-848 group that nobody is in becomes a classic one; with members it stays what it is.
    pub(crate) fn join(
        &mut self,
        now: Now,
        settings: &Arc<GroupSettings>,
        join: JoinGroup,
        fresh: Uuid,
        ticket: Ticket,
        effects: &mut Effects,
    ) {
        if let Members::Consumer(consumer) = &self.members {
            if !consumer.is_empty() {
                let (error, member_id) = (GroupError::InconsistentGroupProtocol, join.member_id);
                return effects.reply(ticket, Reply::Join(Err(JoinRefused { error, member_id })));
            }
            consumer.delete(&mut effects.changes);
            let classic = ClassicGroup::new(self.group_id.clone(), Arc::clone(settings), now);
            self.members = Members::Classic(Box::new(classic));
        }
        if let Members::Classic(classic) = &mut self.members {
            classic.join(now, join, fresh, ticket, effects);
        }
    }

    /// ConsumerGroupHeartbeat. A classic group that nobody is in becomes a KIP-848 one when somebody joins.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        now: Now,
        settings: ConsumerSettings,
        heartbeat: &ConsumerHeartbeat,
        topics: &TopicsView,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        match &mut self.members {
            Members::Consumer(consumer) => consumer.heartbeat(now.instant, heartbeat, topics, &mut effects.changes),
            Members::Classic(classic) => {
                if heartbeat.member_epoch != 0 || classic.state() != GroupState::Empty {
                    return Err(HeartbeatRefused::not_consumer(&self.group_id));
                }
                let mut consumer = ConsumerGroup::new(self.group_id.clone(), settings);
                let mut changes = Vec::new();
                let answer = consumer.heartbeat(now.instant, heartbeat, topics, &mut changes)?;
                classic.delete(effects);
                effects.changes.extend(changes);
                self.members = Members::Consumer(Box::new(consumer));
                Ok(answer)
            }
        }
    }

    /// ConsumerGroupDescribe.
    pub(crate) fn describe_consumer(&self, topics: &TopicsView) -> Result<DescribedConsumerGroup, HeartbeatRefused> {
        match &self.members {
            Members::Classic(_) => Err(HeartbeatRefused::not_consumer(&self.group_id)),
            Members::Consumer(consumer) => Ok(consumer.describe(topics)),
        }
    }

    pub(crate) fn sync(&mut self, now: Now, sync: SyncGroup, ticket: Ticket, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.sync(now, sync, ticket, effects),
            Members::Consumer(_) => effects.reply(ticket, Reply::Sync(Err(GroupError::UnknownMemberId))),
        }
    }

    pub(crate) fn heartbeat(&mut self, now: Now, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.heartbeat(now, heartbeat),
            Members::Consumer(_) => Err(GroupError::UnknownMemberId),
        }
    }

    pub(crate) fn leave(
        &mut self,
        now: Now,
        leave: LeaveGroup,
        effects: &mut Effects,
    ) -> Result<Vec<LeftMember>, GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.leave(now, leave, effects),
            // Which is said of each.
            Members::Consumer(_) => Err(GroupError::UnknownMemberId),
        }
    }

    pub(crate) fn commit(
        &mut self,
        now: Now,
        commit: OffsetCommit,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.check_commit(now, &commit)?,
            Members::Consumer(consumer) => {
                let epoch = commit.generation_id_or_member_epoch;
                consumer.check_commit(&commit.member_id, epoch, commit.knows_new_errors)?;
            }
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

    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.tick(now, effects),
            Members::Consumer(consumer) => consumer.tick(now.instant, &mut effects.changes),
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
