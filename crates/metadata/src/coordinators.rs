//! Coordinators: what the leader of a partition of `__consumer_offsets` knows, as rows.
//!
//! Kafka's coordinators write records to a compacted log and read it from its start when they begin. Here the same state is
//! rows, the last value of each key, below the partition whose leader coordinates. Only the holder of its lease writes them,
//! checked as a segment commit is. What owners, kinds, items and values mean is the coordinator's.
//!
//! Each partition counts its writes. A write names the count that it builds on, so one whose reply was lost is harmless:
//! the coordinator forgets what it knows, reads the count, then the rows, and goes on from there. Should the lost write land
//! after that, the count is not what the next write names, and the coordinator does the same again.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use segment::{LeaderEpoch, PartitionKey, SessionId};

use crate::StoreError;

/// Most bytes of owner and item together: an entry of an index on PostgreSQL has 2,704.
pub const COORDINATOR_KEY_BYTES_MAX: usize = 2_048;
/// Most changes that callers put into one call: a write holds segment commits up on SQLite.
pub const COORDINATOR_CHANGES_MAX: usize = 10_000;

/// Names a row within one coordinator partition. The order is (owner, kind, item), of owner and item by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoordinatorKey {
    /// Whose row it is: a group id. It may be empty.
    pub owner: String,
    /// What the row is about.
    pub kind: i16,
    /// Which one of that kind. It may be empty.
    pub item: Bytes,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRow {
    /// Its name.
    pub key: CoordinatorKey,
    /// What its coordinator wrote.
    pub value: Bytes,
}

/// A row that is to be written or deleted. Of several changes of one key in one write the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorChange {
    /// Which row.
    pub key: CoordinatorKey,
    /// Its value from now on; `None` deletes it, if it is there.
    pub value: Option<Bytes>,
}

impl CoordinatorChange {
    /// Bytes of owner, item and value: what it takes on its way to the database, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.owner.len() + self.key.item.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What one coordinator changes at once.
#[derive(Clone, Debug)]
pub struct CoordinatorWrite {
    /// The partition whose leader it is.
    pub partition: PartitionKey,
    /// The epoch of the caller's lease.
    pub leader_epoch: LeaderEpoch,
    /// Must equal the partition's write sequence, which an accepted write raises by one. It is 0 before the first, and
    /// goes on from one leader to the next.
    pub sequence: i64,
    /// What changes; it may be nothing.
    pub changes: Vec<CoordinatorChange>,
}

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorOutcome {
    /// All of its changes happened.
    Written,
    /// Definitely not, and never: the lease is not held under that epoch, or the topic is deleted.
    NotLeader,
    /// Definitely not, and never: the partition's write sequence is another one, or a write of the same partition stands
    /// before it in the call.
    SequenceMismatch,
}

/// Transactions on the rows of coordinators.
#[async_trait]
pub trait Coordinators: Send + Sync + 'static {
    /// A read begun now: the partition's write sequence, if this session is active and holds the lease under this epoch,
    /// else `None`.
    async fn coordinator_sequence(
        &self,
        session: SessionId,
        partition: PartitionKey,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<i64>, StoreError>;

    /// A read begun now: the partition's rows after `after` (or from the first one), in the order of their keys, at most
    /// `limit`.
    async fn coordinator_rows(
        &self,
        partition: PartitionKey,
        after: Option<&CoordinatorKey>,
        limit: u32,
    ) -> Result<Vec<CoordinatorRow>, StoreError>;

    /// One transaction, with an outcome for each write, in their order: each is accepted or refused alone and wholly.
    /// `Fenced` if the session is not active (nothing happened). At most one write per partition, at most
    /// [`COORDINATOR_CHANGES_MAX`] changes a call; a key above [`COORDINATOR_KEY_BYTES_MAX`] makes the whole call
    /// `NotCommitted`, for ever.
    ///
    /// The next write of a partition is sent when this one was answered. If the answer is unclear (`Unknown`), it is sent
    /// when [`Coordinators::coordinator_sequence`] and then the rows were read.
    async fn write_coordinators(
        &self,
        session: SessionId,
        writes: &[CoordinatorWrite],
    ) -> Result<Vec<CoordinatorOutcome>, StoreError>;
}

impl CoordinatorWrite {
    /// The change that counts of each key, in the order of keys.
    pub(crate) fn last_changes(&self) -> BTreeMap<&CoordinatorKey, Option<&Bytes>> {
        self.changes.iter().map(|change| (&change.key, change.value.as_ref())).collect()
    }
}

/// Which of these writes are the first of their partition; `Err` if one has a key that no store takes.
pub(crate) fn check(writes: &[CoordinatorWrite]) -> Result<Vec<bool>, StoreError> {
    let mut keys = writes.iter().flat_map(|write| &write.changes).map(|change| &change.key);
    if keys.any(|key| key.owner.len() + key.item.len() > COORDINATOR_KEY_BYTES_MAX) {
        return Err(StoreError::NotCommitted("the key of a coordinator's row is too long".into()));
    }
    let mut seen = BTreeSet::new();
    Ok(writes.iter().map(|write| seen.insert(write.partition)).collect())
}

/// What `after` is to a statement that asks for greater keys: below every key, if there is none.
pub(crate) fn position(after: Option<&CoordinatorKey>) -> (Vec<u8>, i32, Vec<u8>) {
    let below_all = (Vec::new(), i32::MIN, Vec::new());
    after.map_or(below_all, |key| (key.owner.clone().into_bytes(), i32::from(key.kind), key.item.to_vec()))
}

/// A row as the stores keep it.
pub(crate) fn row(owner: Vec<u8>, kind: i16, item: Vec<u8>, value: Vec<u8>) -> Result<CoordinatorRow, StoreError> {
    let owner = String::from_utf8(owner)
        .map_err(|error| StoreError::Damaged(format!("owner of a coordinator's row: {error}")))?;
    Ok(CoordinatorRow { key: CoordinatorKey { owner, kind, item: item.into() }, value: value.into() })
}
