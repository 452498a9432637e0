//! OffsetCommit 10 and OffsetFetch 10, whose topics are named by id: the protocol crate's requests end at version 9.
//!
//! What comes here has passed [`crate::preflight`]; `None` is for what that did not look at: text that is not UTF-8.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// First version of both that names topics by id.
pub(crate) const BY_ID_SINCE: i16 = 10;

/// OffsetCommit 10.
pub(crate) fn offset_commit(body: &mut Bytes) -> Option<OffsetCommitRequest> {
    let mut cursor = Cursor(body);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(cursor.text()??))
        .with_generation_id_or_member_epoch(cursor.i32()?)
        .with_member_id(cursor.text()??)
        .with_group_instance_id(cursor.text()?);
    let topics = cursor.structs(|cursor| {
        let topic = OffsetCommitRequestTopic::default().with_topic_id(cursor.uuid()?);
        let partitions = cursor.structs(|cursor| {
            Some(
                OffsetCommitRequestPartition::default()
                    .with_partition_index(cursor.i32()?)
                    .with_committed_offset(cursor.0.try_get_i64().ok()?)
                    .with_committed_leader_epoch(cursor.i32()?)
                    .with_committed_metadata(cursor.text()?),
            )
        })?;
        Some(topic.with_partitions(partitions?))
    })?;
    cursor.tagged_fields()?;
    Some(request.with_topics(topics?))
}

/// OffsetFetch 10.
pub(crate) fn offset_fetch(body: &mut Bytes) -> Option<OffsetFetchRequest> {
    let mut cursor = Cursor(body);
    let groups = cursor.structs(|cursor| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(cursor.text()??))
            .with_member_id(cursor.text()?)
            .with_member_epoch(cursor.i32()?);
        let topics = cursor.structs(|cursor| {
            let topic = OffsetFetchRequestTopics::default().with_topic_id(cursor.uuid()?);
            let count = cursor.length()??;
            let indexes = (0..count).map(|_| cursor.i32()).collect::<Option<Vec<_>>>()?;
            Some(topic.with_partition_indexes(indexes))
        })?;
        Some(group.with_topics(topics))
    })?;
    let require_stable = cursor.0.try_get_u8().ok()? != 0;
    cursor.tagged_fields()?;
    Some(OffsetFetchRequest::default().with_groups(groups?).with_require_stable(require_stable))
}

/// Reads what flexible versions are made of. The outer `None` of each is bytes that end too early, the inner one null.
struct Cursor<'a>(&'a mut Bytes);

impl Cursor<'_> {
    fn i32(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.0.try_get_u128().ok().map(Uuid::from_u128)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.0.try_get_u8().ok()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn length(&mut self) -> Option<Option<usize>> {
        Some(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn skip(&mut self, bytes: usize) -> Option<Bytes> {
        (bytes <= self.0.len()).then(|| self.0.split_to(bytes))
    }

    fn text(&mut self) -> Option<Option<StrBytes>> {
        let Some(length) = self.length()? else { return Some(None) };
        StrBytes::try_from(self.skip(length)?).ok().map(Some)
    }

    fn tagged_fields(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()? as usize;
            self.skip(size)?;
        }
        Some(())
    }

    fn structs<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<Vec<T>>> {
        let Some(count) = self.length()? else { return Some(None) };
        let mut structs = Vec::new();
        for _ in 0..count {
            structs.push(read(self)?);
            self.tagged_fields()?;
        }
        Some(Some(structs))
    }
}
