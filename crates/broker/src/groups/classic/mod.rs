//! A group of the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), as Apache Kafka 4's.
//!
//! Pure: no I/O, no clock. A decision takes the time, changes the state at once, and says by [`Effects`] whom to answer and
//! what to write; an answer leaves when what was written before it is durable, and where writing fails the shard forgets
//! the group and loads it again. docs/groups.md has the state machine in a table.
//!
//! What is kept over a fail-over is the group as of its last complete rebalance ([`row`]): its members go on in their
//! generation, and those that were on their way to the next one find an unknown generation's error and join again.
//!
//! Always true: a request is answered once; a state in which somebody waits has a deadline; a member that does not wait
//! has one of its own.

mod checks;
mod join;
mod member;
mod migration;
mod rebalance;
mod row;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use segment::TimestampMs;
use tokio::time::Instant;

use self::member::Member;
use super::api::{
    DescribedGroup, DescribedMember, GroupError, GroupState, GroupType, JoinRefused, JoinedMember, ListedGroup,
};
use super::effects::{Effects, Now, Reply, Ticket};
use crate::settings::GroupSettings;
pub(crate) use checks::OffsetExpiry;
pub(crate) use member::{owned, protocols_bytes};

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    group_id: String,
    settings: Arc<GroupSettings>,
    phase: Phase,
    /// When it came into its state.
    since: TimestampMs,
    generation: i32,
    /// Of its members, or of those it had; `None` for a group that only has offsets.
    protocol_type: Option<String>,
    /// What the members of this generation divide their work by.
    protocol_name: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<String, String>,
    /// Ids that were given out to join with, and until when.
    pending: BTreeMap<String, Instant>,
    /// What the members of this generation read; `None` where it cannot be known.
    subscribed_topics: Option<BTreeSet<String>>,
    /// Not later than the first deadline: deadlines that moved away are found out when this one comes.
    wake: Option<Instant>,
    /// A row of it was written, or is on its way.
    stored: bool,
}

/// The state, with its deadline.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Empty,
    /// Members join, until all have or the deadline passes.
    Preparing {
        deadline: Instant,
        initial: Option<InitialDelay>,
    },
    /// Everybody was told the generation; the leader's assignment is awaited.
    Completing {
        deadline: Instant,
    },
    /// Assigned. Until the deadline some have not asked yet what to.
    Stable {
        sync_deadline: Option<Instant>,
    },
}

/// Of the first rebalance of an empty group: it is put off while members keep coming.
#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    /// The one that runs.
    delay: Duration,
    /// How much may still follow it, with it counted.
    remaining: Duration,
    /// Somebody came since it began.
    extended: bool,
}

impl ClassicGroup {
    /// An empty group that nobody knows of yet.
    pub(crate) fn new(group_id: String, settings: Arc<GroupSettings>, now: Now) -> Self {
        Self {
            group_id,
            settings,
            phase: Phase::Empty,
            since: now.timestamp,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            subscribed_topics: None,
            wake: None,
            stored: false,
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing { .. } => GroupState::CompletingRebalance,
            Phase::Stable { .. } => GroupState::Stable,
        }
    }

    /// Nobody is or is about to be in it and it has no row: without offsets it can be forgotten.
    pub(crate) fn is_unused(&self) -> bool {
        matches!(self.phase, Phase::Empty) && self.pending.is_empty() && !self.stored
    }

    /// Call [`ClassicGroup::tick`] then; earlier does no harm.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// What its members take in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let of_member = |(id, member): (&String, &Member)| {
            size_of::<Member>() + 2 * id.len() + member.bytes() + member.assignment.len()
        };
        let pending = self.pending.keys().map(|id| id.len() + size_of::<(String, Instant)>());
        self.members.iter().map(of_member).chain(pending).sum()
    }

    pub(crate) fn has_member(&self, member_id: &str, instance_id: Option<&str>) -> bool {
        self.members.contains_key(member_id) || instance_id.is_some_and(|id| self.static_members.contains_key(id))
    }

    pub(crate) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.group_id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state(),
            group_type: GroupType::Classic,
        }
    }

    /// What members said is told in `Stable` only, as Kafka does; what they were assigned, as long as it is not taken away.
    pub(crate) fn describe(&self) -> DescribedGroup {
        let stable = matches!(self.phase, Phase::Stable { .. });
        let protocol = self.protocol_name.as_deref().filter(|_| stable);
        let member = |(member_id, member): (&String, &Member)| DescribedMember {
            member_id: member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
        };
        DescribedGroup {
            group_id: self.group_id.clone(),
            error: None,
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// As the leader sees them.
    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let joined = |(member_id, member): (&String, &Member)| JoinedMember {
            member_id: member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(joined).collect()
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The longest of its members': how long a rebalance waits.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// The member exists, and is the one that has the instance id.
    fn validate_member(&self, member_id: &str, group_instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = group_instance_id {
            let holder = self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
            if holder != member_id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// A sign of life.
    fn extend_session(&mut self, now: Now, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            let expires = now.instant + member.session_timeout;
            member.expires = Some(expires);
            self.wake_at(expires);
        }
    }

    fn wake_at(&mut self, deadline: Instant) {
        self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
    }

    fn enter(&mut self, now: Now, phase: Phase) {
        self.phase = phase;
        self.since = now.timestamp;
        self.wake = [self.wake, phase.deadline()].into_iter().flatten().min();
    }

    /// Takes a member out, whatever it is; if it waits it is told that it is not known any more.
    fn remove(&mut self, member_id: &str, effects: &mut Effects) {
        self.pending.remove(member_id);
        if let Some(mut member) = self.members.remove(member_id) {
            answer_waiting(&mut member, GroupError::UnknownMemberId, "", effects);
            if let Some(instance_id) = &member.group_instance_id {
                self.static_members.remove(instance_id);
            }
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}

impl Phase {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Empty => None,
            Self::Preparing { deadline, .. } | Self::Completing { deadline } => Some(deadline),
            Self::Stable { sync_deadline } => sync_deadline,
        }
    }
}

/// Answers a member's requests that wait.
fn answer_waiting(member: &mut Member, error: GroupError, member_id: &str, effects: &mut Effects) {
    if let Some(ticket) = member.joining.take() {
        refuse_join(ticket, error, member_id, effects);
    }
    if let Some(ticket) = member.syncing.take() {
        effects.reply(ticket, Reply::Sync(Err(error)));
    }
}

fn refuse_join(ticket: Ticket, error: GroupError, member_id: &str, effects: &mut Effects) {
    effects.reply(ticket, Reply::Join(Err(JoinRefused { error, member_id: member_id.to_owned() })));
}

#[cfg(test)]
mod tests;
