//! Everything that reads bytes from outside, for property tests, the fuzz targets and the replay of their corpus. Whatever
//! the bytes: no panic, and bounded memory.

#![allow(dead_code, unreachable_pub, reason = "each test binary and fuzz target uses a part of it")]

use bytes::Bytes;
use segment::{
    Filtered, Footer, ObjectKey, RecordBatchHeader, RecordRules, check_header, check_records, crc_matches,
    decode_producer_entries, filter_records, find_max_timestamp, find_timestamp, slice_batches, verify_range,
    visit_records,
};

/// Bytes that a client sent for a partition, or a range as it was stored.
pub fn record_batch(bytes: &[u8]) {
    let rules = RecordRules { compacted: true, timestamp_min: 0, timestamp_max: 10 };
    if let Ok(header) = RecordBatchHeader::parse(bytes) {
        assert_eq!(RecordBatchHeader::parse(bytes), Ok(header));
        assert_eq!(header.encode()[..], bytes[..61]);
        let _ = check_header(&header, bytes.len());
        let batch = &bytes[..header.total_bytes()];
        let _ = crc_matches(batch);
        let _ = check_records(batch, &header, &rules);
        let _ = find_timestamp(batch, &header, 5);
        let _ = find_max_timestamp(batch, &header);
        if let Ok(Filtered::Part(left, bytes)) = filter_records(batch, &header, Some(7), |r| r.offset % 2 == 0) {
            assert!(crc_matches(&bytes) && RecordBatchHeader::parse(&bytes) == Ok(left));
            let mut kept = 0;
            visit_records(&bytes, &left, |record| kept += i32::from(record.offset % 2 == 0)).expect("what it wrote");
            assert_eq!(kept, left.record_count);
        }
        let _ = (header.last_sequence(), header.next_offset(), header.compression());
    }
    let range = Bytes::copy_from_slice(bytes);
    let _ = slice_batches(&range).count();
    let _ = verify_range(&range, 0);
}

/// The end of an object, and the small formats in it.
pub fn segment_footer(bytes: &[u8]) {
    let _ = Footer::locate(bytes, 1 << 20);
    let _ = decode_producer_entries(bytes);
    if let Ok(footer) = Footer::decode(bytes) {
        for range in &footer.ranges {
            let _ = decode_producer_entries(&range.producers);
            let _ = ObjectKey::parse(&range.predecessor);
            let _ = ObjectKey::parse(&range.successor);
        }
    }
}
