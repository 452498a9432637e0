//! Members of a KIP-848 group that speak the classic protocol (KIP-848, "online migration").
//!
//! JoinGroup is their heartbeat that says what they have; it is answered at once, with the member's epoch as the generation. SyncGroup tells
//! what the coordinator assigned, Heartbeat whether there is a reason to join again. Nobody is a leader.

use std::sync::Arc;

use metadata::CoordinatorChange;
use tokio::time::Instant;
use uuid::Uuid;

use super::consumer_group::ConsumerGroup;
use super::deadlines::Wait;
use super::heartbeat::{Said, Sender};
use super::limits::{ID_BYTES_MAX, SUBSCRIBED_NAMES_MAX};
use super::member::{ClassicMetadata, Member, MemberMetadata, MemberState};
use super::migration::{by_id, by_name};
use crate::groups::api::{
    GroupError, Heartbeat, JoinGroup, JoinRefused, Joined, LeaveGroup, LeavingMember, LeftMember, SyncGroup, Synced,
};
use crate::groups::classic::owned;
use crate::groups::embedded::{Assigned, CONSUMER, Subscription};
use crate::groups::topics_view::TopicsView;

impl ConsumerGroup {
    /// JoinGroup. `fresh` names a member that has no id.
    ///
    /// # Errors
    /// As Kafka; then nothing has changed.
    pub(crate) fn join_classic(
        &mut self,
        now: Instant,
        mut request: JoinGroup,
        fresh: Uuid,
        topics: &TopicsView,
        changes: &mut Vec<CoordinatorChange>,
    ) -> Result<Joined, JoinRefused> {
        let asked = request.member_id.clone();
        let is_new = asked.is_empty();
        if is_new {
            request.member_id = fresh.to_string();
        }
        let member_id = request.member_id.clone();
        let joined = self.try_join(now, request, is_new, topics);
        self.write(changes);
        joined.map_err(|error| {
            let member_id = if error == GroupError::MemberIdRequired { member_id } else { asked };
            JoinRefused { error, member_id }
        })
    }

    fn try_join(
        &mut self,
        now: Instant,
        request: JoinGroup,
        is_new: bool,
        topics: &TopicsView,
    ) -> Result<Joined, GroupError> {
        if !self.members.contains_key(request.member_id.as_str()) {
            self.check_size().map_err(|refused| refused.error)?;
        }
        if !self.supports(&request) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if is_new && request.require_known_member_id && request.group_instance_id.is_none() {
            return Err(GroupError::MemberIdRequired);
        }
        let ids = [Some(&request.member_id), request.group_instance_id.as_ref()];
        if ids.into_iter().flatten().any(|id| id.len() > ID_BYTES_MAX) {
            return Err(GroupError::InvalidRequest);
        }
        let sender = self.joining(&request, is_new)?;
        let classic =
            ClassicMetadata { session_timeout: request.session_timeout, protocols: owned(&request.protocols) };
        let subscription = classic.subscription().ok_or(GroupError::UnknownServerError)?;
        if subscription.topics.len() > SUBSCRIBED_NAMES_MAX {
            return Err(GroupError::InvalidRequest);
        }
        let protocol_name = request.protocols.first().map(|protocol| protocol.name.clone());
        let rebalance_timeout = request.rebalance_timeout;
        let owned = by_id(&subscription.owned, topics);
        let metadata = self.said_in_join(&sender, request, subscription, classic);
        let said = Said { metadata, epoch: None, owned: Some(&owned) };
        let member_id = self.take_over(now, sender, said, topics).map_err(|refused| refused.error)?;
        self.deadlines.set(&member_id, Wait::Join, None);
        self.deadlines.set(&member_id, Wait::Sync, Some(now + rebalance_timeout));
        let generation_id = self.members.get(&member_id).map_or(0, |member| member.current.epoch);
        Ok(Joined {
            generation_id,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_string(),
            members: Vec::new(),
        })
    }

    /// One of the protocols is one that all members have that speak the classic protocol.
    fn supports(&self, request: &JoinGroup) -> bool {
        let others = || self.members.values().filter_map(|member| member.metadata.classic.as_ref());
        let has = |classic: &ClassicMetadata, name: &str| classic.protocols.iter().any(|own| own.name == name);
        request.protocol_type == CONSUMER
            && request.protocols.iter().any(|protocol| others().all(|other| has(other, &protocol.name)))
    }

    /// Who joins: a static member takes its predecessor's place, whichever protocol that spoke.
    fn joining(&self, request: &JoinGroup, is_new: bool) -> Result<Sender, GroupError> {
        let own = || Arc::from(request.member_id.as_str());
        let Some(instance_id) = &request.group_instance_id else {
            let known = self.member_key(&request.member_id);
            return Ok(known.map_or_else(|| Sender::New(own()), Sender::Member));
        };
        match self.static_members.get(instance_id) {
            None if is_new => Ok(Sender::New(own())),
            Some(before) if is_new => Ok(Sender::Returned { before: Arc::clone(before), after: own() }),
            None => Err(GroupError::UnknownMemberId),
            Some(holder) if **holder != *request.member_id => Err(GroupError::FencedInstanceId),
            Some(holder) => Ok(Sender::Member(Arc::clone(holder))),
        }
    }

    fn said_in_join(
        &self,
        sender: &Sender,
        request: JoinGroup,
        subscription: Subscription,
        classic: ClassicMetadata,
    ) -> MemberMetadata {
        let before = self.known(sender).map(|member| member.metadata.clone()).unwrap_or_default();
        MemberMetadata {
            instance_id: request.group_instance_id.or(before.instance_id),
            rack_id: subscription.rack_id.or(before.rack_id),
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout: request.rebalance_timeout,
            subscribed_topic_names: subscription.topics,
            subscribed_topic_regex: String::new(),
            server_assignor: before.server_assignor,
            classic: Some(classic),
        }
    }

    /// SyncGroup.
    ///
    /// # Errors
    /// As Kafka.
    pub(crate) fn sync_classic(
        &mut self,
        now: Instant,
        request: SyncGroup,
        topics: &TopicsView,
    ) -> Result<Synced, GroupError> {
        let (member_id, classic, member) =
            self.classic_member(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let protocol_name = classic.protocols.first().map(|protocol| protocol.name.as_str());
        let differs = |asked: &Option<String>, ours| asked.is_some() && asked.as_deref() != ours;
        if differs(&request.protocol_type, Some(CONSUMER)) || differs(&request.protocol_name, protocol_name) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        // Who has to give up partitions first has joined already, and is told what it keeps.
        if self.epochs.group > member.current.epoch && member.current.state != MemberState::UnrevokedPartitions {
            let until = now + member.metadata.rebalance_timeout;
            self.deadlines.begin(&member_id, Wait::Join, until);
            return Err(GroupError::RebalanceInProgress);
        }
        let assignment = Assigned::write(&by_name(&member.current.assigned, topics), classic.version());
        let session = now + classic.session_timeout;
        self.deadlines.set(&member_id, Wait::Sync, None);
        self.deadlines.set_session(&member_id, session);
        let SyncGroup { protocol_type, protocol_name, .. } = request;
        Ok(Synced { protocol_type, protocol_name, assignment })
    }

    /// Heartbeat: a member joins again if the group has changed, if it has to give up partitions, or if all that it
    /// waits for is free.
    ///
    /// # Errors
    /// As Kafka.
    pub(crate) fn heartbeat_classic(&mut self, now: Instant, request: &Heartbeat) -> Result<(), GroupError> {
        let (member_id, classic, member) =
            self.classic_member(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let (session, until) = (now + classic.session_timeout, now + member.metadata.rebalance_timeout);
        let has_to_join = member.current.epoch < self.epochs.group
            || match member.current.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => self.is_all_free_for(&member_id, member),
            };
        self.deadlines.set_session(&member_id, session);
        if has_to_join {
            self.deadlines.begin(&member_id, Wait::Join, until);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    fn is_all_free_for(&self, member_id: &str, member: &Member) -> bool {
        let held = |partition| self.holders.get(&partition).is_some_and(|holder| **holder != *member_id);
        let target = self.targets.get(member_id);
        !target.is_some_and(|target| target.split(&member.current.assigned).1.iter().any(held))
    }

    /// LeaveGroup, of members that leave and by administrators that put them out.
    pub(crate) fn leave_classic(
        &mut self,
        request: LeaveGroup,
        changes: &mut Vec<CoordinatorChange>,
    ) -> Vec<LeftMember> {
        let mut gone: Vec<Arc<str>> = Vec::new();
        let left = request.members.into_iter().map(|leaving| {
            let found = self.leaving(&leaving).and_then(|member_id| {
                if gone.contains(&member_id) { Err(GroupError::UnknownMemberId) } else { Ok(member_id) }
            });
            let error = found.map(|member_id| gone.push(member_id)).err();
            LeftMember { member_id: leaving.member_id, group_instance_id: leaving.group_instance_id, error }
        });
        let left = left.collect();
        if !gone.is_empty() {
            self.remove_members(&gone);
            self.write(changes);
        }
        left
    }

    fn leaving(&self, leaving: &LeavingMember) -> Result<Arc<str>, GroupError> {
        let Some(instance_id) = &leaving.group_instance_id else {
            return self.member_key(&leaving.member_id).ok_or(GroupError::UnknownMemberId);
        };
        let holder = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
        // An administrator need not know the member's id.
        let is_other = !leaving.member_id.is_empty() && **holder != *leaving.member_id;
        if is_other { Err(GroupError::FencedInstanceId) } else { Ok(Arc::clone(holder)) }
    }

    /// A member that speaks the classic protocol, in its generation.
    fn classic_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(Arc<str>, &ClassicMetadata, &Member), GroupError> {
        if let Some(instance_id) = instance_id {
            let holder = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
            if **holder != *member_id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let (key, member) = self.members.get_key_value(member_id).ok_or(GroupError::UnknownMemberId)?;
        let classic = member.metadata.classic.as_ref().ok_or(GroupError::UnknownMemberId)?;
        if generation_id != member.current.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        Ok((Arc::clone(key), classic, member))
    }
}
