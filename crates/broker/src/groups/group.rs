//! One group: its members, in whichever protocol they speak, and its offsets.

use std::sync::Arc;

use metadata::CoordinatorRow;
use segment::{TimestampMs, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{
    DescribedGroup, FetchedOffset, GroupError, GroupState, Heartbeat, JoinGroup, LeaveGroup, LeftMember, ListedGroup,
    OffsetCommit, OffsetDelete, OffsetFetch, PartitionOutcome, SyncGroup,
};
use super::classic::ClassicGroup;
use super::effects::{Effects, Now, Ticket};
use super::offsets::Offsets;
use super::registry::Names;
use super::rows::{KIND_CLASSIC_GROUP, KIND_OFFSET, RowError};
use super::settings::GroupSettings;

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
            // Of a later version: it stays as it is.
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn join(&mut self, now: Now, join: JoinGroup, fresh: Uuid, ticket: Ticket, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.join(now, join, fresh, ticket, effects),
        }
    }

    pub(crate) fn sync(&mut self, now: Now, sync: SyncGroup, ticket: Ticket, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.sync(now, sync, ticket, effects),
        }
    }

    pub(crate) fn heartbeat(&mut self, now: Now, heartbeat: &Heartbeat) -> Result<(), GroupError> {
        match &mut self.members {
            Members::Classic(classic) => classic.heartbeat(now, heartbeat),
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
        }
        self.offsets.commit(now, commit, effects)
    }

    pub(crate) fn fetch(&self, fetch: &OffsetFetch) -> Result<Vec<FetchedOffset>, GroupError> {
        Ok(self.offsets.fetch(fetch.partitions.as_deref()))
    }

    pub(crate) fn delete_offsets(
        &mut self,
        delete: &OffsetDelete,
        names: &Names<'_>,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let members = &self.members;
        match members {
            Members::Classic(classic) => classic.check_offset_delete()?,
        }
        let subscribed = |topic_id| members.subscribed(names, topic_id);
        Ok(self.offsets.delete(&self.group_id, &delete.partitions, subscribed, effects))
    }

    pub(crate) fn describe(&self) -> DescribedGroup {
        match &self.members {
            Members::Classic(classic) => classic.describe(),
        }
    }

    pub(crate) fn listed(&self) -> ListedGroup {
        match &self.members {
            Members::Classic(classic) => classic.listed(),
        }
    }

    /// Whether it may be deleted.
    pub(crate) fn check_delete(&self) -> Result<(), GroupError> {
        match &self.members {
            Members::Classic(classic) => classic.check_delete(),
        }
    }

    /// Deletes all its rows.
    pub(crate) fn delete(&mut self, effects: &mut Effects) {
        self.offsets.delete_all(&self.group_id, effects);
        match &self.members {
            Members::Classic(classic) => classic.delete(effects),
        }
    }

    /// Forgets what has expired; true if nothing is left of it, and its rows go too.
    pub(crate) fn sweep(
        &mut self,
        now: Now,
        retention: TimestampMs,
        names: &Names<'_>,
        effects: &mut Effects,
    ) -> bool {
        for topic_id in self.offsets.topics().into_iter().filter(|topic_id| names.of(*topic_id).is_none()) {
            self.offsets.delete_topic(&self.group_id, topic_id, effects);
        }
        let Members::Classic(classic) = &self.members;
        let subscribed = |topic_id| self.members.subscribed(names, topic_id);
        self.offsets.expire(&self.group_id, now.timestamp, classic.offset_expiry(), retention, subscribed, effects);
        let is_over = self.offsets.is_empty() && classic.state() == GroupState::Empty;
        if is_over {
            classic.delete(effects);
        }
        is_over
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.members {
            Members::Classic(classic) => classic.next_deadline(),
        }
    }

    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        match &mut self.members {
            Members::Classic(classic) => classic.tick(now, effects),
        }
    }

    /// Whether there is nothing in it, and nothing stored.
    pub(crate) fn is_unused(&self) -> bool {
        let Members::Classic(classic) = &self.members;
        self.offsets.is_empty() && classic.is_unused()
    }
}

impl Members {
    /// Whether some of them read the topic, as far as the coordinator can tell.
    fn subscribed(&self, names: &Names<'_>, topic_id: TopicId) -> bool {
        let Self::Classic(classic) = self;
        names.of(topic_id).is_some_and(|name| classic.is_subscribed_to(&name))
    }
}
