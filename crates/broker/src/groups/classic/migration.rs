//! A classic group that was a KIP-848 group, or is about to be one.

use std::sync::Arc;

use super::member::Member;
use super::{ClassicGroup, answer_waiting};
use crate::groups::api::GroupError;
use crate::groups::effects::{Effects, Now, Ticket};
use crate::groups::embedded::CONSUMER;
use crate::groups::migration::{Migrant, Migration};
use crate::settings::GroupSettings;

impl ClassicGroup {
    pub(crate) fn group_id(&self) -> String {
        self.group_id.clone()
    }

    /// Whether its members speak the protocol of consumers.
    pub(crate) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Its members, except those that do not know yet that they are.
    pub(crate) fn migration(&self) -> Migration {
        let told = self.members.iter().filter(|(_, member)| !member.is_new);
        let members = told.map(|(member_id, member)| Migrant {
            member_id: member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        });
        Migration { generation: self.generation, members: members.collect() }
    }

    /// It is a group of the other protocol now: whoever waits is asked to join that, and the row goes.
    pub(crate) fn give_up(&mut self, effects: &mut Effects) {
        for (member_id, member) in &mut self.members {
            answer_waiting(member, GroupError::RebalanceInProgress, member_id, effects);
        }
        self.delete(effects);
    }

    /// What a KIP-848 group becomes: stable in its generation, and not written yet. `None`: its members have no protocol in common.
    pub(crate) fn migrated(
        group_id: String,
        settings: Arc<GroupSettings>,
        now: Now,
        migration: Migration,
    ) -> Option<Self> {
        let mut group = Self::new(group_id, settings, now);
        group.generation = migration.generation;
        group.protocol_type = Some(CONSUMER.to_owned());
        for migrant in migration.members {
            if let Some(instance_id) = &migrant.group_instance_id {
                group.static_members.insert(instance_id.clone(), migrant.member_id.clone());
            }
            group.leader.get_or_insert_with(|| migrant.member_id.clone());
            group.members.insert(migrant.member_id.clone(), Member::migrated(migrant));
        }
        group.protocol_name = Some(group.select_protocol()?);
        group.begin(now, false);
        Some(group)
    }

    /// A rebalance begins, in which one member may have joined already; should this coordinator end before the group is
    /// written again, it begins anew with the next one.
    pub(crate) fn ask_to_join(&mut self, now: Now, joining: Option<(&str, Ticket)>, effects: &mut Effects) {
        self.store_as(true, effects);
        if let Some((member_id, ticket)) = joining
            && let Some(member) = self.members.get_mut(member_id)
        {
            member.joining = Some(ticket);
        }
        self.rebalance_or_complete(now, "it was a KIP-848 group", None, effects);
    }
}

impl Member {
    fn migrated(migrant: Migrant) -> Self {
        Self {
            group_instance_id: migrant.group_instance_id,
            client_id: migrant.client_id,
            client_host: migrant.client_host,
            rebalance_timeout: migrant.rebalance_timeout,
            session_timeout: migrant.session_timeout,
            protocols: migrant.protocols,
            assignment: migrant.assignment,
            is_new: false,
            joining: None,
            syncing: None,
            owes_sync: false,
            expires: None,
        }
    }
}
