//! Rows of a KIP-848 group: one for the group, three for each member (docs/groups-consumer.md has the tables).
//!
//! Kafka's records of the same purpose: ConsumerGroupMetadata and ConsumerGroupTargetAssignmentMetadata are one row here;
//! ConsumerGroupMemberMetadata, ConsumerGroupTargetAssignmentMember and ConsumerGroupCurrentMemberAssignment one each.

use std::collections::BTreeSet;

use bytes::Bytes;
use segment::TopicId;
use uuid::Uuid;

use super::assignment::Assignment;
use super::assignor::Assignor;
use super::member::{ClassicMetadata, CurrentAssignment, MemberMetadata, MemberState};
use crate::groups::rows::{RowError, RowReader, RowWriter};

/// The group; its item is empty.
pub(crate) const KIND_CONSUMER_GROUP: i16 = 2;
/// What a member said about itself; the item is its id, as in the following.
pub(crate) const KIND_CONSUMER_MEMBER: i16 = 3;
/// What a member should have.
pub(crate) const KIND_CONSUMER_TARGET: i16 = 4;
/// What a member has.
pub(crate) const KIND_CONSUMER_CURRENT: i16 = 5;

/// The newest layout of each kind, but for what a member said.
const VERSION: u8 = 0;
/// What a member said that speaks the classic protocol: as version 0, and what it joined with.
const MEMBER_VERSION_CLASSIC: u8 = 1;

/// What is stored of the group itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    /// Rises with everything that asks for another assignment.
    pub(super) group: i32,
    /// The group epoch that the target assignment is for.
    pub(super) target: i32,
    /// Of the topics that were subscribed to, and their partitions.
    pub(super) metadata_hash: u64,
}

impl Epochs {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = RowWriter::new(VERSION);
        row.i32(self.group);
        row.i32(self.target);
        row.i64(self.metadata_hash.cast_signed());
        row.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RowError> {
        let (mut row, _) = RowReader::new(value, VERSION)?;
        let epochs = Self { group: row.i32()?, target: row.i32()?, metadata_hash: row.i64()?.cast_unsigned() };
        row.end()?;
        if epochs.target > epochs.group { Err(RowError::Contradiction) } else { Ok(epochs) }
    }
}

impl MemberMetadata {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = RowWriter::new(if self.classic.is_some() { MEMBER_VERSION_CLASSIC } else { VERSION });
        row.optional_string(self.instance_id.as_deref());
        row.optional_string(self.rack_id.as_deref());
        row.string(&self.client_id);
        row.string(&self.client_host);
        row.duration(self.rebalance_timeout);
        row.count(self.subscribed_topic_names.len());
        self.subscribed_topic_names.iter().for_each(|name| row.string(name));
        row.string(&self.subscribed_topic_regex);
        row.optional_string(self.server_assignor.map(Assignor::name));
        if let Some(classic) = &self.classic {
            row.duration(classic.session_timeout);
            row.protocols(&classic.protocols);
        }
        row.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RowError> {
        let (mut row, version) = RowReader::new(value, MEMBER_VERSION_CLASSIC)?;
        let mut member = Self {
            instance_id: row.optional_string()?,
            rack_id: row.optional_string()?,
            client_id: row.string()?,
            client_host: row.string()?,
            rebalance_timeout: row.duration()?,
            ..Self::default()
        };
        for _ in 0..row.count()? {
            member.subscribed_topic_names.insert(row.string()?);
        }
        member.subscribed_topic_regex = row.string()?;
        // One that this release does not know counts as none.
        member.server_assignor = row.optional_string()?.as_deref().and_then(Assignor::of_name);
        if version == MEMBER_VERSION_CLASSIC {
            let (session_timeout, protocols) = (row.duration()?, row.protocols()?);
            if protocols.is_empty() {
                return Err(RowError::Contradiction);
            }
            member.classic = Some(ClassicMetadata { session_timeout, protocols });
        }
        row.end()?;
        Ok(member)
    }
}

impl CurrentAssignment {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = RowWriter::new(VERSION);
        row.i32(self.epoch);
        row.i32(self.previous_epoch);
        row.i32(match self.state {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
        });
        write_assignment(&mut row, &self.assigned);
        write_assignment(&mut row, &self.pending_revocation);
        row.finish()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RowError> {
        let (mut row, _) = RowReader::new(value, VERSION)?;
        let current = Self {
            epoch: row.i32()?,
            previous_epoch: row.i32()?,
            state: match row.i32()? {
                0 => MemberState::Stable,
                1 => MemberState::UnrevokedPartitions,
                2 => MemberState::UnreleasedPartitions,
                _ => return Err(RowError::Contradiction),
            },
            assigned: read_assignment(&mut row)?,
            pending_revocation: read_assignment(&mut row)?,
        };
        row.end()?;
        Ok(current)
    }
}

pub(super) fn encode_target(target: &Assignment) -> Bytes {
    let mut row = RowWriter::new(VERSION);
    write_assignment(&mut row, target);
    row.finish()
}

pub(super) fn decode_target(value: &[u8]) -> Result<Assignment, RowError> {
    let (mut row, _) = RowReader::new(value, VERSION)?;
    let target = read_assignment(&mut row)?;
    row.end()?;
    Ok(target)
}

/// Topic ids are byte arrays; partitions are written as numbers.
fn write_assignment(row: &mut RowWriter, assignment: &Assignment) {
    let topics = assignment.topics();
    row.count(topics.len());
    for (topic, partitions) in topics {
        row.bytes(topic.0.as_bytes());
        row.count(partitions.len());
        partitions.iter().for_each(|partition| row.i32(*partition));
    }
}

fn read_assignment(row: &mut RowReader<'_>) -> Result<Assignment, RowError> {
    let mut assignment = Assignment::default();
    for _ in 0..row.count()? {
        let topic = TopicId(Uuid::from_slice(&row.bytes()?).map_err(|_| RowError::Length)?);
        let mut partitions = BTreeSet::new();
        for _ in 0..row.count()? {
            partitions.insert(row.i32()?);
        }
        assignment.extend(partitions.into_iter().map(|partition| (topic, partition)));
    }
    Ok(assignment)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
