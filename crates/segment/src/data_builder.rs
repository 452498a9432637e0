//! Builds what a rewrite writes: committed batches of one or many partitions, put together into few large ranges.
//!
//! The object is never held whole: what is finished is taken away in between ([`DataBuilder::take_chunks`]). Batches stay as they
//! are, so nothing but the ranges' checksums is computed.

use bytes::Bytes;

use crate::builder::FinishedSegment;
use crate::crc::Crc32c;
use crate::footer::{DATA_HEAD, Footer, RangeMeta, SegmentIdentity};
use crate::record_batch::{HEADER_BYTES, RecordBatchHeader};
use crate::{LeaderEpoch, ObjectPurpose, PartitionKey};

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

    /// Begins a range, after ending the one before.
    ///
    /// # Panics
    /// If the partition belongs to another organization than the object (a bug of the caller).
    pub fn begin_range(&mut self, key: PartitionKey, leader_epoch: LeaderEpoch) {
        assert_eq!(key.organization, self.identity.organization, "a segment holds one organization's data");
        self.end_range();
        let meta = RangeMeta {
            key,
            leader_epoch,
            base_offset: -1,
            next_offset: -1,
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
    /// If no range is open, or the batch does not follow the one before it (bugs of the caller).
    #[expect(clippy::expect_used, reason = "a bug of the caller, as documented")]
    pub fn push(&mut self, header: &RecordBatchHeader, batch: Bytes) {
        let (meta, crc) = self.open.as_mut().expect("push without begin_range");
        if meta.byte_len == 0 {
            meta.base_offset = header.base_offset;
        } else {
            assert_eq!(header.base_offset, meta.next_offset, "batches of a range follow each other");
        }
        meta.next_offset = header.next_offset();
        meta.max_timestamp = meta.max_timestamp.max(header.max_timestamp);
        meta.byte_len += batch.len() as u64;
        self.bytes += batch.len() as u64;
        crc.update(&batch[..HEADER_BYTES]);
        self.chunks.push(batch);
    }

    /// Bytes of the open range.
    #[must_use]
    pub fn range_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |(meta, _)| meta.byte_len)
    }

    /// Ends the open range, if there is one.
    fn end_range(&mut self) {
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
