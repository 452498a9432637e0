//! The records of a batch as a stream of bytes, unpacked as they are read, and never more than a bound.
//!
//! What a client claims is checked before anything is allocated for it. Output is at most
//! `min(64 MiB, 100 × compressed + 1 MiB)` a batch; memory at most one block of the codec (gzip 64 KiB, LZ4 4 MiB, zstd its
//! window, of which only pages that hold output are touched, snappy one block).
//!
//! What Kafka's Java consumers cannot read is refused here, because a stored batch that a consumer cannot read stops it
//! for good: LZ4 with linked blocks, more than one frame, or without its end mark.

use std::io::{self, BufRead, BufReader, Read};

use crate::record_batch::{Compression, HEADER_BYTES, RecordBatchHeader};
use crate::record_check::RecordCheckError;

/// Records of one batch never unpack to more.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// A batch may unpack to this many times its size...
const UNPACKED_RATIO_MAX: u64 = 100;
/// ...and this much more, so that a small batch of equal bytes passes.
const UNPACKED_BYTES_FREE: u64 = 1 << 20;
/// Snappy's densest element turns 3 bytes into 64; a block that claims more than this ratio lies.
const SNAPPY_RATIO_MAX: usize = 32;
const SNAPPY_FRAMED_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version, compatible version.
const SNAPPY_FRAMED_HEADER_BYTES: usize = 16;
/// Kafka's own clients go up to level 22, whose window is 2^27.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER_BYTES: usize = 64 << 10;

/// Most bytes that `compressed_bytes` may unpack to.
#[must_use]
pub fn unpacked_bytes_max(compressed_bytes: usize) -> u64 {
    let compressed = u64::try_from(compressed_bytes).unwrap_or(u64::MAX);
    UNPACKED_BYTES_MAX.min(compressed.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FREE))
}

/// Reads the record bytes of one batch.
pub(crate) enum RecordReader<'a> {
    /// As they are.
    Plain(&'a [u8]),
    /// Block by block.
    Snappy(SnappyReader<'a>),
    /// gzip, LZ4, zstd.
    Stream { reader: BufReader<Bounded<Box<dyn Read + 'a>>>, limit: u64 },
}

impl<'a> RecordReader<'a> {
    /// Over the records of one whole batch from a client.
    pub(crate) fn open(batch: &'a [u8], header: &RecordBatchHeader) -> Result<Self, RecordCheckError> {
        Self::open_within(batch, header, unpacked_bytes_max(batch.len().saturating_sub(HEADER_BYTES)))
    }

    /// Over the records of one that is stored: it was checked when it came, and what compaction left of it may be denser.
    pub(crate) fn open_stored(batch: &'a [u8], header: &RecordBatchHeader) -> Result<Self, RecordCheckError> {
        Self::open_within(batch, header, UNPACKED_BYTES_MAX)
    }

    fn open_within(batch: &'a [u8], header: &RecordBatchHeader, limit: u64) -> Result<Self, RecordCheckError> {
        let records = batch.get(HEADER_BYTES..).ok_or_else(|| RecordCheckError::malformed("no records"))?;
        let compression = header.compression().map_err(|_| RecordCheckError::UnknownCompression)?;
        let stream: Box<dyn Read + 'a> = match compression {
            Compression::None => return Ok(Self::Plain(records)),
            Compression::Snappy => return SnappyReader::open(records, limit).map(Self::Snappy),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(records)),
            Compression::Lz4 => {
                check_lz4_frame(records).map_err(RecordCheckError::malformed)?;
                Box::new(lz4_flex::frame::FrameDecoder::new(records))
            }
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(records).map_err(|e| unpack_error(&e, limit))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| unpack_error(&e, limit))?;
                Box::new(decoder)
            }
        };
        Ok(Self::Stream {
            reader: BufReader::with_capacity(BUFFER_BYTES, Bounded { inner: stream, left: limit }),
            limit,
        })
    }

    /// The next bytes, at least one; empty = the end.
    pub(crate) fn window(&mut self) -> Result<&[u8], RecordCheckError> {
        match self {
            Self::Plain(rest) => Ok(rest),
            Self::Snappy(reader) => reader.window(),
            Self::Stream { reader, limit } => reader.fill_buf().map_err(|e| unpack_error(&e, *limit)),
        }
    }

    /// Leaves the first `count` bytes of the window behind.
    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            Self::Plain(rest) => *rest = rest.get(count..).unwrap_or_default(),
            Self::Snappy(reader) => reader.position += count,
            Self::Stream { reader, .. } => reader.consume(count),
        }
    }
}

/// Marks the error of a stream that gave more than its bound.
#[derive(Debug, thiserror::Error)]
#[error("the batch unpacks to too much")]
struct LimitExceeded;

fn unpack_error(error: &io::Error, limit_bytes: u64) -> RecordCheckError {
    if error.get_ref().is_some_and(|inner| inner.is::<LimitExceeded>()) {
        return RecordCheckError::TooLarge { limit_bytes };
    }
    RecordCheckError::Malformed(format!("records cannot be decompressed: {error}"))
}

/// A reader that fails once it has given more than its bound.
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left =
            self.left.checked_sub(u64::try_from(count).unwrap_or(u64::MAX)).ok_or(io::Error::other(LimitExceeded))?;
        Ok(count)
    }
}

/// Snappy as Kafka's clients write it: one raw block, or the xerial framing (header, then blocks with a big-endian
/// `i32` length each).
pub(crate) struct SnappyReader<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    position: usize,
    limit: u64,
    left: u64,
}

impl<'a> SnappyReader<'a> {
    fn open(records: &'a [u8], limit: u64) -> Result<Self, RecordCheckError> {
        let framed = records.starts_with(SNAPPY_FRAMED_MAGIC);
        let start = if framed { SNAPPY_FRAMED_HEADER_BYTES } else { 0 };
        let rest = records.get(start..).ok_or_else(|| RecordCheckError::malformed("snappy header is cut off"))?;
        Ok(Self { rest, framed, block: Vec::new(), position: 0, limit, left: limit })
    }

    fn window(&mut self) -> Result<&[u8], RecordCheckError> {
        while self.position >= self.block.len() && !self.rest.is_empty() {
            let packed = self.take_block()?;
            self.unpack(packed)?;
        }
        Ok(self.block.get(self.position..).unwrap_or_default())
    }

    fn take_block(&mut self) -> Result<&'a [u8], RecordCheckError> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        let cut = || RecordCheckError::malformed("snappy block is cut off");
        let (length, after) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| cut())?;
        let (packed, rest) = after.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(packed)
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<(), RecordCheckError> {
        let lie = || RecordCheckError::malformed("snappy block does not have the length it claims");
        let claimed = snap::raw::decompress_len(packed).map_err(|_| lie())?;
        if claimed > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(lie());
        }
        let too_large = RecordCheckError::TooLarge { limit_bytes: self.limit };
        self.left = u64::try_from(claimed).ok().and_then(|bytes| self.left.checked_sub(bytes)).ok_or(too_large)?;
        self.block.resize(claimed, 0);
        self.position = 0;
        let unpacked = snap::raw::Decoder::new().decompress(packed, &mut self.block).map_err(|_| lie())?;
        self.block.truncate(unpacked);
        Ok(())
    }
}

/// Walks one LZ4 frame without unpacking it: independent blocks, the end mark, and nothing behind it. The decoder takes a
/// frame without its end mark, and more frames; Kafka's own takes neither.
fn check_lz4_frame(frame: &[u8]) -> Result<(), &'static str> {
    const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
    const CUT: &str = "LZ4 frame is cut off";
    let (magic, rest) = frame.split_first_chunk::<4>().ok_or(CUT)?;
    if *magic != MAGIC {
        return Err("not an LZ4 frame");
    }
    let flags = *rest.first().ok_or(CUT)?;
    let set = |bit: u8| flags >> bit & 1 == 1;
    if !set(5) {
        return Err("LZ4 blocks depend on each other, which Kafka does not allow");
    }
    // Flags, block descriptor, content size, dictionary id, header checksum.
    let descriptor_bytes = 2 + if set(3) { 8 } else { 0 } + if set(0) { 4 } else { 0 } + 1;
    let mut rest = rest.get(descriptor_bytes..).ok_or(CUT)?;
    let block_checksum_bytes = if set(4) { 4 } else { 0 };
    loop {
        let (size, after) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            let trailer_bytes = if set(2) { 4 } else { 0 };
            return if after.len() == trailer_bytes { Ok(()) } else { Err("LZ4 frame does not end with the batch") };
        }
        let block_bytes = usize::try_from(size & 0x7fff_ffff).map_err(|_| CUT)? + block_checksum_bytes;
        rest = after.get(block_bytes..).ok_or(CUT)?;
    }
}
