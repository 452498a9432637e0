//! Record batches, segments and keys: pure bytes, no I/O, no async.
//!
//! A batch from a client is checked (`record_check`), given its place (`record_batch`), and put with others into a
//! segment (`builder`, `footer`), whose ranges are read back with `slice` and `search`. All bytes that come from
//! outside get a `Result`; layouts are in docs/format.md.

mod builder;
mod compress;
mod crc;
mod data_builder;
mod decompress;
pub mod encode;
mod error;
mod footer;
mod ids;
mod key;
mod producer_entries;
mod record_batch;
mod record_check;
mod record_filter;
mod record_walk;
mod search;
mod slice;
mod varint;

pub use builder::{FinishedSegment, SegmentBuilder};
pub use data_builder::DataBuilder;
pub use decompress::{UNPACKED_BYTES_MAX, unpacked_bytes_max};
pub use encode::{EncodeError, NewRecord, encode_batch};
pub use error::{BatchError, FormatError};
pub use footer::{BatchMeta, FOOTER_BYTES_MAX, Footer, RangeMeta, SEGMENT_VERSION, SegmentIdentity, TRAILER_BYTES};
pub use ids::{
    LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, ProducerEpoch, ProducerId,
    SessionId, TimestampMs, TopicId,
};
pub use key::{KeyError, ObjectKey, ObjectPurpose, REWRITE_SEQUENCE_BASE};
pub use producer_entries::{PRODUCER_BATCHES_KEPT, ProducerBatch, decode_producer_entries, encode_producer_entries};
pub use record_batch::{Compression, HEADER_BYTES, PlacedBatch, RecordBatchHeader, crc_matches, place};
pub use record_check::{
    CheckedRecords, HeaderError, REFUSED_RECORDS_NAMED_MAX, RecordCheckError, RecordRules, check_header, check_records,
};
pub use record_filter::{Filtered, RecordView, filter_records, visit_records};
pub use search::{find_max_timestamp, find_timestamp};
pub use slice::{BatchSlices, slice_batches, verify_range};
