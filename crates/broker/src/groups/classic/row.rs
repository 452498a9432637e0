//! The row of a classic group: its last complete generation, with everything that its members go on with.

use std::sync::Arc;

use metadata::{CoordinatorChange, CoordinatorKey};

use super::member::Member;
use super::{ClassicGroup, Phase};
use crate::groups::effects::{Effects, Now};
use crate::groups::rows::{KIND_CLASSIC_GROUP, RowError, RowReader, RowWriter};
use crate::settings::GroupSettings;

/// The layout.
const VERSION: u8 = 0;
/// The same layout, of a group whose members have to join again: one that was of the other protocol a moment ago.
const VERSION_REBALANCES: u8 = 1;

impl ClassicGroup {
    /// Writes the row.
    pub(crate) fn store(&mut self, effects: &mut Effects) {
        self.store_as(false, effects);
    }

    /// Writes the row; `rebalances`: its members have to join again.
    pub(super) fn store_as(&mut self, rebalances: bool, effects: &mut Effects) {
        self.stored = true;
        effects.changes.push(CoordinatorChange { key: key(&self.group_id), value: Some(self.to_row(rebalances)) });
    }

    /// Deletes the row. The group is not used any more.
    pub(crate) fn delete(&self, effects: &mut Effects) {
        if self.stored {
            effects.changes.push(CoordinatorChange { key: key(&self.group_id), value: None });
        }
    }

    pub(super) fn to_row(&self, rebalances: bool) -> bytes::Bytes {
        let mut row = RowWriter::new(if rebalances { VERSION_REBALANCES } else { VERSION });
        row.i32(self.generation);
        row.optional_string(self.protocol_type.as_deref());
        row.optional_string(self.protocol_name.as_deref());
        row.optional_string(self.leader.as_deref());
        row.i64(self.since);
        row.count(self.members.len());
        for (member_id, member) in &self.members {
            row.string(member_id);
            row.optional_string(member.group_instance_id.as_deref());
            row.string(&member.client_id);
            row.string(&member.client_host);
            row.duration(member.rebalance_timeout);
            row.duration(member.session_timeout);
            row.bytes(&member.assignment);
            row.protocols(&member.protocols);
        }
        row.finish()
    }

    /// The group as its row says, its sessions beginning now.
    pub(crate) fn load(
        group_id: String,
        settings: Arc<GroupSettings>,
        now: Now,
        value: &[u8],
    ) -> Result<Self, RowError> {
        let (mut row, version) = RowReader::new(value, VERSION_REBALANCES)?;
        let mut group = Self::new(group_id, settings, now);
        group.stored = true;
        group.generation = row.i32()?;
        group.protocol_type = row.optional_string()?;
        group.protocol_name = row.optional_string()?;
        group.leader = row.optional_string()?;
        group.since = row.i64()?;
        for _ in 0..row.count()? {
            let member_id = row.string()?;
            let member = read_member(&mut row)?;
            if let Some(instance_id) = &member.group_instance_id
                && group.static_members.insert(instance_id.clone(), member_id.clone()).is_some()
            {
                return Err(RowError::Contradiction);
            }
            if group.members.insert(member_id, member).is_some() {
                return Err(RowError::Contradiction);
            }
        }
        row.end()?;
        group.check_loaded()?;
        group.begin(now, version == VERSION_REBALANCES);
        Ok(group)
    }

    /// What the state machine takes for granted.
    fn check_loaded(&self) -> Result<(), RowError> {
        let leader_exists = self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader));
        let name = self.protocol_name.as_deref();
        let has_protocol = |member: &Member| name.is_some_and(|name| member.has_protocol(name));
        let complete = self.members.is_empty()
            || self.leader.is_some() && self.protocol_type.is_some() && self.members.values().all(has_protocol);
        if leader_exists && complete && self.generation >= 0 { Ok(()) } else { Err(RowError::Contradiction) }
    }

    pub(super) fn begin(&mut self, now: Now, rebalances: bool) {
        self.note_subscribed_topics();
        if self.members.is_empty() {
            return;
        }
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            self.extend_session(now, &member_id);
        }
        self.phase = Phase::Stable { sync_deadline: None };
        if rebalances || self.members.len() > self.settings.group_size_max {
            // If the bound was lowered, a rebalance puts out those that join last.
            let deadline = now.instant + self.rebalance_timeout();
            self.enter(now, Phase::Preparing { deadline, initial: None });
        }
    }
}

fn key(group_id: &str) -> CoordinatorKey {
    CoordinatorKey { owner: group_id.to_owned(), kind: KIND_CLASSIC_GROUP, item: bytes::Bytes::new() }
}

fn read_member(row: &mut RowReader<'_>) -> Result<Member, RowError> {
    let group_instance_id = row.optional_string()?;
    let client_id = row.string()?;
    let client_host = row.string()?;
    let rebalance_timeout = row.duration()?;
    let session_timeout = row.duration()?;
    let assignment = row.bytes()?;
    let protocols = row.protocols()?;
    Ok(Member {
        group_instance_id,
        client_id,
        client_host,
        rebalance_timeout,
        session_timeout,
        protocols,
        assignment,
        is_new: false,
        joining: None,
        syncing: None,
        owes_sync: false,
        expires: None,
    })
}
