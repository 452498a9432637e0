//! Every codec, and what is refused of each: bombs, lies and what Kafka's consumers cannot read.

#![expect(clippy::unwrap_used, reason = "a sample that cannot be made fails its test")]

use std::io::Write;
use std::time::Instant;

use segment::{Compression, RecordBatchHeader, RecordCheckError, RecordRules, check_records, find_max_timestamp};

use crate::samples::{CODECS, header_of, pack, pack_xerial, plain_batch, recompressed, seal, with_records};

fn check(batch: &[u8]) -> Result<i64, RecordCheckError> {
    check_records(batch, &header_of(batch), &RecordRules::ANY).map(|checked| checked.max_timestamp)
}

#[test]
fn every_codec_is_read_to_its_last_record() {
    // More than the stream's buffer, so that records lie across windows.
    let batch = plain_batch(3000, 97, None);
    for codec in CODECS {
        let packed = recompressed(&batch, codec);
        assert_eq!(check(&packed), Ok(3999), "{codec:?}");
        assert_eq!(find_max_timestamp(&packed, &header_of(&packed)), Ok((2999, 3999)), "{codec:?}");
    }
    let xerial = with_records(&batch, Compression::Snappy, &pack_xerial(&batch[61..]));
    assert_eq!(check(&xerial), Ok(3999));
}

#[test]
fn a_bomb_is_refused_early() {
    let zeros = vec![0; 66 << 20];
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let bomb = with_records(&plain_batch(1, 0, None), codec, &pack(codec, &record_of(&zeros[..24 << 20])));
        let limit_bytes = segment::unpacked_bytes_max(bomb.len() - 61);
        assert!(limit_bytes <= 64 << 20);
        assert_eq!(check(&bomb), Err(RecordCheckError::TooLarge { limit_bytes }), "{codec:?}");
    }
    // Blocks that are each honest, and too many of them.
    let bomb = with_records(&plain_batch(1, 0, None), Compression::Snappy, &pack_xerial(&record_of(&zeros)));
    assert_eq!(check(&bomb), Err(RecordCheckError::TooLarge { limit_bytes: 64 << 20 }));
}

/// One record with this value and nothing else.
fn record_of(value: &[u8]) -> Vec<u8> {
    let record = crate::samples::record(None, value, 1000);
    segment::encode_batch(&[record], None).unwrap()[61..].to_vec()
}

#[test]
fn a_thirty_two_kib_zstd_that_unpacks_to_a_gib_costs_little() {
    // A record of 2^29 bytes whose value is all zeros: well-formed until the bound is reached.
    let head = [0xfe, 0xff, 0xff, 0xff, 0x03, 0, 0, 0, 1, 0xc0, 0xff, 0xff, 0xff, 0x03];
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&head).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    let packed = encoder.finish().unwrap();
    let bomb = with_records(&plain_batch(1, 0, None), Compression::Zstd, &packed);
    #[expect(clippy::disallowed_methods, reason = "prints what it costs")]
    let started = Instant::now();
    let limit_bytes = segment::unpacked_bytes_max(packed.len());
    assert!(limit_bytes < 16 << 20, "1 GiB in {} bytes", packed.len());
    assert_eq!(check(&bomb), Err(RecordCheckError::TooLarge { limit_bytes }));
    println!("{} bytes that unpack to 1 GiB: refused in {:?}", packed.len(), started.elapsed());
}

#[test]
fn truncated_streams_are_refused() {
    let batch = plain_batch(50, 100, None);
    for codec in CODECS {
        let packed = pack(codec, &batch[61..]);
        for cut in [1, 4, packed.len() / 2, packed.len() - 1] {
            let short = with_records(&batch, codec, &packed[..packed.len() - cut]);
            assert!(matches!(check(&short), Err(RecordCheckError::Malformed(_))), "{codec:?} less {cut}");
        }
        let long = with_records(&batch, codec, &[&packed[..], b"\x01\x02"].concat());
        assert!(matches!(check(&long), Err(RecordCheckError::Malformed(_))), "{codec:?} and more");
    }
}

#[test]
fn lying_snappy_and_lz4_headers_allocate_nothing() {
    let batch = plain_batch(1, 10, None);
    // Claims 2^32 - 1 bytes.
    let lie = with_records(&batch, Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    assert!(matches!(check(&lie), Err(RecordCheckError::Malformed(_))));
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    framed.extend(i32::MAX.to_be_bytes());
    let lie = with_records(&batch, Compression::Snappy, &framed);
    assert!(matches!(check(&lie), Err(RecordCheckError::Malformed(_))));
    let mut frame = pack(Compression::Lz4, &batch[61..]);
    frame[7..11].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    assert!(matches!(check(&with_records(&batch, Compression::Lz4, &frame)), Err(RecordCheckError::Malformed(_))));
}

#[test]
fn lz4_with_linked_blocks_is_refused_because_kafka_cannot_read_it() {
    let batch = plain_batch(50, 100, None);
    let info = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Linked);
    let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(&batch[61..]).unwrap();
    let linked = with_records(&batch, Compression::Lz4, &out.finish().unwrap());
    assert!(matches!(check(&linked), Err(RecordCheckError::Malformed(_))));
}

#[test]
fn a_record_count_that_lies_is_refused() {
    let batch = plain_batch(3, 10, None);
    for record_count in [1, 2, 4, i32::MAX] {
        for codec in CODECS {
            let packed = recompressed(&batch, codec);
            let lie = seal(&packed, RecordBatchHeader { record_count, ..header_of(&packed) });
            assert!(matches!(check(&lie), Err(RecordCheckError::Malformed(_))), "{codec:?} {record_count}");
        }
    }
}
