//! Sessions, leases and producer ids in the in-memory model.

use std::collections::BTreeSet;

use async_trait::async_trait;
use segment::{LeaderEpoch, Offset, PartitionKey, ProducerId, SessionId, TimestampMs};

use super::{MemoryStore, Session, State};
use crate::{AgentRow, ClusterInfo, LeaseRow, OpenedSession, Registration, Sessions, StoreError};

#[async_trait]
impl Sessions for MemoryStore {
    async fn cluster(&self) -> Result<ClusterInfo, StoreError> {
        let state = self.begin()?;
        Ok(ClusterInfo { cluster_id: self.cluster_id, empty: state.sessions.is_empty() })
    }

    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError> {
        let database_time = (self.clock)();
        let mut state = self.begin()?;
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
        let row = Session { registration: registration.clone(), node_id, active: true, renewals: 0 };
        state.sessions.insert(session, row);
        Ok(OpenedSession { session, node_id, fenced, database_time })
    }

    async fn renew_session(&self, session: SessionId) -> Result<TimestampMs, StoreError> {
        let now = (self.clock)();
        let mut state = self.begin()?;
        state.active_session(session)?.renewals += 1;
        Ok(now)
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        self.begin()?.active_session(session)?.registration = registration.clone();
        Ok(())
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        if let Some(row) = self.begin()?.sessions.get_mut(&session) {
            row.active = false;
        }
        Ok(())
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let state = self.begin()?;
        let mut agents: Vec<AgentRow> = state
            .sessions
            .iter()
            .filter(|(_, row)| row.active)
            .map(|(session, row)| AgentRow {
                session: *session,
                node_id: row.node_id,
                registration: row.registration.clone(),
            })
            .collect();
        agents.sort_by_key(|agent| agent.node_id);
        Ok(agents)
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        let mut state = self.begin()?;
        state.require_active(session)?;
        let keys: BTreeSet<PartitionKey> = keys.iter().copied().collect();
        Ok(keys.into_iter().filter_map(|key| state.acquire(session, key)).collect())
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

    /// Acquires one partition if its lease is free, its holder is gone, or it is held by `session` itself.
    fn acquire(&mut self, session: SessionId, key: PartitionKey) -> Option<LeaseRow> {
        let holder = self.partitions.get(&key)?.session;
        let free = holder.is_none_or(|holder| holder == session || !self.is_active(holder));
        let partition = self.partitions.get_mut(&key).filter(|p| free && !p.deleted)?;
        partition.session = Some(session);
        partition.leader_epoch += 1;
        self.leader_epochs.insert((key, partition.next_offset), partition.leader_epoch);
        let last_range = self.ranges.range((key, 0)..=(key, Offset::MAX)).next_back();
        Some(LeaseRow {
            key,
            leader_epoch: partition.leader_epoch,
            next_offset: partition.next_offset,
            log_start_offset: partition.log_start_offset,
            last_append_time: partition.last_append_time,
            last_object: last_range.map(|(_, range)| range.row.object_key.clone()).unwrap_or_default(),
        })
    }
}
