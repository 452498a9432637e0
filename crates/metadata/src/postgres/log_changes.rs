//! Log starts and replaced ranges on PostgreSQL.

use async_trait::async_trait;
use segment::SessionId;

use super::PostgresStore;
use crate::{LogChangeOutcome, LogChanges, LogStartMove, SegmentRewrite, StoreError};

#[async_trait]
impl LogChanges for PostgresStore {
    async fn move_log_starts(
        &self,
        _session: SessionId,
        _moves: &[LogStartMove],
        _rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        Err(StoreError::NotCommitted("not there yet".into()))
    }

    async fn replace_ranges(
        &self,
        _session: SessionId,
        _rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        Err(StoreError::NotCommitted("not there yet".into()))
    }
}
