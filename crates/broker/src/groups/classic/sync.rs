//! SyncGroup, Heartbeat and LeaveGroup.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::debug;

use super::{ClassicGroup, Phase};
use crate::groups::api::{GroupError, Heartbeat, LeaveGroup, LeavingMember, LeftMember, SyncGroup, Synced};
use crate::groups::effects::{Effects, Now, Reply, Ticket};
use crate::groups::limits::ASSIGNMENT_BYTES_MAX;

impl ClassicGroup {
    /// A member asks what it is assigned; the leader brings what everybody is.
    pub(crate) fn sync(&mut self, now: Now, request: SyncGroup, ticket: Ticket, effects: &mut Effects) {
        if let Err(error) = self.validate_sync(&request) {
            return effects.reply(ticket, Reply::Sync(Err(error)));
        }
        let is_leader = self.is_leader(&request.member_id);
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return; // validated
        };
        member.owes_sync = false;
        match self.phase {
            Phase::Empty | Phase::Preparing { .. } => {
                effects.reply(ticket, Reply::Sync(Err(GroupError::RebalanceInProgress)));
            }
            Phase::Completing { .. } => {
                // Of a request that is repeated while the first one waits, the first is on a connection that is gone.
                if let Some(earlier) = member.syncing.replace(ticket) {
                    effects.reply(earlier, Reply::Sync(Err(GroupError::RebalanceInProgress)));
                }
                if is_leader {
                    self.assign(now, request.assignments, effects);
                }
            }
            Phase::Stable { .. } => {
                let assignment = member.assignment.clone();
                self.extend_session(now, &request.member_id);
                self.end_sync_if_all_did();
                effects.reply(ticket, Reply::Sync(Ok(self.synced(assignment))));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroup) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs =
            |asked: &Option<String>, ours: &Option<String>| asked.is_some() && ours.is_some() && asked != ours;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// The leader's assignment: it is written, and given to all who wait; a member it left out has nothing to do.
    fn assign(&mut self, now: Now, assignments: Vec<(String, Bytes)>, effects: &mut Effects) {
        let total: usize = assignments.iter().map(|(_, assignment)| assignment.len()).sum();
        if total > ASSIGNMENT_BYTES_MAX {
            self.abandon_sync(now, GroupError::UnknownServerError, effects);
            return self.rebalance_or_complete(now, "the assignment is too large", None, effects);
        }
        let assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (member_id, member) in &mut self.members {
            // Copied: a slice would keep the whole request in memory.
            member.assignment =
                assignments.get(member_id).map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
        let sync_deadline = self.phase.deadline();
        self.enter(now, Phase::Stable { sync_deadline });
        self.end_sync_if_all_did();
        self.store(effects);
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            if let Some(ticket) = member.syncing.take() {
                let assignment = member.assignment.clone();
                effects.reply(ticket, Reply::Sync(Ok(self.synced(assignment))));
                self.extend_session(now, &member_id);
            }
        }
    }

    fn end_sync_if_all_did(&mut self) {
        if let Phase::Stable { sync_deadline } = &mut self.phase
            && self.members.values().all(|member| !member.owes_sync)
        {
            *sync_deadline = None;
        }
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced { protocol_type: self.protocol_type.clone(), protocol_name: self.protocol_name.clone(), assignment }
    }

    /// A member is alive, and hears whether it has to join again.
    pub(crate) fn heartbeat(&mut self, now: Now, request: &Heartbeat) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.extend_session(now, &request.member_id);
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMemberId),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(()),
        }
    }

    /// Members leave, or are put out by an administrator.
    pub(crate) fn leave(
        &mut self,
        now: Now,
        request: LeaveGroup,
        effects: &mut Effects,
    ) -> Result<Vec<LeftMember>, GroupError> {
        let mut left = Vec::with_capacity(request.members.len());
        let members_before = self.members.len();
        for member in request.members {
            let error = self.leave_one(&member, effects).err();
            debug!(group = self.group_id, member.member_id, member.reason, ?error, "leaves");
            left.push(LeftMember { member_id: member.member_id, group_instance_id: member.group_instance_id, error });
        }
        let somebody = left.iter().any(|member| member.error.is_none());
        // An id that was given out and given back changes nothing in a group that is not waiting for it.
        if somebody && (self.members.len() < members_before || matches!(self.phase, Phase::Preparing { .. })) {
            self.rebalance_or_complete(now, "members left", None, effects);
        }
        Ok(left)
    }

    fn leave_one(&mut self, member: &LeavingMember, effects: &mut Effects) -> Result<(), GroupError> {
        let instance_id = member.group_instance_id.as_deref();
        let member_id = if member.member_id.is_empty() {
            let holder = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            holder.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            if !self.pending.contains_key(&member.member_id) {
                self.validate_member(&member.member_id, instance_id)?;
            }
            member.member_id.clone()
        };
        self.remove(&member_id, effects);
        Ok(())
    }
}
