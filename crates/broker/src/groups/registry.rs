//! The groups of one coordinator: which there are, who may do what with them, and when one of them has to be looked at again.
//!
//! Decisions only: no I/O, no waiting. What a group answers and writes goes into [`Effects`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metadata::{CoordinatorRow, StoreError};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use segment::{OrganizationId, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::api::{
    DescribedGroup, GroupError, Heartbeat, JoinGroup, JoinRefused, LeaveGroup, LeftMember, ListGroups, OffsetCommit,
    OffsetDelete, OffsetFetch, PartitionOutcome, SyncGroup,
};
use super::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRefused};
use super::configs;
use super::effects::{Effects, Now, Reply, Ticket};
use super::group::{Context, Group};
use super::tally::Tally;
use super::topics_view::TopicsView;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::settings::GroupSettings;
use crate::topics::OFFSETS_TOPIC;

/// Groups of one coordinator; who would found another one is refused.
const GROUPS_MAX: usize = 50_000;

/// What coordinators see of the rest of the broker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) settings: Arc<GroupSettings>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Arc<Clock>,
    /// For member ids.
    pub(crate) rng: Arc<Mutex<StdRng>>,
    /// Of all coordinators of the agent.
    pub(crate) tally: Arc<Tally>,
}

impl Surroundings {
    fn now(&self, instant: Instant) -> Now {
        Now { instant, timestamp: self.clock.now() }
    }

    /// Whether there is room for more members and offsets. What is there already goes on, and may exceed the bound.
    fn may_grow(&self) -> bool {
        self.tally.bytes() < self.settings.memory_bytes
    }

    fn fresh_id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.lock().random()).into_uuid()
    }
}

/// What is asked of a coordinator.
#[derive(Debug)]
pub(crate) enum Request {
    Join(JoinGroup),
    Sync(SyncGroup),
    Heartbeat(Heartbeat),
    Leave(LeaveGroup),
    OffsetCommit(OffsetCommit),
    OffsetFetch(OffsetFetch),
    OffsetDelete(OffsetDelete),
    Describe(String),
    List(ListGroups),
    DeleteGroup(String),
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    ConsumerDescribe(String),
}

/// See the module.
pub(crate) struct Registry {
    organization: OrganizationId,
    surroundings: Surroundings,
    groups: BTreeMap<String, Group>,
    /// As of the last time somebody asked for it.
    topics: Arc<TopicsView>,
    /// When each group that waits for something has to be looked at.
    deadlines: BTreeSet<(Instant, String)>,
}

impl Registry {
    pub(crate) fn new(organization: OrganizationId, surroundings: Surroundings) -> Self {
        let (groups, topics, deadlines) = Default::default();
        Self { organization, surroundings, groups, topics, deadlines }
    }

    /// Takes over one row.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn load(&mut self, row: CoordinatorRow) -> Result<(), StoreError> {
        let now = self.surroundings.now(Instant::now());
        let settings = &self.surroundings.settings;
        let owner = row.key.owner.clone();
        let group = self.groups.entry(owner.clone()).or_insert_with(|| Group::new(owner, settings, now));
        group.load(settings, now, &row).map_err(|error| StoreError::Damaged(format!("row of a group: {error}")))
    }

    /// All rows were taken over.
    pub(crate) fn loaded(&mut self) {
        for (group_id, group) in &mut self.groups {
            tell(&self.surroundings.tally, group, true);
            group.deadline = group.next_deadline();
            self.deadlines.extend(group.deadline.map(|deadline| (deadline, group_id.clone())));
        }
    }

    /// When something has to be done that nobody asks for.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, instant: Instant, effects: &mut Effects) {
        while self.next_deadline().is_some_and(|deadline| deadline <= instant) {
            let Some((_, group_id)) = self.deadlines.pop_first() else { return };
            let (now, topics) = (self.surroundings.now(instant), self.topics());
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.deadline = None;
                let before = group.figures(false);
                group.tick(&Context { now, settings: &self.surroundings.settings, topics: &topics }, effects);
                let gone = before.members.saturating_sub(group.figures(false).members);
                self.surroundings.tally.expired(before.group_type, gone);
                self.settle(&group_id, instant, true);
            }
        }
    }

    /// Answers a request, now or later.
    pub(crate) fn ask(&mut self, instant: Instant, request: Request, ticket: Ticket, effects: &mut Effects) {
        let now = self.surroundings.now(instant);
        let (group_id, reply) = match request {
            Request::Join(join) => return self.join(now, join, ticket, effects),
            Request::Sync(sync) => return self.sync(now, sync, ticket, effects),
            Request::Heartbeat(heartbeat) => {
                let beats = |group: &mut Group| group.heartbeat(now, &heartbeat);
                let reply = self.member_of(&heartbeat.group_id).and_then(beats);
                (heartbeat.group_id, Reply::Heartbeat(reply))
            }
            Request::Leave(leave) => (leave.group_id.clone(), Reply::Leave(self.leave(now, leave, effects))),
            Request::OffsetCommit(commit) => {
                let group_id = commit.group_id.clone();
                (group_id, Reply::OffsetCommit(self.commit(now, commit, effects)))
            }
            Request::OffsetFetch(fetch) => {
                let reply = match self.groups.get(&fetch.group_id) {
                    Some(group) => group.fetch(&fetch),
                    None => Ok(super::offsets::Offsets::default().fetch(fetch.partitions.as_deref())),
                };
                (fetch.group_id, Reply::OffsetFetch(reply))
            }
            Request::OffsetDelete(delete) => {
                let group_id = delete.group_id.clone();
                (group_id, Reply::OffsetDelete(self.delete_offsets(delete, effects)))
            }
            Request::Describe(group_id) => {
                let described = match self.groups.get(&group_id) {
                    Some(group) => group.describe(),
                    None => DescribedGroup::refused(group_id.clone(), GroupError::GroupIdNotFound),
                };
                (group_id, Reply::Describe(described))
            }
            Request::List(wanted) => {
                let listed = self.groups.values().map(Group::listed);
                let asked = listed.filter(|group| wanted.asks_for(group.state, group.group_type));
                return effects.reply(ticket, Reply::List(asked.collect()));
            }
            Request::ConsumerHeartbeat(heartbeat) => {
                let group_id = heartbeat.group_id.clone();
                (group_id, Reply::ConsumerHeartbeat(self.consumer_heartbeat(now, *heartbeat, effects)))
            }
            Request::ConsumerDescribe(group_id) => {
                let topics = self.topics();
                let described = match self.groups.get(&group_id) {
                    Some(group) => group.describe_consumer(&topics),
                    None => Err(HeartbeatRefused::no_group(&group_id)),
                };
                (group_id, Reply::ConsumerDescribe(described))
            }
            Request::DeleteGroup(group_id) => {
                let deleted = self.delete(&group_id, effects);
                (group_id, Reply::DeleteGroup(deleted))
            }
        };
        let members_changed = matches!(reply, Reply::Leave(_) | Reply::ConsumerHeartbeat(_));
        effects.reply(ticket, reply);
        self.settle(&group_id, instant, members_changed);
    }

    fn join(&mut self, now: Now, join: JoinGroup, ticket: Ticket, effects: &mut Effects) {
        let group_id = join.group_id.clone();
        let refused = if group_id.is_empty() {
            Some(GroupError::InvalidGroupId)
        } else if !self.has_room_for(&group_id, &join.member_id, join.group_instance_id.as_deref()) {
            Some(GroupError::CoordinatorNotAvailable)
        } else if self.groups.contains_key(&group_id) {
            None
        } else if !join.member_id.is_empty() {
            Some(GroupError::UnknownMemberId)
        } else {
            (self.groups.len() >= GROUPS_MAX).then_some(GroupError::GroupMaxSizeReached)
        };
        if let Some(error) = refused {
            return effects.reply(ticket, Reply::Join(Err(JoinRefused { error, member_id: join.member_id })));
        }
        let (fresh, topics) = (self.surroundings.fresh_id(), self.topics());
        let settings = Arc::clone(&self.surroundings.settings);
        let context = Context { now, settings: &settings, topics: &topics };
        self.found(now, &group_id).join(&context, join, fresh, ticket, effects);
        self.settle(&group_id, now.instant, true);
    }

    /// At the bound of memory nobody joins who is not there already.
    fn has_room_for(&self, group_id: &str, member_id: &str, instance_id: Option<&str>) -> bool {
        let is_there = || self.groups.get(group_id).is_some_and(|group| group.has_member(member_id, instance_id));
        let has_room = self.surroundings.may_grow() || is_there();
        if !has_room {
            self.surroundings.tally.refused();
        }
        has_room
    }

    fn consumer_heartbeat(
        &mut self,
        now: Now,
        mut heartbeat: ConsumerHeartbeat,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        let joins = heartbeat.member_epoch == 0;
        let instance_id = heartbeat.instance_id.as_deref();
        if joins && !self.has_room_for(&heartbeat.group_id, &heartbeat.member_id, instance_id) {
            return Err(GroupError::CoordinatorNotAvailable.into());
        }
        if !self.groups.contains_key(&heartbeat.group_id) {
            if !joins {
                return Err(HeartbeatRefused::no_group(&heartbeat.group_id));
            }
            if self.groups.len() >= GROUPS_MAX {
                return Err(GroupError::GroupMaxSizeReached.into());
            }
        }
        if joins && heartbeat.member_id.is_empty() {
            heartbeat.member_id = self.surroundings.fresh_id().to_string();
        }
        let topics = self.topics();
        let settings = Arc::clone(&self.surroundings.settings);
        let context = Context { now, settings: &settings, topics: &topics };
        let own = match topics.by_name(OFFSETS_TOPIC) {
            Some(topic) => configs::settings_of(&topic.configs, &heartbeat.group_id, &settings),
            None => settings.consumer,
        };
        self.found(now, &heartbeat.group_id).consumer_heartbeat(&context, own, &heartbeat, effects)
    }

    fn topics(&mut self) -> Arc<TopicsView> {
        self.topics = self.surroundings.catalog.view(self.organization, &self.topics);
        Arc::clone(&self.topics)
    }

    fn sync(&mut self, now: Now, sync: SyncGroup, ticket: Ticket, effects: &mut Effects) {
        let (group_id, topics) = (sync.group_id.clone(), self.topics());
        let assigns = !sync.assignments.is_empty();
        let settings = Arc::clone(&self.surroundings.settings);
        let context = Context { now, settings: &settings, topics: &topics };
        match self.member_of(&group_id) {
            Ok(group) => group.sync(&context, sync, ticket, effects),
            Err(error) => effects.reply(ticket, Reply::Sync(Err(error))),
        }
        self.settle(&group_id, now.instant, assigns);
    }

    fn leave(&mut self, now: Now, leave: LeaveGroup, effects: &mut Effects) -> Result<Vec<LeftMember>, GroupError> {
        let (settings, topics) = (Arc::clone(&self.surroundings.settings), self.topics());
        let context = Context { now, settings: &settings, topics: &topics };
        match self.member_of(&leave.group_id) {
            Ok(group) => group.leave(&context, leave, effects),
            // In a group that does not exist nobody is a member, which is said of each.
            Err(GroupError::UnknownMemberId) => Ok(leave.members.into_iter().map(not_a_member).collect()),
            Err(error) => Err(error),
        }
    }

    /// The group that somebody says to be a member of.
    fn member_of(&mut self, group_id: &str) -> Result<&mut Group, GroupError> {
        if group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.groups.get_mut(group_id).ok_or(GroupError::UnknownMemberId)
    }

    /// The group, founded if it is not there.
    fn found(&mut self, now: Now, group_id: &str) -> &mut Group {
        let settings = &self.surroundings.settings;
        self.groups.entry(group_id.to_owned()).or_insert_with(|| Group::new(group_id.to_owned(), settings, now))
    }

    /// The group of a commit: a commit from outside of groups founds one.
    fn committed_to(&mut self, now: Now, commit: &OffsetCommit) -> Result<&mut Group, GroupError> {
        if !self.groups.contains_key(&commit.group_id) {
            if commit.generation_id_or_member_epoch >= 0 {
                let is_new = commit.knows_new_errors;
                return Err(if is_new { GroupError::GroupIdNotFound } else { GroupError::IllegalGeneration });
            }
            if self.groups.len() >= GROUPS_MAX {
                return Err(GroupError::InvalidCommitOffsetSize);
            }
        }
        Ok(self.found(now, &commit.group_id))
    }

    fn commit(
        &mut self,
        now: Now,
        commit: OffsetCommit,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let may_grow = self.surroundings.may_grow();
        let committed = self.committed_to(now, &commit)?.commit(now, commit, may_grow, effects);
        match &committed {
            Ok(outcomes) => {
                self.surroundings.tally.committed(outcomes.iter().filter(|outcome| outcome.error.is_none()).count());
            }
            Err(GroupError::CoordinatorNotAvailable) => self.surroundings.tally.refused(),
            Err(_) => {}
        }
        committed
    }

    fn delete_offsets(
        &mut self,
        delete: OffsetDelete,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        if delete.group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let names = Names { organization: self.organization, catalog: &self.surroundings.catalog };
        let group = self.groups.get_mut(&delete.group_id).ok_or(GroupError::GroupIdNotFound)?;
        group.delete_offsets(&delete, &names, effects)
    }

    fn delete(&mut self, group_id: &str, effects: &mut Effects) -> Result<(), GroupError> {
        let group = self.groups.get_mut(group_id).ok_or(GroupError::GroupIdNotFound)?;
        group.check_delete()?;
        group.delete(effects);
        self.forget(group_id);
        Ok(())
    }

    /// Forgets offsets that expired, those of topics that are deleted, and groups that nothing is left of.
    pub(crate) fn sweep(&mut self, instant: Instant, effects: &mut Effects) {
        let now = self.surroundings.now(instant);
        let names = Names { organization: self.organization, catalog: &self.surroundings.catalog };
        let retention = self.surroundings.settings.offsets_retention.as_millis();
        let retention = i64::try_from(retention).unwrap_or(i64::MAX);
        let mut over = Vec::new();
        for (group_id, group) in &mut self.groups {
            if group.sweep(now, retention, &names, effects) {
                over.push(group_id.clone());
            }
            tell(&self.surroundings.tally, group, false);
        }
        for group_id in over {
            self.forget(&group_id);
        }
    }

    /// After anything that a group did: when it has to be looked at, or whether it is worth remembering at all.
    fn settle(&mut self, group_id: &str, instant: Instant, members_changed: bool) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        if group.is_unused() {
            return self.forget(group_id);
        }
        tell(&self.surroundings.tally, group, members_changed);
        // Never now or before: a group that has nothing to do at its own deadline must not keep the task busy. And what is
        // due is not put off further, or a group that is asked all the time would never be looked at.
        let soonest = instant + std::time::Duration::from_millis(1);
        let noted = group.deadline.map_or(soonest, |noted| noted.min(soonest));
        let deadline = group.next_deadline().map(|own| if own > instant { own } else { noted });
        if deadline != group.deadline {
            let before = std::mem::replace(&mut group.deadline, deadline);
            if let Some(before) = before {
                self.deadlines.remove(&(before, group_id.to_owned()));
            }
            self.deadlines.extend(deadline.map(|deadline| (deadline, group_id.to_owned())));
        }
    }

    fn forget(&mut self, group_id: &str) {
        let Some(group) = self.groups.remove(group_id) else { return };
        self.surroundings.tally.update(group.told, None);
        if let Some(deadline) = group.deadline {
            self.deadlines.remove(&(deadline, group_id.to_owned()));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for group in self.groups.values() {
            self.surroundings.tally.update(group.told, None);
        }
    }
}

/// What a group is now counts from now on.
fn tell(tally: &Tally, group: &mut Group, members_changed: bool) {
    let figures = group.figures(members_changed);
    if group.told != Some(figures) {
        tally.update(group.told.replace(figures), Some(figures));
    }
}

fn not_a_member(leaving: super::api::LeavingMember) -> LeftMember {
    let error = Some(GroupError::UnknownMemberId);
    LeftMember { member_id: leaving.member_id, group_instance_id: leaving.group_instance_id, error }
}

/// What topics are called.
pub(crate) struct Names<'a> {
    organization: OrganizationId,
    catalog: &'a Catalog,
}

impl Names<'_> {
    /// The name of a topic; `None` if it is deleted.
    pub(crate) fn of(&self, topic_id: TopicId) -> Option<String> {
        Some(self.catalog.by_id(self.organization, topic_id)?.topic.name.clone())
    }
}
