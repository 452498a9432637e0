//! The protocol of consumers that is embedded in the classic one: what they say in JoinGroup, and are told in SyncGroup.
//!
//! Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3; a later version begins as these do. To a
//! coordinator of classic groups they are opaque, but for the topics: offsets of what somebody reads are neither expired
//! nor deleted. Where members of both protocols are in one group they are read and written here. Bytes of clients: what
//! is not as it should be is `None`, never a panic.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use segment::PartitionIndex;

/// Protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// Partitions by the names of their topics.
pub(crate) type NamedPartitions = Vec<(String, Vec<PartitionIndex>)>;

/// What a consumer says when it joins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) version: i16,
    pub(crate) topics: BTreeSet<String>,
    /// What it has: from version 1 on, and nothing of those that give all up before they join.
    pub(crate) owned: NamedPartitions,
    /// From version 3 on.
    pub(crate) rack_id: Option<String>,
}

impl Subscription {
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let version = version(bytes)?;
        let topics = array(bytes, string)?.into_iter().collect();
        user_data(bytes)?;
        let owned = if version >= 1 { array(bytes, partitions)? } else { Vec::new() };
        if version >= 2 {
            bytes.try_get_i32().ok()?; // the generation in which it owns them
        }
        let rack_id = if version >= 3 { optional_string(bytes)? } else { None };
        Some(Self { version, topics, owned, rack_id })
    }
}

/// What a consumer is assigned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) partitions: NamedPartitions,
    /// Whether there is more in it than partitions, for an assignor of the client's own.
    pub(crate) has_user_data: bool,
}

impl Assigned {
    /// Nothing at all is nothing assigned: who has not asked yet what it is assigned.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let bytes = &mut bytes;
        version(bytes)?;
        let partitions = array(bytes, partitions)?;
        let has_user_data = user_data(bytes)? > 0;
        Some(Self { partitions, has_user_data })
    }

    /// In the version of the member's subscription.
    pub(crate) fn write(partitions: &NamedPartitions, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(version);
        put_length(&mut bytes, partitions.len());
        for (topic, partitions) in partitions {
            // Names of topics are far below the bound.
            bytes.put_i16(i16::try_from(topic.len()).unwrap_or(i16::MAX));
            bytes.put_slice(topic.as_bytes());
            put_length(&mut bytes, partitions.len());
            partitions.iter().for_each(|partition| bytes.put_i32(*partition));
        }
        bytes.put_i32(-1);
        bytes.freeze()
    }
}

/// The topics of a subscription, whatever comes after them.
pub(crate) fn topics(mut bytes: &[u8]) -> Option<BTreeSet<String>> {
    version(&mut bytes)?;
    Some(array(&mut bytes, string)?.into_iter().collect())
}

fn put_length(bytes: &mut BytesMut, length: usize) {
    bytes.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
}

fn version(bytes: &mut &[u8]) -> Option<i16> {
    bytes.try_get_i16().ok().filter(|version| *version >= 0)
}

/// A count that is a lie ends at the end of the bytes; one below 0 is none.
fn array<T>(bytes: &mut &[u8], read: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = bytes.try_get_i32().ok()?;
    (0..count.max(0)).map(|_| read(bytes)).collect()
}

fn partitions(bytes: &mut &[u8]) -> Option<(String, Vec<PartitionIndex>)> {
    let topic = string(bytes)?;
    Some((topic, array(bytes, |bytes| bytes.try_get_i32().ok())?))
}

fn string(bytes: &mut &[u8]) -> Option<String> {
    optional_string(bytes)?
}

fn optional_string(bytes: &mut &[u8]) -> Option<Option<String>> {
    let length = bytes.try_get_i16().ok()?;
    if length == -1 {
        return Some(None);
    }
    let (text, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
}

/// Skips what a client's assignor says to its like; its length.
fn user_data(bytes: &mut &[u8]) -> Option<usize> {
    let length = usize::try_from(bytes.try_get_i32().ok()?.max(0)).ok()?;
    let (_, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(length)
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
