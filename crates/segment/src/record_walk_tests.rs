//! A record that is read where it lies says what one says that comes in windows.

use std::io::Write as _;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::encode::{NewRecord, encode_batch};
use crate::record_batch::{Compression, HEADER_BYTES};

/// Every record up to the end or the first fault.
fn walked(header: &RecordBatchHeader, records: &[u8]) -> Vec<Result<Option<RecordOutline>, RecordCheckError>> {
    let batch = [&header.encode()[..], records].concat();
    let mut walk = RecordWalk::open(&batch, header).expect("the header is right");
    let mut all = Vec::new();
    while all.last().is_none_or(|last| matches!(last, Ok(Some(_)))) {
        all.push(walk.next_record());
    }
    all
}

fn gzipped(records: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    out.write_all(records).expect("memory");
    out.finish().expect("memory")
}

fn record() -> impl Strategy<Value = NewRecord> {
    let bytes = || {
        let length = prop_oneof![4 => 0..3usize, 1 => 60..200usize];
        proptest::option::of(length.prop_map(|length| Bytes::from(vec![7; length])))
    };
    let headers = proptest::collection::vec(("[a-z]{0,3}", bytes()), 0..3);
    let timestamp = prop_oneof![0..100_000i64, any::<i64>()];
    let record = (bytes(), bytes(), timestamp, headers);
    record.prop_map(|(key, value, timestamp, headers)| NewRecord { key, value, timestamp, headers })
}

/// What a byte becomes: mostly a length of -1, 0 or 1, or a number that goes on.
fn change() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(1), Just(2), Just(0x80), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn records_in_one_piece_are_what_they_are_in_windows(
        records in proptest::collection::vec(record(), 1..6),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), change()), 0..3),
        cut in proptest::option::weighted(0.1, any::<proptest::sample::Index>()),
    ) {
        let batch = encode_batch(&records, None).expect("small");
        let header = RecordBatchHeader::parse(&batch).expect("a batch");
        let mut bytes = batch[HEADER_BYTES..].to_vec();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1)));
        let windowed = RecordBatchHeader { attributes: Compression::Gzip as i16, ..header };
        prop_assert_eq!(walked(&header, &bytes), walked(&windowed, &gzipped(&bytes)));
    }
}
