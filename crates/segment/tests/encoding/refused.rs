//! Headers and records that a client must not send, each with its own error.

#![expect(clippy::unwrap_used, reason = "a sample that cannot be made fails its test")]

use segment::{
    BatchError, HeaderError, RecordBatchHeader, RecordCheckError, RecordRules, check_header, check_records,
    crc_matches, encode_batch,
};

use crate::samples::{header_of, plain_batch, record, seal};

fn refused(change: impl FnOnce(&mut RecordBatchHeader)) -> HeaderError {
    let batch = plain_batch(3, 10, Some((1, 0, 0)));
    let mut header = header_of(&batch);
    change(&mut header);
    check_header(&header, batch.len()).unwrap_err()
}

#[test]
fn each_header_rule_has_its_own_error() {
    assert_eq!(refused(|h| h.base_offset = 5), HeaderError::BaseOffset(5));
    assert_eq!(refused(|h| h.record_count = 0), HeaderError::RecordCount(0));
    assert_eq!(refused(|h| h.record_count = -1), HeaderError::RecordCount(-1));
    let delta = |last_offset_delta| HeaderError::LastOffsetDelta { last_offset_delta, record_count: 3 };
    assert_eq!(refused(|h| h.last_offset_delta = 3), delta(3));
    assert_eq!(refused(|h| h.last_offset_delta = -1), delta(-1));
    assert_eq!(refused(|h| h.attributes |= 0x20), HeaderError::ControlBatch);
    assert_eq!(refused(|h| h.attributes |= 0x08), HeaderError::LogAppendTime);
    assert_eq!(refused(|h| h.attributes |= 5), HeaderError::Compression(5));
    assert_eq!(refused(|h| h.attributes |= 0x40), HeaderError::ReservedAttributes(0x40));
    assert_eq!(refused(|h| h.attributes |= i16::MIN), HeaderError::ReservedAttributes(i16::MIN));
    assert_eq!(refused(|h| h.base_sequence = -1), HeaderError::BaseSequence(-1));
    assert_eq!(refused(|h| h.producer_epoch = -1), HeaderError::ProducerEpoch(-1));
    let orphan = |h: &mut RecordBatchHeader| (h.producer_id, h.attributes) = (-1, 0x10);
    assert_eq!(refused(orphan), HeaderError::TransactionalWithoutProducer);
}

#[test]
fn a_partition_takes_exactly_one_batch() {
    let batch = plain_batch(1, 10, None);
    let two = [&batch[..], &batch[..]].concat();
    let header = header_of(&two);
    assert_eq!(check_header(&header, two.len()), Err(HeaderError::NotOneBatch { extra_bytes: batch.len() }));
    let claimed = batch.len();
    assert_eq!(check_header(&header, claimed - 1), Err(HeaderError::Truncated { claimed, available: claimed - 1 }));
}

#[test]
fn clients_without_idempotence_may_send_any_epoch_and_sequence() {
    let batch = plain_batch(1, 10, None);
    let header = RecordBatchHeader { producer_epoch: 0, base_sequence: 0, ..header_of(&batch) };
    assert_eq!(check_header(&header, batch.len()), Ok(()));
}

#[test]
fn bytes_that_are_no_batch_are_named() {
    let batch = plain_batch(1, 10, None);
    assert_eq!(RecordBatchHeader::parse(&[]), Err(BatchError::Short { available: 0 }));
    assert_eq!(RecordBatchHeader::parse(&batch[..60]), Err(BatchError::Short { available: 60 }));
    for magic in [0, 1, 3, -1] {
        let old = seal(&batch, RecordBatchHeader { magic, ..header_of(&batch) });
        assert_eq!(RecordBatchHeader::parse(&old), Err(BatchError::Magic(magic)));
    }
    for batch_length in [-1, 0, 48, i32::MIN] {
        let lie = RecordBatchHeader { batch_length, ..header_of(&batch) }.encode();
        assert_eq!(RecordBatchHeader::parse(&lie), Err(BatchError::Length { batch_length }));
    }
    let short = RecordBatchHeader::parse(&batch[..batch.len() - 1]);
    assert_eq!(short, Err(BatchError::Truncated { claimed: batch.len(), available: batch.len() - 1 }));
}

#[test]
fn one_flipped_bit_breaks_the_crc() {
    let batch = plain_batch(2, 10, None);
    assert!(crc_matches(&batch));
    for at in 17..batch.len() {
        let mut flipped = batch.to_vec();
        flipped[at] ^= 4;
        assert!(!crc_matches(&flipped), "byte {at}");
    }
    assert!(!crc_matches(&batch[..60]) && !crc_matches(&[]));
}

#[test]
fn sequences_wrap_to_zero() {
    let header = header_of(&plain_batch(3, 1, Some((1, 0, i32::MAX - 1))));
    assert_eq!(header.last_sequence(), 0);
    assert_eq!(header_of(&plain_batch(3, 1, None)).last_sequence(), -1);
}

#[test]
fn timestamps_out_of_the_window_are_named_by_index() {
    let records = [10, 500, -1, 5000].map(|timestamp| record(Some(b"k"), b"v", timestamp));
    let batch = encode_batch(&records, None).unwrap();
    let rules = RecordRules { compacted: true, timestamp_min: 100, timestamp_max: 1000 };
    let refused = check_records(&batch, &header_of(&batch), &rules);
    assert_eq!(refused, Err(RecordCheckError::Timestamp { indexes: vec![0, 3], null_keys: vec![] }));
}

#[test]
fn a_wrong_max_timestamp_is_corrected_when_the_batch_gets_its_place() {
    // Some clients leave it at -1.
    let batch = plain_batch(3, 10, None);
    let batch = seal(&batch, RecordBatchHeader { max_timestamp: -1, ..header_of(&batch) });
    let mut header = header_of(&batch);
    header.max_timestamp = check_records(&batch, &header, &RecordRules::ANY).unwrap().max_timestamp;
    assert_eq!(header.max_timestamp, 1002);
    let (placed, stored) = segment::place(&batch, &header, 7, 1, None);
    let whole = [&placed.header[..], &placed.records[..]].concat();
    assert!(crc_matches(&whole));
    assert_eq!((stored.max_timestamp, header_of(&whole)), (1002, stored));
}

/// Records whose bytes are written by hand: attributes, timestamp delta, offset delta, key, value, headers.
#[test]
fn records_that_are_not_kafkas_are_refused() {
    let good: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    let bad: &[(&str, &[u8])] = &[
        ("length past the batch", &[14, 0, 0, 0, 1, 1, 0]),
        ("length too short", &[10, 0, 0, 0, 1, 1, 0]),
        ("negative length", &[1, 0, 0, 0, 1, 1, 0]),
        ("offset delta 1", &[12, 0, 0, 2, 1, 1, 0]),
        ("key past the record", &[12, 0, 0, 0, 40, 1, 0]),
        ("key length -2", &[12, 0, 0, 0, 3, 1, 0]),
        ("header count past the record", &[12, 0, 0, 0, 1, 1, 126]),
        ("negative header count", &[12, 0, 0, 0, 1, 1, 1]),
        ("header without a name", &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("overlong varint", &[22, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 1, 0]),
        ("more than 32 bits", &[20, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 0]),
        ("ten-byte varlong that overflows", &[30, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0, 1, 1, 0]),
        ("a byte too many", &[12, 0, 0, 0, 1, 1, 0, 0]),
        ("nothing", &[]),
    ];
    let batch = plain_batch(1, 0, None);
    let check = |records: &[u8]| {
        let batch = crate::samples::with_records(&batch, segment::Compression::None, records);
        check_records(&batch, &header_of(&batch), &RecordRules::ANY)
    };
    check(good).unwrap();
    for (name, records) in bad {
        assert!(matches!(check(records), Err(RecordCheckError::Malformed(_))), "{name}");
    }
}
