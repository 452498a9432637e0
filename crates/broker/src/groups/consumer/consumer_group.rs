//! A KIP-848 consumer group: its members, their epochs, and who holds which partition.
//!
//! The group epoch rises when the members, what they subscribe to, or the topics behind it change; the target assignment is
//! computed for a group epoch, at the next heartbeat; each member is reconciled towards it at its own heartbeats
//! (`member.rs`). What is changed is marked, and [`ConsumerGroup::write`] makes rows of it: a group loaded from them goes on
//! as if nothing had happened, except that everybody's time begins anew.
//!
//! No partition is held by two members: only what is in nobody's `held` is given, and it leaves that only when its
//! holder's heartbeat says so, or the holder is out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use metadata::{CoordinatorChange, CoordinatorKey, CoordinatorRow};
use segment::{PartitionIndex, TopicId};
use tokio::time::Instant;

use super::assignment::Assignment;
use super::assignor::{Assignor, Subscriber};
use super::deadlines::{Deadlines, Wait};
use super::limits::{ConsumerSettings, MEMBER_BYTES, PARTITION_BYTES};
use super::member::{CurrentAssignment, Member, MemberMetadata, MemberState};
use super::rows::{
    self, Epochs, KIND_CONSUMER_CURRENT, KIND_CONSUMER_GROUP, KIND_CONSUMER_MEMBER, KIND_CONSUMER_TARGET,
};
use super::subscription::{Expressions, Subscriptions};
use crate::groups::api::{GroupError, GroupState};
use crate::groups::rows::RowError;
use crate::groups::topics_view::TopicsView;

/// See the module.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(super) group_id: String,
    pub(super) settings: ConsumerSettings,
    pub(super) epochs: Epochs,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// What each member should have; whoever is not there should have nothing.
    pub(super) targets: BTreeMap<Arc<str>, Assignment>,
    /// Member ids of static members, by instance id.
    pub(super) static_members: HashMap<String, Arc<str>>,
    /// Who holds which partition, assigned or not yet given up.
    pub(super) holders: HashMap<(TopicId, PartitionIndex), Arc<str>>,
    pub(super) expressions: Expressions,
    /// Of what all members said about themselves.
    pub(super) metadata_bytes: usize,
    /// Whether members went since the metadata hash was computed.
    pub(super) is_hash_stale: bool,
    pub(super) deadlines: Deadlines,
    /// Rows that are not as they were written: kind and member.
    changed: BTreeSet<(i16, Arc<str>)>,
}

impl ConsumerGroup {
    /// A group that nobody is in yet, and of which nothing is stored.
    pub(crate) fn new(group_id: String, settings: ConsumerSettings) -> Self {
        Self {
            group_id,
            settings,
            epochs: Epochs::default(),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            static_members: HashMap::new(),
            holders: HashMap::new(),
            expressions: Expressions::default(),
            metadata_bytes: 0,
            is_hash_stale: false,
            deadlines: Deadlines::default(),
            changed: BTreeSet::new(),
        }
    }

    /// From now on these are its settings; who is awaited already stays so.
    pub(crate) fn set_settings(&mut self, settings: ConsumerSettings) {
        self.settings = settings;
    }

    /// Whether rows of this kind are those of a group like this.
    pub(crate) fn has_kind(kind: i16) -> bool {
        (KIND_CONSUMER_GROUP..=KIND_CONSUMER_CURRENT).contains(&kind)
    }

    /// Takes over one of its rows, in the order of their keys.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn load(&mut self, now: Instant, row: &CoordinatorRow) -> Result<(), RowError> {
        let item = std::str::from_utf8(&row.key.item).map_err(|_| RowError::String)?;
        if row.key.kind == KIND_CONSUMER_GROUP {
            self.epochs = Epochs::decode(&row.value)?;
            return Ok(());
        }
        if row.key.kind == KIND_CONSUMER_MEMBER {
            let metadata = MemberMetadata::decode(&row.value)?;
            let member_id: Arc<str> = item.into();
            if let Some(instance_id) = &metadata.instance_id {
                self.static_members.insert(instance_id.clone(), Arc::clone(&member_id));
            }
            self.deadlines.set_session(&member_id, now + metadata.session_timeout(&self.settings));
            self.metadata_bytes += metadata.bytes();
            self.members.insert(member_id, Member { metadata, current: CurrentAssignment::default() });
            return Ok(());
        }
        let member_id = self.member_key(item).ok_or(RowError::Contradiction)?;
        if row.key.kind == KIND_CONSUMER_TARGET {
            self.targets.insert(member_id, rows::decode_target(&row.value)?);
        } else {
            let current = CurrentAssignment::decode(&row.value)?;
            if current.held().any(|partition| self.holders.contains_key(&partition)) {
                return Err(RowError::Contradiction);
            }
            self.set_current(now, &member_id, current);
            self.changed.clear();
        }
        Ok(())
    }

    /// Writes what changed since the last time.
    pub(super) fn write(&mut self, changes: &mut Vec<CoordinatorChange>) {
        for (kind, member_id) in std::mem::take(&mut self.changed) {
            let value = self.row(kind, &member_id);
            changes.push(CoordinatorChange { key: self.key(kind, &member_id), value });
        }
    }

    /// Deletes all rows.
    pub(crate) fn delete(&self, changes: &mut Vec<CoordinatorChange>) {
        let of_members = self.members.keys().flat_map(|member_id| {
            [KIND_CONSUMER_MEMBER, KIND_CONSUMER_TARGET, KIND_CONSUMER_CURRENT].map(|kind| self.key(kind, member_id))
        });
        let keys = std::iter::once(self.key(KIND_CONSUMER_GROUP, "")).chain(of_members);
        changes.extend(keys.map(|key| CoordinatorChange { key, value: None }));
    }

    fn key(&self, kind: i16, member_id: &str) -> CoordinatorKey {
        CoordinatorKey { owner: self.group_id.clone(), kind, item: Bytes::copy_from_slice(member_id.as_bytes()) }
    }

    fn row(&self, kind: i16, member_id: &str) -> Option<Bytes> {
        match kind {
            KIND_CONSUMER_GROUP => Some(self.epochs.encode()),
            KIND_CONSUMER_MEMBER => self.members.get(member_id).map(|member| member.metadata.encode()),
            KIND_CONSUMER_TARGET => self.targets.get(member_id).map(rows::encode_target),
            _ => self.members.get(member_id).map(|member| member.current.encode()),
        }
    }

    fn mark(&mut self, kind: i16, member_id: &Arc<str>) {
        self.changed.insert((kind, Arc::clone(member_id)));
    }

    pub(super) fn set_epochs(&mut self, epochs: Epochs) {
        if self.epochs != epochs {
            self.epochs = epochs;
            self.changed.insert((KIND_CONSUMER_GROUP, Arc::from("")));
        }
    }

    pub(super) fn bump_epoch(&mut self) {
        self.set_epochs(Epochs { group: self.epochs.group + 1, ..self.epochs });
    }

    /// A member's id as the maps have it.
    pub(super) fn member_key(&self, member_id: &str) -> Option<Arc<str>> {
        self.members.get_key_value(member_id).map(|(key, _)| Arc::clone(key))
    }

    /// Takes over what a member says about itself; a member that is not there begins to be.
    pub(super) fn set_metadata(&mut self, member_id: &Arc<str>, metadata: MemberMetadata) {
        if self.members.get(member_id).is_some_and(|member| member.metadata == metadata) {
            return;
        }
        if let Some(instance_id) = &metadata.instance_id {
            self.static_members.insert(instance_id.clone(), Arc::clone(member_id));
        }
        self.metadata_bytes += metadata.bytes();
        let member = self.members.entry(Arc::clone(member_id)).or_default();
        self.metadata_bytes -= std::mem::replace(&mut member.metadata, metadata).bytes();
        self.mark(KIND_CONSUMER_MEMBER, member_id);
    }

    /// What a member has from now on. Its time to give up partitions begins, or ends.
    pub(super) fn set_current(&mut self, now: Instant, member_id: &Arc<str>, current: CurrentAssignment) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        for partition in member.current.held() {
            self.holders.remove(&partition);
        }
        self.holders.extend(current.held().map(|partition| (partition, Arc::clone(member_id))));
        // Members that speak the classic protocol are awaited in JoinGroup and SyncGroup instead.
        let has_to_revoke = current.state == MemberState::UnrevokedPartitions && member.metadata.classic.is_none();
        let revocation = has_to_revoke.then(|| now + member.metadata.rebalance_timeout);
        member.current = current;
        self.deadlines.set(member_id, Wait::Revocation, revocation);
        self.mark(KIND_CONSUMER_CURRENT, member_id);
    }

    pub(super) fn set_target(&mut self, member_id: &Arc<str>, target: Assignment) {
        if self.targets.get(member_id) != Some(&target) {
            self.targets.insert(Arc::clone(member_id), target);
            self.mark(KIND_CONSUMER_TARGET, member_id);
        }
    }

    /// Members are out: what they held is free, and the others get another assignment.
    pub(super) fn remove_members(&mut self, member_ids: &[Arc<str>]) {
        for member_id in member_ids {
            self.take_out(member_id);
        }
        self.is_hash_stale = true;
        self.bump_epoch();
    }

    /// Another member takes a static member's place, with all that it has; its epoch begins anew.
    pub(super) fn replace_member(&mut self, now: Instant, before: &str, after: &Arc<str>) {
        let target = self.targets.get(before).cloned();
        let Some(mut member) = self.take_out(before) else { return };
        member.current.epoch = 0;
        member.current.previous_epoch = 0;
        self.set_metadata(after, member.metadata);
        self.set_current(now, after, member.current);
        if let Some(target) = target {
            self.set_target(after, target);
        }
    }

    fn take_out(&mut self, member_id: &str) -> Option<Member> {
        let (member_id, member) = self.members.remove_entry(member_id)?;
        self.metadata_bytes -= member.metadata.bytes();
        for partition in member.current.held() {
            self.holders.remove(&partition);
        }
        if let Some(instance_id) = &member.metadata.instance_id
            && self.static_members.get(instance_id) == Some(&member_id)
        {
            self.static_members.remove(instance_id);
        }
        self.targets.remove(&member_id);
        self.deadlines.forget(&member_id);
        for kind in [KIND_CONSUMER_MEMBER, KIND_CONSUMER_TARGET, KIND_CONSUMER_CURRENT] {
            self.mark(kind, &member_id);
        }
        Some(member)
    }

    /// Resolves what members subscribe to, if it can have changed since the last time; raises the group epoch if that
    /// means other topics or partitions.
    pub(super) fn refresh(&mut self, subscription_changed: bool, topics: &TopicsView) {
        if !subscription_changed && !self.is_hash_stale && self.expressions.have_seen(topics) {
            return;
        }
        self.expressions.update(self.members.values().map(|member| &member.metadata), topics);
        let metadata_hash = self.subscriptions(topics).metadata_hash();
        self.is_hash_stale = false;
        let is_new = subscription_changed || self.epochs.group == 0;
        let must_assign = self.epochs.group > self.epochs.target; // and then sees the new metadata anyway
        if is_new || metadata_hash != self.epochs.metadata_hash && !must_assign {
            self.bump_epoch();
        }
        self.set_epochs(Epochs { metadata_hash, ..self.epochs });
    }

    fn subscriptions(&self, topics: &TopicsView) -> Subscriptions {
        Subscriptions::resolve(self.members.values().map(|member| &member.metadata), &self.expressions, topics)
    }

    /// Computes the target assignment for the group epoch, if there is none.
    pub(super) fn assign(&mut self, topics: &TopicsView) {
        if self.epochs.target == self.epochs.group {
            return;
        }
        let subscriptions = self.subscriptions(topics);
        let nothing = Assignment::default();
        let subscribers: Vec<Subscriber<'_>> = self
            .members
            .iter()
            .zip(&subscriptions.of_members)
            .map(|((member_id, member), topics)| Subscriber {
                member_id,
                instance_id: member.metadata.instance_id.as_deref(),
                topics,
                previous: self.targets.get(member_id).unwrap_or(&nothing),
            })
            .collect();
        let targets = self.assignor().assign(&subscribers, &subscriptions.topics);
        let member_ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for (member_id, target) in member_ids.iter().zip(targets) {
            self.set_target(member_id, target);
        }
        self.set_epochs(Epochs { target: self.epochs.group, ..self.epochs });
    }

    /// The assignor that most members want.
    pub(super) fn assignor(&self) -> Assignor {
        let wanted = |assignor: &Assignor| {
            self.members.values().filter(|member| member.metadata.server_assignor == Some(*assignor)).count()
        };
        // Of several, `max_by_key` takes the last one.
        Assignor::ALL.into_iter().rev().max_by_key(wanted).unwrap_or(Assignor::Uniform)
    }

    /// One step of a member towards its target.
    pub(super) fn reconcile(&mut self, now: Instant, member_id: &Arc<str>, received: i32, owned: Option<&Assignment>) {
        let Some(member) = self.members.get(member_id) else { return };
        let nothing = Assignment::default();
        let target = self.targets.get(member_id).unwrap_or(&nothing);
        let is_free = |topic, partition| self.holders.get(&(topic, partition)).is_none_or(|holder| holder == member_id);
        let next = member.current.reconcile(received, self.epochs.target, target, owned, is_free);
        if next != member.current {
            self.set_current(now, member_id, next);
        }
    }

    /// When somebody's time is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whoever is over their time is out.
    pub(crate) fn tick(&mut self, now: Instant, changes: &mut Vec<CoordinatorChange>) {
        while let Some((member_id, was_not_heard_of)) = self.deadlines.due(now) {
            let why = if was_not_heard_of { "its session expired" } else { "it did not do its part of a rebalance" };
            tracing::info!(group = self.group_id, member = &*member_id, why, "a member is out");
            self.remove_members(&[member_id]);
        }
        self.write(changes);
    }

    /// Where the group is in its life.
    pub(crate) fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epochs.group > self.epochs.target {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled_to(self.epochs.target)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// The group epoch.
    pub(crate) fn epoch(&self) -> i32 {
        self.epochs.group
    }

    /// What its members take in memory, about: each partition is in an assignment, a target and in `holders`.
    pub(crate) fn bytes(&self) -> usize {
        self.metadata_bytes + MEMBER_BYTES * self.members.len() + PARTITION_BYTES * self.holders.len()
    }

    pub(crate) fn has_member(&self, member_id: &str, instance_id: Option<&str>) -> bool {
        self.members.contains_key(member_id) || instance_id.is_some_and(|id| self.static_members.contains_key(id))
    }

    /// Whether nobody is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether nothing is in it and nothing stored.
    pub(crate) fn is_unused(&self) -> bool {
        self.members.is_empty() && self.epochs == Epochs::default()
    }

    /// Whether a member may commit offsets; from outside of the group (epoch -1) only while nobody is in it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_commit(
        &self,
        member_id: &str,
        member_epoch: i32,
        knows_member_epochs: bool,
    ) -> Result<(), GroupError> {
        if member_epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        if !knows_member_epochs && member.metadata.classic.is_none() {
            return Err(GroupError::UnsupportedVersion);
        }
        member.check_epoch(member_epoch)
    }

    /// Whether somebody may read offsets; whoever does not say that it is a member may.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), GroupError> {
        let Some(member_id) = member_id else {
            return if member_epoch < 0 { Ok(()) } else { Err(GroupError::UnknownMemberId) };
        };
        self.members.get(member_id).ok_or(GroupError::UnknownMemberId)?.check_epoch(member_epoch)
    }

    /// Whether a member subscribed to the topic.
    pub(crate) fn is_subscribed_to(&self, topic_id: TopicId, name: &str) -> bool {
        self.members.values().any(|Member { metadata, .. }| {
            metadata.subscribed_topic_names.contains(name)
                || metadata.regex().is_some_and(|pattern| self.expressions.may_mean(pattern, topic_id))
        })
    }
}

impl Member {
    fn check_epoch(&self, member_epoch: i32) -> Result<(), GroupError> {
        match &self.metadata.classic {
            _ if member_epoch == self.current.epoch => Ok(()),
            Some(_) => Err(GroupError::IllegalGeneration),
            None => Err(GroupError::StaleMemberEpoch),
        }
    }
}

#[cfg(test)]
#[path = "consumer_group_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "history_tests.rs"]
mod history;
