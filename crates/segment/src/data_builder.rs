//! Builds what a rewrite or a compaction writes: committed batches of one or many partitions, put together into few large ranges.
//!
//! The object is never held whole: what is finished is taken away in between ([`DataBuilder::take_chunks`]). Batches stay as they
//! are, so nothing but the ranges' checksums is computed. Between them there may be offsets that no batch has any more; a range
//! without any batch gets one without records, so that each has bytes of its own.

use bytes::Bytes;

use crate::builder::FinishedSegment;
use crate::crc::Crc32c;
use crate::footer::{DATA_HEAD, Footer, RangeMeta, SegmentIdentity};
use crate::record_batch::{HEADER_BYTES, RecordBatchHeader, UNCOUNTED_BYTES, seal_crc};
use crate::{LeaderEpoch, ObjectPurpose, Offset, PartitionKey};

/// An object that is being put together.
pub struct DataBuilder {
    identity: SegmentIdentity,
    chunks: Vec<Bytes>,
    bytes: u64,
    ranges: Vec<RangeMeta>,
    open: Option<(RangeMeta, Crc32c)>,
}

impl DataBuilder {
    /// An empty object.
    #[must_use]
    pub fn new(identity: SegmentIdentity) -> Self {
        let head = Bytes::from_static(&DATA_HEAD);
        let bytes = head.len() as u64;
        Self { identity, chunks: vec![head], bytes, ranges: Vec::new(), open: None }
    }

    /// Begins a range at this offset, after ending the one before.
    ///
    /// # Panics
    /// If the partition belongs to another organization than the object (a bug of the caller).
    pub fn begin_range(&mut self, key: PartitionKey, leader_epoch: LeaderEpoch, base_offset: Offset) {
        assert_eq!(key.organization, self.identity.organization, "a segment holds one organization's data");
        self.end_range();
        let meta = RangeMeta {
            key,
            leader_epoch,
            base_offset,
            next_offset: base_offset,
            byte_start: self.bytes,
            byte_len: 0,
            checksum: 0,
            max_timestamp: i64::MIN,
            predecessor: String::new(),
            successor: String::new(),
            producers: Bytes::new(),
            batches: Vec::new(),
        };
        self.open = Some((meta, Crc32c::new()));
    }

    /// Adds the next batch of the open range, as it is stored.
    ///
    /// # Panics
    /// If no range is open, or the batch begins before the one before it ends (bugs of the caller).
    #[expect(clippy::expect_used, reason = "a bug of the caller, as documented")]
    pub fn push(&mut self, header: &RecordBatchHeader, batch: Bytes) {
        let (meta, crc) = self.open.as_mut().expect("push without begin_range");
        assert!(header.base_offset >= meta.next_offset, "batches of a range follow each other");
        meta.next_offset = header.next_offset();
        meta.max_timestamp = meta.max_timestamp.max(header.max_timestamp);
        meta.byte_len += batch.len() as u64;
        self.bytes += batch.len() as u64;
        crc.update(&batch[..HEADER_BYTES]);
        self.chunks.push(batch);
    }

    /// The open range goes on to this offset, with or without records.
    ///
    /// # Panics
    /// If no range is open, or it is beyond that (bugs of the caller).
    #[expect(clippy::expect_used, reason = "a bug of the caller, as documented")]
    pub fn cover(&mut self, next_offset: Offset) {
        let (meta, _) = self.open.as_mut().expect("cover without begin_range");
        assert!(next_offset >= meta.next_offset, "a range does not go back");
        meta.next_offset = next_offset;
    }

    /// Bytes of the open range.
    #[must_use]
    pub fn range_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |(meta, _)| meta.byte_len)
    }

    /// Ends the open range, if there is one.
    fn end_range(&mut self) {
        if let Some((meta, _)) = &mut self.open
            && meta.byte_len == 0
            && meta.next_offset > meta.base_offset
        {
            let next_offset = std::mem::replace(&mut meta.next_offset, meta.base_offset);
            let (header, batch) = empty_batch(meta.base_offset, next_offset, meta.leader_epoch);
            self.push(&header, batch);
            self.cover(next_offset);
        }
        let Some((mut meta, crc)) = self.open.take() else { return };
        if meta.byte_len > 0 {
            meta.checksum = crc.value();
            self.ranges.push(meta);
        }
    }

    /// Ends the open range, the last of consecutive ones; `successor` holds the partition's range after it.
    pub fn end_run(&mut self, successor: String) {
        self.end_range();
        if let Some(last) = self.ranges.last_mut() {
            last.successor = successor;
        }
    }

    /// Takes what the object consists of so far, but for what was taken before.
    pub fn take_chunks(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.chunks)
    }

    /// Ends the open range and appends the footer; the chunks are those that were not taken before.
    #[must_use]
    pub fn finish(mut self) -> FinishedSegment {
        self.end_range();
        let footer = Footer { purpose: ObjectPurpose::Data, identity: self.identity, ranges: self.ranges };
        let tail = footer.encode();
        let object_bytes = self.bytes + tail.len() as u64;
        self.chunks.push(tail);
        FinishedSegment { chunks: self.chunks, object_bytes, ranges: footer.ranges }
    }
}

/// A batch without records, as Kafka writes it where all of a batch is compacted away. Of a range longer than one can be it covers the
/// beginning.
fn empty_batch(
    base_offset: Offset,
    next_offset: Offset,
    partition_leader_epoch: LeaderEpoch,
) -> (RecordBatchHeader, Bytes) {
    let header = RecordBatchHeader {
        base_offset,
        batch_length: i32::try_from(HEADER_BYTES - UNCOUNTED_BYTES).unwrap_or(0),
        partition_leader_epoch,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: i32::try_from(next_offset - base_offset - 1).unwrap_or(i32::MAX),
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    let mut batch = header.encode();
    let crc = seal_crc(&mut batch);
    (RecordBatchHeader { crc, ..header }, Bytes::copy_from_slice(&batch))
}
