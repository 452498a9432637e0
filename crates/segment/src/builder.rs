//! Builds one segment: batches of many partitions, range by range, then the footer.
//!
//! Records are not copied: the object is a list of slices, most of them of the requests' own frames. CRCs of records are
//! not computed again either: a range's checksum covers its batch headers, each of which holds the CRC of its records.

use std::collections::HashMap;

use bytes::Bytes;

use crate::crc::Crc32c;
use crate::footer::{BatchMeta, FLUSH_HEAD, Footer, RangeMeta, SegmentIdentity};
use crate::producer_entries::{PRODUCER_BATCHES_KEPT, ProducerBatch, encode_producer_entries};
use crate::record_batch::{PlacedBatch, RecordBatchHeader};
use crate::{LeaderEpoch, ObjectPurpose, PartitionKey};

/// A segment that is being put together.
pub struct SegmentBuilder {
    identity: SegmentIdentity,
    chunks: Vec<Bytes>,
    bytes: u64,
    ranges: Vec<RangeMeta>,
    open: Option<OpenRange>,
}

struct OpenRange {
    meta: RangeMeta,
    headers_crc: Crc32c,
    producers: Vec<ProducerBatch>,
}

/// A whole segment, ready to be uploaded.
#[derive(Clone, Debug)]
pub struct FinishedSegment {
    /// The object as slices, in order.
    pub chunks: Vec<Bytes>,
    /// Their length in sum.
    pub object_bytes: u64,
    /// What is in it, as its footer says.
    pub ranges: Vec<RangeMeta>,
}

impl SegmentBuilder {
    /// An empty segment.
    #[must_use]
    pub fn new(identity: SegmentIdentity) -> Self {
        let head = Bytes::from_static(&FLUSH_HEAD);
        let bytes = length(&head);
        Self { identity, chunks: vec![head], bytes, ranges: Vec::new(), open: None }
    }

    /// Begins the range of a partition, after ending the one before. `predecessor` is the key of the object that holds
    /// the partition's range before this one, empty if there is none.
    ///
    /// # Panics
    /// If the partition belongs to another organization than the segment (a bug of the caller).
    pub fn begin_range(&mut self, key: PartitionKey, leader_epoch: LeaderEpoch, predecessor: String) {
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
            predecessor,
            successor: String::new(),
            producers: Bytes::new(),
            batches: Vec::new(),
        };
        self.open = Some(OpenRange { meta, headers_crc: Crc32c::new(), producers: Vec::new() });
    }

    /// Adds the next batch of the open range; `stored` is its header as [`place`](crate::place) returned it.
    ///
    /// # Panics
    /// If no range is open, or the batch does not follow the one before it (bugs of the caller).
    #[expect(clippy::expect_used, reason = "a bug of the caller, as documented")]
    pub fn push(&mut self, batch: PlacedBatch, stored: &RecordBatchHeader) {
        let range = self.open.as_mut().expect("push without begin_range");
        let meta = &mut range.meta;
        if meta.batches.is_empty() {
            meta.base_offset = stored.base_offset;
        } else {
            assert_eq!(stored.base_offset, meta.next_offset, "batches of a range follow each other");
        }
        meta.batches.push(BatchMeta {
            byte_position: meta.byte_len,
            base_offset: stored.base_offset,
            next_offset: stored.next_offset(),
            max_timestamp: stored.max_timestamp,
        });
        let batch_bytes = length(&batch.header) + length(&batch.records);
        meta.next_offset = stored.next_offset();
        meta.max_timestamp = meta.max_timestamp.max(stored.max_timestamp);
        meta.byte_len += batch_bytes;
        self.bytes += batch_bytes;
        range.headers_crc.update(&batch.header);
        range.producers.extend(ProducerBatch::of(stored, self.identity.written_at));
        self.chunks.push(batch.header);
        if !batch.records.is_empty() {
            self.chunks.push(batch.records);
        }
    }

    /// Ends the open range, if there is one; one without batches leaves no trace.
    pub fn end_range(&mut self) {
        let Some(OpenRange { mut meta, headers_crc, producers }) = self.open.take() else { return };
        if meta.batches.is_empty() {
            return;
        }
        meta.checksum = headers_crc.value();
        meta.producers = encode_producer_entries(&keep_last_of_each(producers));
        self.ranges.push(meta);
    }

    /// Bytes so far, without the footer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the open range and appends the footer.
    #[must_use]
    pub fn finish(mut self) -> FinishedSegment {
        self.end_range();
        let footer = Footer { purpose: ObjectPurpose::Flush, identity: self.identity, ranges: self.ranges };
        let tail = footer.encode();
        let object_bytes = self.bytes + length(&tail);
        self.chunks.push(tail);
        FinishedSegment { chunks: self.chunks, object_bytes, ranges: footer.ranges }
    }
}

/// Of each producer the last batches, in log order: duplicates are told by no more, so older ones are dead weight.
fn keep_last_of_each(batches: Vec<ProducerBatch>) -> Vec<ProducerBatch> {
    if batches.len() <= PRODUCER_BATCHES_KEPT {
        return batches;
    }
    let mut later = HashMap::new();
    let mut kept: Vec<ProducerBatch> = batches
        .into_iter()
        .rev()
        .filter(|batch| {
            let count: &mut usize = later.entry(batch.producer_id).or_default();
            *count += 1;
            *count <= PRODUCER_BATCHES_KEPT
        })
        .collect();
    kept.reverse();
    kept
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
