//! JoinGroup: who may become a member, and whether the group has to rebalance for it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::member::{Member, owned, protocols_bytes};
use super::{ClassicGroup, Phase, answer_waiting, refuse_join};
use crate::groups::api::{GroupError, JoinGroup, JoinRefused, Joined, Protocol};
use crate::groups::effects::{Effects, Now, Reply, Ticket};
use crate::groups::embedded::{self, CONSUMER};
use crate::groups::limits::{GROUP_BYTES_MAX, MEMBER_BYTES_MAX, NEW_MEMBER_JOIN_TIMEOUT};

impl ClassicGroup {
    /// A member joins, or joins again. `fresh` names it if it has no id.
    pub(crate) fn join(&mut self, now: Now, request: JoinGroup, fresh: Uuid, ticket: Ticket, effects: &mut Effects) {
        if let Err(refused) = self.try_join(now, request, fresh, ticket, effects) {
            effects.reply(ticket, Reply::Join(Err(refused)));
        }
    }

    fn try_join(
        &mut self,
        now: Now,
        request: JoinGroup,
        fresh: Uuid,
        ticket: Ticket,
        effects: &mut Effects,
    ) -> Result<(), JoinRefused> {
        let refused = |error| Err(JoinRefused { error, member_id: request.member_id.clone() });
        let settings = &self.settings;
        if !(settings.session_timeout_min..=settings.session_timeout_max).contains(&request.session_timeout) {
            return refused(GroupError::InvalidSessionTimeout);
        }
        if !self.has_room_for(&request.member_id) {
            self.remove(&request.member_id, effects);
            return Err(JoinRefused { error: GroupError::GroupMaxSizeReached, member_id: String::new() });
        }
        if let Err(error) = self.check_bytes(&request) {
            return refused(error);
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            return refused(GroupError::InconsistentGroupProtocol);
        }
        if request.member_id.is_empty() {
            return self.join_new(now, request, fresh, ticket, effects);
        }
        if self.pending.contains_key(&request.member_id) {
            // Such an id is given to dynamic members only.
            if request.group_instance_id.is_some() {
                return refused(GroupError::UnknownServerError);
            }
            let member_id = request.member_id.clone();
            self.add(now, member_id, request, ticket, effects);
            return Ok(());
        }
        if let Err(error) = self.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
            return refused(error);
        }
        self.join_again(now, request, ticket, effects);
        Ok(())
    }

    /// During a rebalance those that wait are counted: where the bound was lowered, the last to join are put out.
    fn has_room_for(&self, member_id: &str) -> bool {
        let known = self.members.get(member_id);
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                let joining = self.members.values().filter(|member| member.joining.is_some()).count();
                known.is_some_and(|member| member.joining.is_some()) || joining < self.settings.group_size_max
            }
            Phase::Completing { .. } | Phase::Stable { .. } => {
                known.is_some() || self.members.len() < self.settings.group_size_max
            }
        }
    }

    fn check_bytes(&self, request: &JoinGroup) -> Result<(), GroupError> {
        let names = request.client_id.len() + request.group_instance_id.as_ref().map_or(0, String::len);
        let own = names + request.member_id.len() + protocols_bytes(&request.protocols);
        if own > MEMBER_BYTES_MAX {
            return Err(GroupError::UnknownServerError);
        }
        let others = self.members.iter().filter(|(member_id, _)| **member_id != request.member_id);
        let total = others.map(|(_, member)| member.bytes()).sum::<usize>() + own;
        if total > GROUP_BYTES_MAX { Err(GroupError::GroupMaxSizeReached) } else { Ok(()) }
    }

    /// One of the protocols is one that all members have.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if matches!(self.phase, Phase::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let common = |protocol: &Protocol| self.members.values().all(|member| member.has_protocol(&protocol.name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(common)
    }

    fn join_new(
        &mut self,
        now: Now,
        request: JoinGroup,
        fresh: Uuid,
        ticket: Ticket,
        effects: &mut Effects,
    ) -> Result<(), JoinRefused> {
        let name = request.group_instance_id.as_ref().unwrap_or(&request.client_id);
        let member_id = format!("{name}-{fresh}");
        let existing = request.group_instance_id.as_ref().and_then(|id| self.static_members.get(id)).cloned();
        if let Some(old_member_id) = existing {
            self.replace_static(now, request, &old_member_id, member_id, ticket, effects);
        } else if request.group_instance_id.is_some() || !request.require_known_member_id {
            self.add(now, member_id, request, ticket, effects);
        } else {
            if self.pending.len() >= self.settings.group_size_max {
                return Err(JoinRefused { error: GroupError::GroupMaxSizeReached, member_id: String::new() });
            }
            let expires = now.instant + request.session_timeout;
            self.pending.insert(member_id.clone(), expires);
            self.wake_at(expires);
            return Err(JoinRefused { error: GroupError::MemberIdRequired, member_id });
        }
        Ok(())
    }

    fn add(&mut self, now: Now, member_id: String, request: JoinGroup, ticket: Ticket, effects: &mut Effects) {
        let reason = request.reason.clone();
        if let Phase::Preparing { initial: Some(initial), .. } = &mut self.phase {
            initial.extended = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        if let Some(instance_id) = &request.group_instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        self.pending.remove(&member_id);
        let mut member = Member::new(request, ticket);
        let expires = now.instant + NEW_MEMBER_JOIN_TIMEOUT;
        member.expires = Some(expires);
        self.wake_at(expires);
        self.members.insert(member_id, member);
        self.rebalance_or_complete(now, "a new member joins", reason.as_deref(), effects);
    }

    fn join_again(&mut self, now: Now, request: JoinGroup, ticket: Ticket, effects: &mut Effects) {
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return; // validated
        };
        let changed = member.protocols != request.protocols;
        let rejoins = match self.phase {
            Phase::Empty => return refuse_join(ticket, GroupError::UnknownMemberId, &request.member_id, effects),
            Phase::Preparing { .. } => true,
            // Unchanged, it did not get the answer: it is told again.
            Phase::Completing { .. } => changed,
            // A leader joins again where the assignment should change though no member did, as with new partitions.
            Phase::Stable { .. } => changed || self.leader.as_deref() == Some(&request.member_id),
        };
        if rejoins {
            // Of a request that is repeated while the first one waits, the first is on a connection that is gone.
            if let Some(earlier) = member.joining.replace(ticket) {
                refuse_join(earlier, GroupError::RebalanceInProgress, &request.member_id, effects);
            }
            member.protocols = owned(&request.protocols);
            member.rebalance_timeout = request.rebalance_timeout;
            member.session_timeout = request.session_timeout;
            self.rebalance_or_complete(now, "a member joins again", request.reason.as_deref(), effects);
        } else {
            let shows_members = matches!(self.phase, Phase::Completing { .. }) && self.is_leader(&request.member_id);
            let joined = self.joined(request.member_id, shows_members);
            effects.reply(ticket, Reply::Join(Ok(joined)));
        }
    }

    /// A static member starts over: it takes its predecessor's place, and in a stable group its assignment too.
    fn replace_static(
        &mut self,
        now: Now,
        request: JoinGroup,
        old_member_id: &str,
        member_id: String,
        ticket: Ticket,
        effects: &mut Effects,
    ) {
        let Some(mut member) = self.members.remove(old_member_id) else {
            return; // every instance id is a member's
        };
        answer_waiting(&mut member, GroupError::FencedInstanceId, old_member_id, effects);
        let old_leader = self.leader.clone();
        if self.is_leader(old_member_id) {
            self.leader = Some(member_id.clone());
        }
        let same_topics = self.same_topics(&member.protocols, &request.protocols);
        member.protocols = owned(&request.protocols);
        member.rebalance_timeout = request.rebalance_timeout;
        member.session_timeout = request.session_timeout;
        member.is_new = false;
        if let Some(instance_id) = request.group_instance_id {
            self.static_members.insert(instance_id, member_id.clone());
        }
        self.members.insert(member_id.clone(), member);
        self.extend_session(now, &member_id);

        let stays = matches!(self.phase, Phase::Stable { .. })
            && same_topics
            && self.protocol_name.is_some()
            && self.select_protocol() == self.protocol_name;
        if stays {
            self.store(effects);
            let is_leader = self.is_leader(&member_id);
            let mut joined = self.joined(member_id, is_leader && request.supports_skipping_assignment);
            if request.supports_skipping_assignment {
                joined.skip_assignment = is_leader;
            } else {
                // Told that it is a follower, a leader that cannot skip the assignment asks for the one it has.
                joined.leader = old_leader.unwrap_or_default();
            }
            effects.reply(ticket, Reply::Join(Ok(joined)));
        } else {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.joining = Some(ticket);
            }
            self.rebalance_or_complete(now, "a static member starts over", request.reason.as_deref(), effects);
        }
    }

    /// Whether a consumer reads what its predecessor read; of other protocol types nothing is known, and it is taken to.
    fn same_topics(&self, old: &[Protocol], new: &[Protocol]) -> bool {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return true;
        }
        let topics = |protocols: &[Protocol]| {
            let chosen = protocols.iter().find(|protocol| Some(&protocol.name) == self.protocol_name.as_ref());
            chosen.and_then(|protocol| embedded::topics(&protocol.metadata))
        };
        topics(old) == topics(new)
    }

    /// The answer in the current generation.
    pub(super) fn joined(&self, member_id: String, shows_members: bool) -> Joined {
        Joined {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id,
            members: if shows_members { self.joined_members() } else { Vec::new() },
        }
    }

    /// Of the protocols that all members have, the one that most of them prefer.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let common = |name: &&str| self.members.values().all(|member| member.has_protocol(name));
        let candidates: BTreeSet<&str> =
            first.protocols.iter().map(|protocol| protocol.name.as_str()).filter(common).collect();
        let mut votes = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_insert(0_usize) += 1;
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned())
    }
}
