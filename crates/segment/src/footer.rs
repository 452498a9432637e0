//! The end of a segment: who wrote it and what is where in it, so that the bucket explains itself without the metadata
//! store.
//!
//! A reader takes the last bytes of the object, finds the footer with [`Footer::locate`], and decodes it with
//! [`Footer::decode`], which checks the footer's own CRC. Every count is checked against the bytes that are left before
//! anything is allocated. Layout in docs/format.md.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::crc::crc32c;
use crate::error::FormatError;
use crate::{
    LaneSequence, LeaderEpoch, ObjectPurpose, Offset, OrganizationId, PartitionKey, SessionId, TimestampMs, TopicId,
};

const WHAT: &str = "segment footer";
/// The newest version this crate reads: of what a rewrite wrote. What flushes write is of version 1.
pub const SEGMENT_VERSION: u16 = 2;
/// How an object begins: six bytes and the version.
pub(crate) const FLUSH_HEAD: [u8; 8] = *b"SHSEG\0\0\x01";
pub(crate) const DATA_HEAD: [u8; 8] = *b"SHSEG\0\0\x02";
const TAIL_MAGIC: [u8; 6] = *b"\0SHSEG";
/// The fixed end of an object: footer length, footer CRC, version, magic.
pub const TRAILER_BYTES: usize = 16;
/// No footer is larger; a length beyond it is damage.
pub const FOOTER_BYTES_MAX: usize = 256 << 20;
/// What a range has in every version.
const RANGE_BYTES_MIN: usize = 16 + 4 + 4 + 8 + 8 + 8 + 8 + 4 + 8 + 2;
const BATCH_BYTES: usize = 8 + 8 + 8 + 8;

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// The cluster, as the bucket's `cluster.json` names it.
    pub cluster_id: Uuid,
    /// Owner of everything in it.
    pub organization: OrganizationId,
    /// The session that wrote it.
    pub session: SessionId,
    /// Its number within the session.
    pub lane_sequence: LaneSequence,
    /// The highest lane sequence of this session that was committed, with the fate of every lower one settled, when this
    /// segment was built; -1 = none. See docs/format.md, "Rebuild".
    pub committed_through: LaneSequence,
    /// The agent's clock when it was built.
    pub written_at: TimestampMs,
}

/// One partition's part of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMeta {
    /// Which partition.
    pub key: PartitionKey,
    /// The epoch under which the offsets were given out.
    pub leader_epoch: LeaderEpoch,
    /// First offset.
    pub base_offset: Offset,
    /// First offset after it.
    pub next_offset: Offset,
    /// Where the range begins in the object.
    pub byte_start: u64,
    /// Its length.
    pub byte_len: u64,
    /// CRC32C over the 61-byte headers of its batches, one after the other.
    pub checksum: u32,
    /// Greatest timestamp of its records.
    pub max_timestamp: TimestampMs,
    /// Of a flush: key of the object that holds the partition's range before this one; empty = none.
    pub predecessor: String,
    /// Of a rewrite: key of the object that held the partition's range after this one; empty = this object.
    pub successor: String,
    /// Of a flush: encoded producer entries of its idempotent batches, the last five of each producer.
    pub producers: Bytes,
    /// Of a flush: its batches.
    pub batches: Vec<BatchMeta>,
}

/// One batch of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Where it begins in the range.
    pub byte_position: u64,
    /// First offset.
    pub base_offset: Offset,
    /// First offset after it.
    pub next_offset: Offset,
    /// Greatest timestamp of its records.
    pub max_timestamp: TimestampMs,
}

/// What the end of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// What wrote it: decides the version.
    pub purpose: ObjectPurpose,
    /// Who wrote it.
    pub identity: SegmentIdentity,
    /// What is in it, in the order of the bytes.
    pub ranges: Vec<RangeMeta>,
}

impl Footer {
    /// Where the footer of an object of `object_bytes` begins, and its length with the trailer; `tail` are the object's
    /// last bytes, at least [`TRAILER_BYTES`].
    ///
    /// # Errors
    /// Not the end of a segment, or of a newer version.
    pub fn locate(tail: &[u8], object_bytes: u64) -> Result<(u64, u64), FormatError> {
        let trailer = Trailer::read(tail)?;
        let taken = to_u64(trailer.footer_bytes) + to_u64(TRAILER_BYTES);
        let start = object_bytes.checked_sub(taken).ok_or(damaged("footer longer than the object"))?;
        if start < to_u64(FLUSH_HEAD.len()) {
            return Err(damaged("footer longer than the object"));
        }
        Ok((start, taken))
    }

    /// Decodes the footer at the end of `tail`, the object's last bytes, at least as many as
    /// [`locate`](Self::locate) says.
    ///
    /// # Errors
    /// Too few bytes, a wrong checksum, a newer version, or contents that cannot be.
    pub fn decode(tail: &[u8]) -> Result<Self, FormatError> {
        let trailer = Trailer::read(tail)?;
        let before = tail.len() - TRAILER_BYTES;
        let start = before.checked_sub(trailer.footer_bytes).ok_or(damaged("not all of it was read"))?;
        let footer = &tail[start..before];
        let actual = crc32c(footer);
        if actual != trailer.crc {
            return Err(FormatError::Checksum { what: WHAT, expected: trailer.crc, actual });
        }
        Fields(footer).footer(trailer.purpose)
    }

    /// The footer's bytes, trailer and all.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        let identity = &self.identity;
        out.put_slice(identity.cluster_id.as_bytes());
        out.put_i64(identity.organization.0);
        out.put_i64(identity.session.0);
        out.put_i64(identity.lane_sequence);
        out.put_i64(identity.committed_through);
        out.put_i64(identity.written_at);
        out.put_u32(to_u32(self.ranges.len()));
        for range in &self.ranges {
            put_range(&mut out, range, self.purpose);
        }
        let (footer_bytes, crc) = (to_u32(out.len()), crc32c(&out));
        assert!(out.len() <= FOOTER_BYTES_MAX, "a flush is bounded far below the largest footer");
        out.put_u32(footer_bytes);
        out.put_u32(crc);
        out.put_u16(version_of(self.purpose));
        out.put_slice(&TAIL_MAGIC);
        out.freeze()
    }
}

/// The version of what it writes.
fn version_of(purpose: ObjectPurpose) -> u16 {
    match purpose {
        ObjectPurpose::Flush => 1,
        ObjectPurpose::Data => SEGMENT_VERSION,
    }
}

fn put_range(out: &mut BytesMut, range: &RangeMeta, purpose: ObjectPurpose) {
    out.put_slice(range.key.topic_id.0.as_bytes());
    out.put_i32(range.key.partition);
    out.put_i32(range.leader_epoch);
    out.put_i64(range.base_offset);
    out.put_i64(range.next_offset);
    out.put_u64(range.byte_start);
    out.put_u64(range.byte_len);
    out.put_u32(range.checksum);
    out.put_i64(range.max_timestamp);
    let neighbour = match purpose {
        ObjectPurpose::Flush => &range.predecessor,
        ObjectPurpose::Data => &range.successor,
    };
    out.put_u16(u16::try_from(neighbour.len()).unwrap_or(u16::MAX));
    out.put_slice(neighbour.as_bytes());
    if purpose == ObjectPurpose::Data {
        return;
    }
    out.put_u32(to_u32(range.producers.len()));
    out.put_slice(&range.producers);
    out.put_u32(to_u32(range.batches.len()));
    for batch in &range.batches {
        out.put_u64(batch.byte_position);
        out.put_i64(batch.base_offset);
        out.put_i64(batch.next_offset);
        out.put_i64(batch.max_timestamp);
    }
}

struct Trailer {
    footer_bytes: usize,
    crc: u32,
    purpose: ObjectPurpose,
}

impl Trailer {
    fn read(tail: &[u8]) -> Result<Self, FormatError> {
        let mut fields: &[u8] = tail.last_chunk::<TRAILER_BYTES>().ok_or(damaged("no trailer"))?;
        let footer_bytes = usize::try_from(fields.get_u32()).unwrap_or(usize::MAX);
        let crc = fields.get_u32();
        let version = fields.get_u16();
        if fields != TAIL_MAGIC {
            return Err(damaged("not the end of a segment"));
        }
        let known = [ObjectPurpose::Flush, ObjectPurpose::Data];
        let Some(purpose) = known.into_iter().find(|purpose| version_of(*purpose) == version) else {
            return Err(FormatError::Version {
                what: "segment",
                version: version.into(),
                supported: SEGMENT_VERSION.into(),
            });
        };
        if footer_bytes > FOOTER_BYTES_MAX {
            return Err(damaged("its length cannot be"));
        }
        Ok(Self { footer_bytes, crc, purpose })
    }
}

/// What is left of a footer.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(damaged("it ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Checks a count of elements against the bytes that are left, before anything is allocated for them.
    fn count(&mut self, element_bytes_min: usize) -> Result<usize, FormatError> {
        let count = usize::try_from(self.take(4)?.get_u32()).unwrap_or(usize::MAX);
        if count > self.0.len() / element_bytes_min {
            return Err(damaged("a count is more than its bytes hold"));
        }
        Ok(count)
    }

    fn footer(mut self, purpose: ObjectPurpose) -> Result<Footer, FormatError> {
        let identity = SegmentIdentity {
            cluster_id: self.uuid()?,
            organization: OrganizationId(self.take(8)?.get_i64()),
            session: SessionId(self.take(8)?.get_i64()),
            lane_sequence: self.take(8)?.get_i64(),
            committed_through: self.take(8)?.get_i64(),
            written_at: self.take(8)?.get_i64(),
        };
        let count = self.count(RANGE_BYTES_MIN)?;
        let ranges = (0..count).map(|_| self.range(identity.organization, purpose)).collect::<Result<_, _>>()?;
        if !self.0.is_empty() {
            return Err(damaged("it goes on after its last range"));
        }
        Ok(Footer { purpose, identity, ranges })
    }

    fn range(&mut self, organization: OrganizationId, purpose: ObjectPurpose) -> Result<RangeMeta, FormatError> {
        let topic_id = TopicId(self.uuid()?);
        let partition = self.take(4)?.get_i32();
        let mut range = RangeMeta {
            key: PartitionKey { organization, topic_id, partition },
            leader_epoch: self.take(4)?.get_i32(),
            base_offset: self.take(8)?.get_i64(),
            next_offset: self.take(8)?.get_i64(),
            byte_start: self.take(8)?.get_u64(),
            byte_len: self.take(8)?.get_u64(),
            checksum: self.take(4)?.get_u32(),
            max_timestamp: self.take(8)?.get_i64(),
            predecessor: String::new(),
            successor: String::new(),
            producers: Bytes::new(),
            batches: Vec::new(),
        };
        match purpose {
            ObjectPurpose::Data => range.successor = self.object_key()?,
            ObjectPurpose::Flush => {
                range.predecessor = self.object_key()?;
                let producers_bytes = self.count(1)?;
                range.producers = Bytes::copy_from_slice(self.take(producers_bytes)?);
                let count = self.count(BATCH_BYTES)?;
                range.batches = (0..count).map(|_| self.batch()).collect::<Result<_, _>>()?;
            }
        }
        if range.base_offset < 0 || range.next_offset <= range.base_offset {
            return Err(damaged("a range's offsets cannot be"));
        }
        if range.byte_start.checked_add(range.byte_len).is_none() {
            return Err(damaged("a range's place cannot be"));
        }
        Ok(range)
    }

    fn batch(&mut self) -> Result<BatchMeta, FormatError> {
        Ok(BatchMeta {
            byte_position: self.take(8)?.get_u64(),
            base_offset: self.take(8)?.get_i64(),
            next_offset: self.take(8)?.get_i64(),
            max_timestamp: self.take(8)?.get_i64(),
        })
    }

    fn object_key(&mut self) -> Result<String, FormatError> {
        let bytes = usize::from(self.take(2)?.get_u16());
        let key = std::str::from_utf8(self.take(bytes)?).map_err(|_| damaged("the key of an object is no text"))?;
        Ok(key.to_owned())
    }

    fn uuid(&mut self) -> Result<Uuid, FormatError> {
        let bytes = self.take(16)?.first_chunk::<16>().ok_or(damaged("it ends within a field"))?;
        Ok(Uuid::from_bytes(*bytes))
    }
}

fn damaged(why: &'static str) -> FormatError {
    FormatError::Damaged { what: WHAT, why }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
