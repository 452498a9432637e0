//! Sessions, leases and producer ids in the in-memory model.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use segment::{LeaderEpoch, PartitionKey, ProducerId, SessionId, TimestampMs};

use super::{MemoryStore, Session, State};
use crate::{
    AgentRow, Changes, ClusterInfo, LaneReport, LeaseHolder, LeaseRow, OpenedSession, Registration, Sessions,
    StoreError,
};

#[async_trait]
impl Sessions for MemoryStore {
    async fn cluster(&self) -> Result<ClusterInfo, StoreError> {
        let state = self.begin()?;
        Ok(ClusterInfo { cluster_id: self.cluster_id, empty: state.sessions.is_empty() })
    }

    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError> {
        let database_time = (self.clock)();
        self.change(|state| {
            let next_node = state.node_ids.values().max().map_or(1, |highest| highest + 1);
            let node_id = *state.node_ids.entry(registration.agent_id.clone()).or_insert(next_node);
            let mut fenced = None;
            for (id, former) in &mut state.sessions {
                if former.active && former.node_id == node_id {
                    former.active = false;
                    fenced = Some(*id);
                }
            }
            let session = SessionId(state.sessions.keys().next_back().map_or(1, |last| last.0 + 1));
            let row = Session {
                registration: registration.clone(),
                node_id,
                active: true,
                renewals: 0,
                suspected: false,
                lane: LaneReport::default(),
                last_collected: -1,
            };
            state.sessions.insert(session, row);
            state.next_version();
            Ok(OpenedSession { session, node_id, fenced, database_time })
        })
    }

    async fn renew_session(&self, session: SessionId, lane: LaneReport) -> Result<TimestampMs, StoreError> {
        let now = (self.clock)();
        let mut state = self.begin()?;
        let row = state.active_session(session)?;
        row.renewals += 1;
        row.suspected = false;
        row.lane = lane;
        Ok(now)
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        self.change(|state| {
            let row = state.active_session(session)?;
            if row.registration != *registration {
                row.registration = registration.clone();
                state.next_version();
            }
            Ok(())
        })
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.change(|state| {
            state.end_session(session);
            Ok(())
        })
    }

    async fn suspect_session(&self, session: SessionId, target: SessionId) -> Result<(), StoreError> {
        self.change(|state| {
            state.require_active(session)?;
            if let Ok(row) = state.active_session(target)
                && !std::mem::replace(&mut row.suspected, true)
            {
                state.next_version();
            }
            Ok(())
        })
    }

    async fn fence_session(&self, session: SessionId, target: SessionId, renewals: i64) -> Result<bool, StoreError> {
        self.run_commit(|state| {
            state.require_active(session)?;
            if state.active_session(target).is_ok_and(|row| row.renewals != renewals) {
                return Ok(false);
            }
            state.end_session(target);
            Ok(true)
        })
    }

    async fn changes_since(&self, version: i64) -> Result<Changes, StoreError> {
        let state = self.begin()?;
        let topics = state.topics.values().filter(|topic| !topic.deleted && topic.changed > version);
        let deleted = state.deleted_topics.range(version + 1..).map(|(_, topic)| *topic);
        let leases = state.partitions.iter().filter(|(_, row)| !row.deleted && row.changed > version);
        Ok(Changes {
            version: state.version,
            agents: state.agents(),
            topics: topics.map(|topic| topic.row.clone()).collect(),
            deleted: if version == 0 { Vec::new() } else { deleted.collect() },
            leases: leases
                .map(|(key, row)| LeaseHolder { key: *key, session: row.session, leader_epoch: row.leader_epoch })
                .collect(),
        })
    }

    async fn change_hint(&self, version: i64) {
        loop {
            // Begun before the look: what is announced between the look and the wait is not missed.
            let announced = self.announced.notified();
            if self.version.load(Ordering::Acquire) > version {
                return;
            }
            announced.await;
        }
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        Ok(self.begin()?.agents())
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        self.change(|state| {
            state.require_active(session)?;
            let keys: BTreeSet<PartitionKey> = keys.iter().copied().collect();
            state.next_version();
            Ok(keys.into_iter().filter_map(|key| state.acquire(session, key)).collect())
        })
    }

    async fn hand_over_leases(
        &self,
        session: SessionId,
        to: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<LeaseHolder>, StoreError> {
        self.run_commit(|state| {
            state.require_active(session)?;
            if !state.is_active(to) {
                return Ok(Vec::new());
            }
            let keys: BTreeSet<PartitionKey> = keys.iter().copied().collect();
            state.next_version();
            let is_held =
                |key: &PartitionKey| state.partitions.get(key).is_some_and(|row| row.session == Some(session));
            let held: Vec<_> = keys.into_iter().filter(is_held).collect();
            Ok(held.into_iter().filter_map(|key| state.give(to, key)).collect())
        })
    }

    async fn held_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        let state = self.begin()?;
        let keys: BTreeSet<PartitionKey> = keys.iter().copied().filter(|_| state.is_active(session)).collect();
        let held = keys
            .into_iter()
            .filter(|key| state.partitions.get(key).is_some_and(|row| row.session == Some(session) && !row.deleted));
        Ok(held.filter_map(|key| state.lease_row(key)).collect())
    }

    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        let state = self.begin()?;
        let active = state.is_active(session);
        let confirm = |key| {
            let partition = state.partitions.get(key)?;
            (active && partition.session == Some(session)).then_some(partition.leader_epoch)
        };
        Ok(keys.iter().map(confirm).collect())
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError> {
        let mut state = self.begin()?;
        let first = state.next_producer_id;
        state.next_producer_id += i64::from(count);
        Ok(first)
    }
}

impl State {
    fn active_session(&mut self, session: SessionId) -> Result<&mut Session, StoreError> {
        self.sessions.get_mut(&session).filter(|row| row.active).ok_or(StoreError::Fenced)
    }

    fn end_session(&mut self, session: SessionId) {
        if let Ok(row) = self.active_session(session) {
            row.active = false;
            self.next_version();
        }
    }

    /// Active sessions, by node id.
    fn agents(&self) -> Vec<AgentRow> {
        let agent = |(session, row): (&SessionId, &Session)| AgentRow {
            session: *session,
            node_id: row.node_id,
            registration: row.registration.clone(),
            renewals: row.renewals,
            suspected: row.suspected,
            lane: row.lane,
        };
        let mut agents: Vec<AgentRow> = self.sessions.iter().filter(|(_, row)| row.active).map(agent).collect();
        agents.sort_by_key(|agent| agent.node_id);
        agents
    }

    /// Acquires one partition if its lease is free, its holder is gone, or it is held by `session` itself.
    fn acquire(&mut self, session: SessionId, key: PartitionKey) -> Option<LeaseRow> {
        let holder = self.partitions.get(&key)?.session;
        if holder.is_some_and(|holder| holder != session && self.is_active(holder)) {
            return None;
        }
        self.give(session, key)?;
        self.lease_row(key)
    }

    /// Names a new holder under the next epoch, with the version of this transaction.
    fn give(&mut self, session: SessionId, key: PartitionKey) -> Option<LeaseHolder> {
        let changed = self.version;
        let partition = self.partitions.get_mut(&key).filter(|row| !row.deleted)?;
        partition.session = Some(session);
        partition.leader_epoch += 1;
        partition.changed = changed;
        self.leader_epochs.insert((key, partition.next_offset), partition.leader_epoch);
        Some(LeaseHolder { key, session: Some(session), leader_epoch: partition.leader_epoch })
    }

    fn lease_row(&self, key: PartitionKey) -> Option<LeaseRow> {
        let partition = self.partitions.get(&key)?;
        let last_segment = partition.last_segment.and_then(|slot| self.segments.get(&slot));
        Some(LeaseRow {
            key,
            leader_epoch: partition.leader_epoch,
            next_offset: partition.next_offset,
            log_start_offset: partition.log_start_offset,
            last_append_time: partition.last_append_time,
            last_object: last_segment.map(|segment| segment.object_key.clone()).unwrap_or_default(),
            cleaned_offset: partition.cleaned_offset,
        })
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
