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
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(records).expect("memory");
    out.finish().expect("memory")
}

fn record() -> impl Strategy<Value = NewRecord> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    let headers = proptest::collection::vec(("[a-z]{0,3}", bytes()), 0..3);
    let timestamp = prop_oneof![0..100_000i64, any::<i64>()];
    (bytes(), bytes(), timestamp, headers).prop_map(|(key, value, timestamp, headers)| NewRecord {
        key,
        value,
        timestamp,
        headers,
    })
}

proptest! {
    #[test]
    fn records_in_one_piece_are_what_they_are_in_windows(
        records in proptest::collection::vec(record(), 1..6),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
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
