//! The records of a batch, compressed as they are written, in a form that every client reads.

use std::io::{self, Write};

use crate::record_batch::Compression;

/// Snappy as Kafka's own clients write it: magic, version and compatible version, then blocks with a big-endian length each.
const SNAPPY_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// Kafka's default.
const ZSTD_LEVEL: i32 = 3;

/// Appends to a batch.
pub(crate) enum Packer {
    Plain(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy { out: Vec<u8>, block: Vec<u8> },
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// Goes on after what is in `out`, which stays as it is.
    pub(crate) fn new(compression: Compression, mut out: Vec<u8>) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => Self::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::default())),
            Compression::Snappy => {
                out.extend_from_slice(&SNAPPY_HEADER);
                Self::Snappy { out, block: Vec::with_capacity(SNAPPY_BLOCK_BYTES) }
            }
            Compression::Lz4 => {
                // Kafka's consumers take independent blocks only.
                let mut frame = lz4_flex::frame::FrameInfo::new();
                frame.block_mode = lz4_flex::frame::BlockMode::Independent;
                frame.block_size = lz4_flex::frame::BlockSize::Max64KB;
                Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(frame, out)))
            }
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?),
        })
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.extend_from_slice(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes)?,
            Self::Lz4(encoder) => encoder.write_all(bytes)?,
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
            Self::Snappy { out, block } => {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(SNAPPY_BLOCK_BYTES - block.len()));
                    block.extend_from_slice(now);
                    bytes = later;
                    if block.len() == SNAPPY_BLOCK_BYTES {
                        end_snappy_block(out, block)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All that was there and was written.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Snappy { mut out, mut block } => {
                if !block.is_empty() {
                    end_snappy_block(&mut out, &mut block)?;
                }
                Ok(out)
            }
        }
    }
}

fn end_snappy_block(out: &mut Vec<u8>, block: &mut Vec<u8>) -> io::Result<()> {
    let packed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
    let length = i32::try_from(packed.len()).map_err(io::Error::other)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&packed);
    block.clear();
    Ok(())
}
