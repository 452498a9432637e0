//! Batches through their whole life: encoded, checked, placed, sliced, searched; and refused where they must be.

use bytes::Bytes;
use segment::{
    CheckedRecords, NewRecord, RecordBatchHeader, RecordCheckError, RecordRules, check_header, check_records,
    crc_matches, encode_batch, find_max_timestamp, find_timestamp, place,
};

fn record(key: Option<&str>, value: &str, timestamp: i64) -> NewRecord {
    NewRecord {
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        timestamp,
        headers: vec![("h".into(), Some(Bytes::from_static(b"1"))), ("h".into(), None)],
    }
}

#[test]
fn an_encoded_batch_passes_every_check() {
    let batch =
        encode_batch(&[record(Some("k"), "v", 100), record(None, "", 300), record(None, "x", 200)], Some((7, 1, 5)))
            .unwrap();
    let header = RecordBatchHeader::parse(&batch).unwrap();
    assert!(crc_matches(&batch));
    assert_eq!((header.record_count, header.base_timestamp, header.max_timestamp), (3, 100, 300));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence()), (7, 1, 5, 7));
    check_header(&header, batch.len()).unwrap();
    assert_eq!(check_records(&batch, &header, &RecordRules::ANY), Ok(CheckedRecords { max_timestamp: 300 }));
    let compacted = RecordRules { compacted: true, ..RecordRules::ANY };
    assert_eq!(check_records(&batch, &header, &compacted), Err(RecordCheckError::NullKey { indexes: vec![1, 2] }));

    let (placed, stored) = place(&batch, &header, 1000, 4, None);
    assert_eq!((stored.crc, stored.base_offset, stored.next_offset()), (header.crc, 1000, 1003));
    assert_eq!(placed.records.as_ptr(), batch[61..].as_ptr());
    let whole = [&placed.header[..], &placed.records[..]].concat();
    assert!(crc_matches(&whole));
    assert_eq!(RecordBatchHeader::parse(&whole).unwrap(), stored);
    assert_eq!(find_timestamp(&whole, &stored, 150), Ok(Some((1001, 300))));
    assert_eq!(find_timestamp(&whole, &stored, 301), Ok(None));
    assert_eq!(find_max_timestamp(&whole, &stored), Ok((1001, 300)));

    let (placed, stored) = place(&batch, &header, 1000, 4, Some(9999));
    let whole = [&placed.header[..], &placed.records[..]].concat();
    assert!(crc_matches(&whole) && stored.is_log_append_time() && stored.crc != header.crc);
    assert_eq!(find_timestamp(&whole, &stored, 9999), Ok(Some((1000, 9999))));
    assert_eq!(find_max_timestamp(&whole, &stored), Ok((1000, 9999)));
}
