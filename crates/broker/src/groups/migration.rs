//! A group with members goes from one protocol to the other (KIP-848, "online migration").
//!
//! A classic group of consumers becomes a KIP-848 group when somebody joins it that way: its members stay, with what they have,
//! and go on with JoinGroup, SyncGroup and Heartbeat, in which they are told what the coordinator assigns. When nobody is
//! left in it that speaks KIP-848 it becomes a classic group again, and its members are asked to join it. Either is one
//! decision, whose rows are written together. What a group is in between is a [`Migration`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::api::{GroupError, GroupState, JoinGroup, JoinRefused, Protocol};
use super::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRefused};
use super::classic::ClassicGroup;
use super::consumer::{ConsumerGroup, ConsumerSettings};
use super::effects::{Effects, Reply, Ticket};
use super::group::{Context, Group, Members};

/// The members of a group of consumers on their way to the other protocol.
#[derive(Debug)]
pub(crate) struct Migration {
    /// The generation, or the epoch of the target assignment.
    pub(crate) generation: i32,
    pub(crate) members: Vec<Migrant>,
}

/// One of them: it speaks the classic protocol, before and after.
#[derive(Debug)]
pub(crate) struct Migrant {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) protocols: Vec<Protocol>,
    /// What it is assigned.
    pub(crate) assignment: Bytes,
}

/// Between which protocols groups with members may go (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Not at all.
    Disabled,
    /// From the classic protocol to KIP-848.
    Upgrade,
    /// From KIP-848 to the classic protocol.
    Downgrade,
    /// Both ways.
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Bidirectional, Self::Upgrade, Self::Downgrade, Self::Disabled];

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Bidirectional => "bidirectional",
        }
    }

    fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Group {
    /// Somebody joins a classic group by ConsumerGroupHeartbeat: if it may, it is a KIP-848 group from now on.
    pub(super) fn join_as_consumer(
        &mut self,
        context: &Context<'_>,
        settings: ConsumerSettings,
        heartbeat: &ConsumerHeartbeat,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        let Members::Classic(classic) = &mut self.members else {
            return Err(GroupError::UnknownServerError.into()); // asked of classic groups only
        };
        if heartbeat.member_epoch != 0 {
            return Err(HeartbeatRefused::not_consumer(&self.group_id));
        }
        let mut consumer = if classic.state() == GroupState::Empty {
            ConsumerGroup::new(self.group_id.clone(), settings)
        } else {
            let policy = context.settings.migration_policy;
            upgraded(classic, policy, settings, context)
                .map_err(|why| HeartbeatRefused::cannot_upgrade(&self.group_id, why))?
        };
        let mut changes = Vec::new();
        let answer = consumer.heartbeat(context.now.instant, heartbeat, context.topics, &mut changes)?;
        if classic.state() != GroupState::Empty {
            tracing::info!(group = self.group_id, "a classic group becomes a KIP-848 group");
        }
        classic.give_up(effects);
        effects.changes.extend(changes);
        self.members = Members::Consumer(Box::new(consumer));
        Ok(answer)
    }

    /// A member joins a KIP-848 group with members by JoinGroup.
    pub(super) fn join_as_classic(
        &mut self,
        context: &Context<'_>,
        join: JoinGroup,
        fresh: uuid::Uuid,
        ticket: Ticket,
        effects: &mut Effects,
    ) {
        let Members::Consumer(consumer) = &mut self.members else { return };
        let had_consumers = consumer.has_consumers();
        let bounds = context.settings.session_timeout_min..=context.settings.session_timeout_max;
        let joined = if bounds.contains(&join.session_timeout) {
            consumer.join_classic(context.now.instant, join, fresh, context.topics, &mut effects.changes)
        } else {
            Err(JoinRefused { error: GroupError::InvalidSessionTimeout, member_id: join.member_id })
        };
        // A static member may have taken the place of the last one that spoke KIP-848.
        match joined {
            Ok(joined) if had_consumers && self.may_downgrade(context) => {
                if self.downgrade(context, Some((&joined.member_id, ticket)), effects) {
                    effects.reply(ticket, Reply::Join(Ok(joined)));
                }
            }
            joined => effects.reply(ticket, Reply::Join(joined)),
        }
    }

    /// After members went, of whom some spoke KIP-848 if `had_consumers`: if none is left that does, the others go on in a
    /// classic group, which they are asked to join.
    pub(super) fn downgrade_if_due(&mut self, had_consumers: bool, context: &Context<'_>, effects: &mut Effects) {
        if had_consumers && self.may_downgrade(context) {
            self.downgrade(context, None, effects);
        }
    }

    pub(super) fn has_consumers(&self) -> bool {
        matches!(&self.members, Members::Consumer(consumer) if consumer.has_consumers())
    }

    fn may_downgrade(&self, context: &Context<'_>) -> bool {
        let Members::Consumer(consumer) = &self.members else { return false };
        !consumer.is_empty()
            && !consumer.has_consumers()
            && context.settings.migration_policy.allows_downgrade()
            && consumer.size() <= context.settings.group_size_max
    }

    /// Makes a classic group of it, in which all members have to join again, unless one just did and everybody has what is
    /// theirs. Whether that one has joined, or else waits for the others.
    fn downgrade(&mut self, context: &Context<'_>, joining: Option<(&str, Ticket)>, effects: &mut Effects) -> bool {
        let Members::Consumer(consumer) = &self.members else { return true };
        let stays = joining.is_some() && consumer.state() == GroupState::Stable;
        let migration = consumer.migration(context.topics);
        let (group_id, settings) = (self.group_id.clone(), Arc::clone(context.settings));
        let Some(mut classic) = ClassicGroup::migrated(group_id, settings, context.now, migration) else {
            return true; // no protocol that all have: it stays as it is
        };
        tracing::info!(group = self.group_id, "a KIP-848 group becomes a classic group");
        consumer.delete(&mut effects.changes);
        if stays {
            classic.store(effects);
        } else {
            classic.ask_to_join(context.now, joining, effects);
        }
        self.members = Members::Classic(Box::new(classic));
        stays
    }
}

fn upgraded(
    classic: &ClassicGroup,
    policy: MigrationPolicy,
    settings: ConsumerSettings,
    context: &Context<'_>,
) -> Result<ConsumerGroup, &'static str> {
    if !policy.allows_upgrade() {
        return Err("online upgrade is disabled");
    }
    if !classic.is_of_consumers() {
        return Err("the group does not use the consumer embedded protocol");
    }
    let migration = classic.migration();
    if migration.members.len() > settings.max_size {
        return Err("the group size exceeds the consumer group maximum size");
    }
    ConsumerGroup::migrated(classic.group_id(), settings, context.now.instant, migration, context.topics)
}

#[cfg(test)]
#[path = "migration_tests/mod.rs"]
mod tests;
