//! Record batches that are none: each gets the code that Apache Kafka gives, where it gives one (compat-tests/oracle has the
//! same rows).

use bytes::{Bytes, BytesMut};

use crate::harness::{batch, crc32c};

/// A batch with some bytes changed; with `sealed`, its CRC is right again.
fn changed(at: usize, bytes: &[u8], sealed: bool) -> Bytes {
    let mut changed = BytesMut::from(&batch(&["a", "b"])[..]);
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    if sealed {
        let crc = crc32c(&changed[21..]);
        changed[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    changed.freeze()
}

/// With other record bytes and that codec, right otherwise.
fn packed(codec: u8, records: &[u8]) -> Bytes {
    let good = batch(&["a", "b"]);
    let mut out = BytesMut::from(&good[..61]);
    out.extend_from_slice(records);
    let length = u32::try_from(out.len() - 12).unwrap();
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[22] = codec;
    let crc = crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

/// A gzip member of stored blocks that says more is to come.
const GZIP_CUT: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0, 5, 0, 0xfa, 0xff, 1, 2];

/// 4 KiB of zstd for 128 MiB: a record that goes on for ever, in blocks of one repeated byte (RFC 8878).
fn zstd_bomb() -> Bytes {
    let head: &[u8] = &[0xfe, 0xff, 0xff, 0xff, 0x03, 0, 0, 0, 1, 0xc0, 0xff, 0xff, 0xff, 0x03];
    let frame: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let raw_block: &[u8] = &[(head.len() as u8) << 3, 0, 0];
    let repeated: &[u8] = &[0x02, 0, 0x10, 0]; // 128 KiB of zeros
    packed(4, &[frame, raw_block, head, &repeated.repeat(1_000)].concat())
}

/// What is sent, and its code.
pub(crate) fn rows() -> Vec<(&'static str, Bytes, i16)> {
    let good = batch(&["a", "b"]);
    vec![
        ("bad CRC", changed(17, &[1, 2, 3, 4], false), 2),
        ("count damaged", changed(57, &[0, 0, 0, 9], false), 2),
        ("attributes damaged", changed(21, &[0, 7], false), 2),
        ("producer id damaged", changed(43, &[0, 0, 0, 0, 0, 0, 0, 1], false), 2),
        ("magic 0", changed(16, &[0], false), 87),
        ("magic 1", changed(16, &[1], false), 87),
        ("magic 3", changed(16, &[3], false), 2),
        ("length past the batch", changed(8, &[0, 1, 0, 0], false), 2),
        ("length short", changed(8, &[0, 0, 0, 49], false), 2),
        ("length below a header", changed(8, &[0, 0, 0, 48], false), 2),
        ("length 0", changed(8, &[0; 4], false), 2),
        ("length -1", changed(8, &[0xff; 4], false), 2),
        ("length i32::MAX", changed(8, &[0x7f, 0xff, 0xff, 0xff], false), 2),
        ("base offset 1", changed(0, &[0, 0, 0, 0, 0, 0, 0, 1], false), 87),
        ("base offset -1", changed(0, &[0xff; 8], false), 87),
        ("last offset delta 9 of 2", changed(23, &[0, 0, 0, 9], true), 87),
        ("last offset delta -1", changed(23, &[0xff; 4], true), 87),
        ("count 0", changed(57, &[0; 4], true), 87),
        ("count -1", changed(57, &[0xff; 4], true), 87),
        ("count i32::MAX", changed(57, &[0x7f, 0xff, 0xff, 0xff], true), 87),
        ("control batch", changed(21, &[0, 0x20], true), 87),
        ("transactional without producer id", changed(21, &[0, 0x10], true), 87),
        ("LogAppendTime from a client", changed(21, &[0, 0x08], true), 32),
        ("delete horizon from a client", changed(21, &[0, 0x40], true), 87),
        ("reserved bit 7", changed(21, &[0, 0x80], true), 87),
        ("reserved bit 15", changed(21, &[0x80, 0], true), 87),
        ("compression 5", changed(21, &[0, 5], true), 76),
        ("compression 6", changed(21, &[0, 6], true), 76),
        ("compression 7", changed(21, &[0, 7], true), 76),
        ("gzip that is none", changed(21, &[0, 1], true), 87),
        ("snappy that is none", changed(21, &[0, 2], true), 87),
        ("lz4 that is none", changed(21, &[0, 3], true), 87),
        ("zstd that is none", changed(21, &[0, 4], true), 87),
        ("gzip cut off", packed(1, GZIP_CUT), 87),
        ("snappy that claims 4 GiB", packed(2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]), 87),
        ("xerial block of i32::MAX", packed(2, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff\0"), 87),
        ("xerial block of -1", packed(2, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff\0"), 87),
        ("lz4 without its end", packed(3, &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]), 87),
        ("zstd with a window of 2 TiB", packed(4, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0]), 87),
        ("4 KiB of zstd for 128 MiB", zstd_bomb(), 10),
        ("producer id without sequence", changed(43, &[0, 0, 0, 0, 0, 0, 0, 1], true), 87),
        ("record length past the batch", changed(61, &[0xfe, 0x7f], true), 87),
        ("record length -1", changed(61, &[1], true), 87),
        ("record length of ten bytes", changed(61, &[0xff; 10], true), 87),
        ("header count huge", changed(68, &[0xfe, 0xff, 0xff, 0xff, 0x0f], true), 87),
        ("two batches", [&good[..], &good[..]].concat().into(), 87),
        ("half a header", good.slice(..30), 2),
        ("one byte", good.slice(..1), 2),
        ("bytes after the batch", [&good[..], &[0]].concat().into(), 87),
        ("no bytes", Bytes::new(), 87),
    ]
}

/// A batch that says that it is zstd.
pub(crate) fn zstd() -> Bytes {
    changed(21, &[0, 4], true)
}
