//! How far a group came: its committed offsets, and when they go.
//!
//! They are keyed by the topic's id, so that a topic made again under its name begins without any. Who may commit, and
//! from when offsets age, the group's state says; here is what is committed, kept and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use metadata::{CoordinatorChange, CoordinatorKey};
use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use uuid::Uuid;

use super::api::{FetchedOffset, GroupError, OffsetCommit, OffsetToCommit, PartitionOutcome};
use super::classic::OffsetExpiry;
use super::effects::{Effects, Now};
use super::limits::{OFFSET_METADATA_BYTES_MAX, OFFSETS_PER_GROUP_MAX, OFFSETS_PER_REQUEST_MAX};
use super::rows::{KIND_OFFSET, RowError, RowReader, RowWriter};

/// The layout of a value that is written.
const VERSION: u8 = 0;
/// What an offset takes in memory beside its metadata, about.
const OFFSET_BYTES: usize = 144;
/// Stands for no time of its own at which an offset expires.
const NO_EXPIRY: TimestampMs = -1;

/// The committed offsets of a group.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    committed: BTreeMap<(TopicId, PartitionIndex), Committed>,
    /// About what they take in memory.
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Committed {
    offset: Offset,
    leader_epoch: LeaderEpoch,
    metadata: Arc<str>,
    at: TimestampMs,
    /// Where the client said how long it is to be kept.
    expires: Option<TimestampMs>,
}

impl Offsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.committed.len()
    }

    /// About what they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a commit would make that more.
    pub(crate) fn would_grow(&self, request: &OffsetCommit) -> bool {
        let before =
            |asked: &OffsetToCommit| self.committed.get(&(asked.topic_id, asked.partition)).map_or(0, Committed::bytes);
        request.partitions.iter().any(|asked| OFFSET_BYTES + asked.metadata.len() > before(asked))
    }

    fn put(&mut self, at: (TopicId, PartitionIndex), committed: Committed) {
        self.bytes += committed.bytes();
        if let Some(before) = self.committed.insert(at, committed) {
            self.bytes -= before.bytes();
        }
    }

    /// Takes up a row.
    pub(crate) fn load(&mut self, item: &[u8], value: &[u8]) -> Result<(), RowError> {
        let mut key = RowReader::unversioned(item);
        let topic_id = TopicId(Uuid::from_bytes(key.array()?));
        let partition = key.i32()?;
        key.end()?;
        let (mut row, _) = RowReader::new(value, VERSION)?;
        let (offset, leader_epoch, at) = (row.i64()?, row.i32()?, row.i64()?);
        let expires = Some(row.i64()?).filter(|expires| *expires != NO_EXPIRY);
        let metadata = row.string()?.into();
        row.end()?;
        self.put((topic_id, partition), Committed { offset, leader_epoch, metadata, at, expires });
        Ok(())
    }

    /// Commits what a request brings; that it may has been checked. A partition whose metadata is too long is refused alone.
    pub(crate) fn commit(
        &mut self,
        now: Now,
        request: OffsetCommit,
        effects: &mut Effects,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        if request.partitions.len() > OFFSETS_PER_REQUEST_MAX {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        let expires = request
            .retention
            .map(|retention| now.timestamp.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)));
        let mut outcomes = Vec::with_capacity(request.partitions.len());
        for asked in request.partitions {
            let at = (asked.topic_id, asked.partition);
            let error = if asked.metadata.len() > OFFSET_METADATA_BYTES_MAX {
                Some(GroupError::OffsetMetadataTooLarge)
            } else if self.committed.len() >= OFFSETS_PER_GROUP_MAX && !self.committed.contains_key(&at) {
                Some(GroupError::InvalidCommitOffsetSize)
            } else {
                None
            };
            if error.is_none() {
                let (offset, leader_epoch, metadata) = (asked.offset, asked.leader_epoch, asked.metadata.into());
                let committed = Committed { offset, leader_epoch, metadata, at: now.timestamp, expires };
                effects.changes.push(change(&request.group_id, at, Some(&committed)));
                self.put(at, committed);
            }
            outcomes.push(PartitionOutcome { topic_id: asked.topic_id, partition: asked.partition, error });
        }
        Ok(outcomes)
    }

    /// The offsets of these partitions, or all there are.
    pub(crate) fn fetch(&self, partitions: Option<&[(TopicId, PartitionIndex)]>) -> Vec<FetchedOffset> {
        match partitions {
            Some(partitions) => partitions.iter().map(|at| fetched(*at, self.committed.get(at))).collect(),
            None => self.committed.iter().map(|(at, committed)| fetched(*at, Some(committed))).collect(),
        }
    }

    /// Deletes the offsets of these partitions, except of topics that the group reads.
    pub(crate) fn delete(
        &mut self,
        group_id: &str,
        partitions: &[(TopicId, PartitionIndex)],
        subscribed: impl Fn(TopicId) -> bool,
        effects: &mut Effects,
    ) -> Vec<PartitionOutcome> {
        let mut outcomes = Vec::with_capacity(partitions.len());
        for (topic_id, partition) in partitions {
            let error = subscribed(*topic_id).then_some(GroupError::GroupSubscribedToTopic);
            if error.is_none() {
                self.forget(group_id, (*topic_id, *partition), effects);
            }
            outcomes.push(PartitionOutcome { topic_id: *topic_id, partition: *partition, error });
        }
        outcomes
    }

    /// Deletes everything, with its group.
    pub(crate) fn delete_all(&mut self, group_id: &str, effects: &mut Effects) {
        let all = std::mem::take(self).committed;
        effects.changes.extend(all.into_keys().map(|at| change(group_id, at, None)));
    }

    /// Deletes the offsets of a topic that is gone.
    pub(crate) fn delete_topic(&mut self, group_id: &str, topic_id: TopicId, effects: &mut Effects) {
        let partitions = (topic_id, PartitionIndex::MIN)..=(topic_id, PartitionIndex::MAX);
        let gone: Vec<_> = self.committed.range(partitions).map(|(at, _)| *at).collect();
        for at in gone {
            self.forget(group_id, at, effects);
        }
    }

    /// The topics that the group has offsets of.
    pub(crate) fn topics(&self) -> Vec<TopicId> {
        let mut topics: Vec<TopicId> = self.committed.keys().map(|(topic_id, _)| *topic_id).collect();
        topics.dedup();
        topics
    }

    /// Deletes what is old and not read, at most [`OFFSETS_PER_REQUEST_MAX`] at a time.
    pub(crate) fn expire(
        &mut self,
        group_id: &str,
        now: TimestampMs,
        expiry: OffsetExpiry,
        retention: TimestampMs,
        subscribed: impl Fn(TopicId) -> bool,
        effects: &mut Effects,
    ) {
        let is_old = |committed: &Committed| match (expiry, committed.expires) {
            (OffsetExpiry::Never, _) => false,
            (_, Some(expires)) => now >= expires,
            (OffsetExpiry::SinceEmpty(since), None) => now.saturating_sub(since) >= retention,
            (OffsetExpiry::SinceCommit, None) => now.saturating_sub(committed.at) >= retention,
        };
        let old =
            self.committed.iter().filter(|((topic_id, _), committed)| is_old(committed) && !subscribed(*topic_id));
        let old: Vec<_> = old.map(|(at, _)| *at).take(OFFSETS_PER_REQUEST_MAX).collect();
        for at in old {
            self.forget(group_id, at, effects);
        }
    }

    fn forget(&mut self, group_id: &str, at: (TopicId, PartitionIndex), effects: &mut Effects) {
        if let Some(committed) = self.committed.remove(&at) {
            self.bytes -= committed.bytes();
            effects.changes.push(change(group_id, at, None));
        }
    }
}

fn fetched((topic_id, partition): (TopicId, PartitionIndex), committed: Option<&Committed>) -> FetchedOffset {
    FetchedOffset {
        topic_id,
        partition,
        offset: committed.map_or(-1, |committed| committed.offset),
        leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: committed.map(|committed| committed.metadata.to_string()).unwrap_or_default(),
        error: None,
    }
}

fn change(group_id: &str, at: (TopicId, PartitionIndex), committed: Option<&Committed>) -> CoordinatorChange {
    let (topic_id, partition) = at;
    let mut item = BytesMut::with_capacity(20);
    item.put_slice(topic_id.0.as_bytes());
    item.put_i32(partition);
    let key = CoordinatorKey { owner: group_id.to_owned(), kind: KIND_OFFSET, item: item.freeze() };
    CoordinatorChange { key, value: committed.map(Committed::to_row) }
}

impl Committed {
    fn bytes(&self) -> usize {
        OFFSET_BYTES + self.metadata.len()
    }

    fn to_row(&self) -> Bytes {
        let mut row = RowWriter::new(VERSION);
        row.i64(self.offset);
        row.i32(self.leader_epoch);
        row.i64(self.at);
        row.i64(self.expires.unwrap_or(NO_EXPIRY));
        row.string(&self.metadata);
        row.finish()
    }
}

#[cfg(test)]
#[path = "offsets_tests.rs"]
mod tests;
