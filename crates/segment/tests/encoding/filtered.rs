//! Records taken out of stored batches: what is left is what it was, in every codec, and read as before.

#![expect(clippy::unwrap_used, reason = "a sample that cannot be read fails its test")]

use bytes::Bytes;
use segment::{
    DataBuilder, Filtered, NewRecord, Offset, RecordBatchHeader, encode_batch, filter_records, find_max_timestamp,
    find_timestamp, place, verify_range, visit_records,
};

use crate::samples::{CODECS, data_identity, header_of, partition, plain_batch, recompressed, record};

const BASE: Offset = 100;
const HORIZON: i64 = 1_800_000_000_000;

/// As it is stored: with offsets, under epoch 3.
fn stored(batch: &Bytes, log_append_time: Option<i64>) -> Bytes {
    let (placed, _) = place(batch, &header_of(batch), BASE, 3, log_append_time);
    [placed.header, placed.records].concat().into()
}

/// Offsets, timestamps, keys and whether there is a value.
fn records(batch: &[u8]) -> Vec<(Offset, i64, Option<Vec<u8>>, bool)> {
    let mut found = Vec::new();
    visit_records(batch, &header_of(batch), |record| {
        found.push((record.offset, record.timestamp, record.key.map(<[u8]>::to_vec), record.has_value));
    })
    .unwrap();
    found
}

fn filter(batch: &Bytes, horizon: Option<i64>, wanted: impl Fn(Offset) -> bool) -> Filtered {
    filter_records(batch, &header_of(batch), horizon, |record| wanted(record.offset)).unwrap()
}

fn part(filtered: Filtered) -> (RecordBatchHeader, Bytes) {
    let Filtered::Part(header, bytes) = filtered else { unreachable!("{filtered:?}") };
    assert!(segment::crc_matches(&bytes));
    assert_eq!((header_of(&bytes), header.total_bytes()), (header, bytes.len()));
    (header, bytes)
}

fn tombstone(timestamp: i64) -> NewRecord {
    NewRecord { value: None, ..record(Some(b"gone"), b"", timestamp) }
}

#[test]
fn what_is_left_is_what_it_was_in_every_codec() {
    // More than the buffer of a stream, so that records lie across windows.
    let plain = plain_batch(3_000, 97, Some((9, 2, 40)));
    for codec in CODECS {
        let batch = stored(&recompressed(&plain, codec), None);
        let before = header_of(&batch);
        let (header, left) = part(filter(&batch, Some(HORIZON), |offset| offset % 3 == 0 && offset < 2_900));
        let expected: Vec<_> = records(&batch).into_iter().filter(|(o, ..)| o % 3 == 0 && *o < 2_900).collect();
        assert_eq!(records(&left), expected, "{codec:?}");
        let last = expected.last().unwrap();
        let same = RecordBatchHeader {
            record_count: i32::try_from(expected.len()).unwrap(),
            max_timestamp: last.1,
            batch_length: header.batch_length,
            crc: header.crc,
            ..before
        };
        assert_eq!(header, same, "offsets, producer, codec and base timestamp stay");
        assert_eq!(find_timestamp(&left, &header, last.1), Ok(Some((last.0, last.1))));
        assert_eq!(find_max_timestamp(&left, &header), Ok((last.0, last.1)));
        // What was taken out once can be taken out of again.
        let (_, less) = part(filter(&left, Some(HORIZON), |offset| offset == last.0));
        assert_eq!(records(&less), std::slice::from_ref(last));
    }
}

#[test]
fn a_batch_that_loses_nothing_or_everything_is_not_written() {
    let batch = stored(&plain_batch(3, 1, None), None);
    assert_eq!(filter(&batch, Some(HORIZON), |_| true), Filtered::Whole);
    assert_eq!(filter(&batch, Some(HORIZON), |_| false), Filtered::Nothing);
}

#[test]
fn a_tombstone_that_stays_gives_its_batch_a_horizon_once() {
    let records_in = [record(Some(b"a"), b"1", 1_000), tombstone(1_007), record(Some(b"b"), b"1", -1)];
    let plain = encode_batch(&records_in, None).unwrap();
    for codec in CODECS {
        let batch = stored(&recompressed(&plain, codec), None);
        assert_eq!(filter(&batch, None, |_| true), Filtered::Whole, "not before it is to get one");
        let (header, marked) = part(filter(&batch, Some(HORIZON), |_| true));
        assert_eq!(header.delete_horizon(), Some(HORIZON));
        assert_eq!((header.base_timestamp, header.max_timestamp, header.record_count), (HORIZON, 1_007, 3));
        assert_eq!(records(&marked), records(&batch), "timestamps among them");
        assert_eq!(filter(&marked, Some(HORIZON + 1), |_| true), Filtered::Whole);
        let (header, less) = part(filter(&marked, Some(HORIZON + 1), |offset| offset != BASE));
        assert_eq!(header.delete_horizon(), Some(HORIZON));
        assert_eq!(records(&less), records(&batch)[1..]);
        let without = part(filter(&batch, Some(HORIZON), |offset| offset != BASE + 1)).0;
        assert_eq!(without.delete_horizon(), None, "none of it is left");
    }
}

#[test]
fn an_append_time_stays() {
    let batch = stored(&encode_batch(&[record(Some(b"a"), b"1", 5), tombstone(6)], None).unwrap(), Some(70));
    let (header, left) = part(filter(&batch, Some(HORIZON), |offset| offset == BASE + 1));
    assert_eq!((header.max_timestamp, header.is_log_append_time()), (70, true));
    assert_eq!(records(&left), [(BASE + 1, 70, Some(b"gone".to_vec()), false)]);
}

#[test]
fn control_batches_stay() {
    let mut header = header_of(&stored(&plain_batch(1, 1, None), None));
    header.attributes |= 0x20;
    let batch = crate::samples::seal(&stored(&plain_batch(1, 1, None), None), header);
    assert_eq!(filter(&batch, Some(HORIZON), |_| false), Filtered::Whole);
    assert_eq!(records(&batch), []);
}

#[test]
fn what_is_left_may_be_denser_than_a_client_may_send() {
    let mut noise = vec![0; 400_000];
    let mut state = 1_u64;
    noise.fill_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u8::try_from(state >> 56).unwrap()
    });
    let plain =
        encode_batch(&[record(Some(b"a"), &noise, 1), record(Some(b"b"), &vec![0; 20 << 20], 2)], None).unwrap();
    for codec in [segment::Compression::Gzip, segment::Compression::Zstd] {
        let (header, left) = part(filter(&stored(&recompressed(&plain, codec), None), None, |offset| offset > BASE));
        assert!(segment::unpacked_bytes_max(left.len()) < 20 << 20, "{} bytes", left.len());
        assert_eq!(find_timestamp(&left, &header, 2), Ok(Some((BASE + 1, 2))));
        assert_eq!(filter(&left, None, |_| true), Filtered::Whole);
    }
}

#[test]
fn damage_is_an_error() {
    let batch = stored(&plain_batch(3, 5, None), None);
    for at in 61..batch.len() {
        let mut damaged = batch.to_vec();
        damaged[at] ^= 0x80;
        // Nor does it panic where it is not noticed: that is the CRC's affair.
        let _ = filter_records(&damaged, &header_of(&damaged), Some(HORIZON), |record| record.offset == BASE);
    }
    let mut short = header_of(&batch);
    short.record_count = 4;
    assert!(filter_records(&batch, &short, None, |_| true).is_err());
}

#[test]
fn a_range_covers_its_holes_and_is_never_without_bytes() {
    let batch = stored(&plain_batch(3, 5, None), None);
    let mut builder = DataBuilder::new(data_identity());
    builder.begin_range(partition(1, 0), 3, 90);
    builder.push(&header_of(&batch), batch.clone());
    builder.cover(120);
    builder.begin_range(partition(1, 0), 3, 120);
    builder.cover(125);
    builder.begin_range(partition(1, 1), 3, 7);
    builder.cover(7 + (1 << 40));
    builder.begin_range(partition(1, 2), 3, 0);
    let finished = builder.finish();
    let object = Bytes::from(finished.chunks.concat());
    let extents: Vec<_> = finished.ranges.iter().map(|range| (range.base_offset, range.next_offset)).collect();
    assert_eq!(extents, [(90, 120), (120, 125), (7, 7 + (1 << 40))], "one that covers nothing is none");
    let batches = |position: usize| {
        let range = &finished.ranges[position];
        let from = usize::try_from(range.byte_start).unwrap();
        let bytes = object.slice(from..from + usize::try_from(range.byte_len).unwrap());
        verify_range(&bytes, range.checksum).unwrap()
    };
    assert_eq!(batches(0), [(header_of(&batch), batch)]);
    let (empty, bytes) = batches(1).remove(0);
    assert_eq!((empty.base_offset, empty.next_offset(), empty.record_count), (120, 125, 0));
    assert_eq!((bytes.len(), finished.ranges[1].max_timestamp), (61, -1));
    assert_eq!(filter(&bytes, Some(HORIZON), |_| true), Filtered::Nothing);
    assert_eq!(batches(2)[0].0.last_offset_delta, i32::MAX);
}
