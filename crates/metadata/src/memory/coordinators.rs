//! Rows of coordinators in the in-memory model.

use std::ops::Bound;

use async_trait::async_trait;
use segment::{LeaderEpoch, PartitionKey, SessionId};

use super::{MemoryStore, State};
use crate::{
    CoordinatorKey, CoordinatorOutcome, CoordinatorRow, CoordinatorWrite, Coordinators, StoreError, coordinators::check,
};

#[async_trait]
impl Coordinators for MemoryStore {
    async fn coordinator_sequence(
        &self,
        session: SessionId,
        partition: PartitionKey,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<i64>, StoreError> {
        let state = self.begin()?;
        let row = state.partitions.get(&partition).filter(|row| row.is_led(session, leader_epoch));
        Ok(row.filter(|_| state.is_active(session)).map(|row| row.coordinator_sequence))
    }

    async fn coordinator_rows(
        &self,
        partition: PartitionKey,
        after: Option<&CoordinatorKey>,
        limit: u32,
    ) -> Result<Vec<CoordinatorRow>, StoreError> {
        let state = self.begin()?;
        let Some(rows) = state.coordinator_rows.get(&partition) else { return Ok(Vec::new()) };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = rows.range((after, Bound::Unbounded)).take(limit as usize);
        Ok(rows.map(|(key, value)| CoordinatorRow { key: key.clone(), value: value.clone() }).collect())
    }

    async fn write_coordinators(
        &self,
        session: SessionId,
        writes: &[CoordinatorWrite],
    ) -> Result<Vec<CoordinatorOutcome>, StoreError> {
        let first = check(writes)?;
        self.run_commit(|state| {
            state.require_active(session)?;
            let outcomes = writes.iter().zip(first).map(|(write, is_first)| match is_first {
                true => state.write_coordinator(session, write),
                false => CoordinatorOutcome::SequenceMismatch,
            });
            Ok(outcomes.collect())
        })
    }
}

impl State {
    fn write_coordinator(&mut self, session: SessionId, write: &CoordinatorWrite) -> CoordinatorOutcome {
        let partition = self.partitions.get_mut(&write.partition);
        let Some(partition) = partition.filter(|row| row.is_led(session, write.leader_epoch)) else {
            return CoordinatorOutcome::NotLeader;
        };
        if partition.coordinator_sequence != write.sequence {
            return CoordinatorOutcome::SequenceMismatch;
        }
        partition.coordinator_sequence += 1;
        let rows = self.coordinator_rows.entry(write.partition).or_default();
        for (key, value) in write.last_changes() {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        CoordinatorOutcome::Written
    }
}
