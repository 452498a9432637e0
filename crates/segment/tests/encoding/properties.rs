//! Properties: round trips, agreement with a naive decoder, and no panic on any bytes.

use bytes::Bytes;
use proptest::prelude::*;
use segment::{
    NewRecord, ProducerBatch, RecordBatchHeader, RecordRules, check_header, check_records, decode_producer_entries,
    encode_batch, encode_producer_entries, find_max_timestamp, find_timestamp,
};

use crate::exercise;
use crate::samples::{CODECS, header_of, recompressed, sample_data_segment, sample_segment, seal};

fn some_bytes() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from))
}

fn some_record() -> impl Strategy<Value = NewRecord> {
    let headers = proptest::collection::vec(("[a-z]{0,3}", some_bytes()), 0..4);
    (some_bytes(), some_bytes(), any::<i64>(), headers).prop_map(|(key, value, timestamp, headers)| NewRecord {
        key,
        value,
        timestamp,
        headers,
    })
}

fn some_records() -> impl Strategy<Value = Vec<NewRecord>> {
    proptest::collection::vec(some_record(), 1..20)
}

/// Kafka's record format read in the plainest way, over a whole slice: (key, value, timestamp, headers) each.
struct Naive<'a>(&'a [u8]);

type NaiveRecord = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(String, Option<Vec<u8>>)>);

impl Naive<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, bits: u32) -> Option<i64> {
        let (mut value, mut shift) = (0u128, 0);
        loop {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift >= bits.div_ceil(7) * 7 {
                return None;
            }
        }
        let value = u64::try_from(value).ok().filter(|value| bits == 64 || *value < 1 << bits)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn nullable(&mut self) -> Option<Option<Vec<u8>>> {
        let length = self.number(32)?;
        if length == -1 {
            return Some(None);
        }
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(taken.to_vec()))
    }

    fn record(&mut self, index: i64, base_timestamp: i64) -> Option<NaiveRecord> {
        let length = usize::try_from(self.number(32)?).ok()?;
        let (body, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let mut body = Naive(body);
        body.byte()?;
        let timestamp = base_timestamp.wrapping_add(body.number(64)?);
        (body.number(32)? == index).then_some(())?;
        let (key, value) = (body.nullable()?, body.nullable()?);
        let count = body.number(32)?;
        (count >= 0).then_some(())?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((String::from_utf8_lossy(&body.nullable()??).into_owned(), body.nullable()?));
        }
        body.0.is_empty().then_some((key, value, timestamp, headers))
    }

    fn batch(batch: &[u8]) -> Option<Vec<NaiveRecord>> {
        let header = RecordBatchHeader::parse(batch).ok()?;
        let mut rest = Naive(&batch[61..]);
        let records = (0..i64::from(header.record_count))
            .map(|i| rest.record(i, header.base_timestamp))
            .collect::<Option<_>>()?;
        rest.0.is_empty().then_some(records)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_encoded_is_what_is_read(records in some_records()) {
        let batch = encode_batch(&records, None).unwrap();
        check_header(&header_of(&batch), batch.len()).unwrap();
        let read = Naive::batch(&batch).unwrap();
        let written: Vec<NaiveRecord> = records
            .iter()
            .map(|r| {
                let headers = r.headers.iter().map(|(n, v)| (n.clone(), v.as_ref().map(|v| v.to_vec()))).collect();
                (r.key.as_ref().map(|k| k.to_vec()), r.value.as_ref().map(|v| v.to_vec()), r.timestamp, headers)
            })
            .collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn every_codec_finds_the_same_records(records in some_records(), target in any::<i64>()) {
        let batch = encode_batch(&records, None).unwrap();
        let first = (0..).zip(&records).find(|(_, r)| r.timestamp >= target).map(|(i, r)| (i, r.timestamp));
        let greatest = records.iter().map(|r| r.timestamp).max().unwrap();
        let greatest_at = (0..).zip(&records).find(|(_, r)| r.timestamp == greatest).map(|(i, r)| (i, r.timestamp));
        for codec in CODECS {
            let packed = recompressed(&batch, codec);
            let header = header_of(&packed);
            let checked = check_records(&packed, &header, &RecordRules::ANY).unwrap();
            prop_assert_eq!(checked.max_timestamp, greatest.max(-1));
            prop_assert_eq!(find_timestamp(&packed, &header, target).unwrap(), first);
            prop_assert_eq!(Some(find_max_timestamp(&packed, &header).unwrap()), greatest_at);
        }
    }

    #[test]
    fn the_check_agrees_with_the_naive_decoder(
        records in some_records(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut batch = encode_batch(&records, None).unwrap().to_vec();
        for (at, byte) in changes {
            let at = 61 + at.index(batch.len() - 61);
            batch[at] = byte;
        }
        let checked = check_records(&batch, &header_of(&batch), &RecordRules::ANY);
        prop_assert_eq!(checked.is_ok(), Naive::batch(&batch).is_some(), "{:?}", checked);
    }

    #[test]
    fn mutated_batches_never_panic(
        records in some_records(),
        codec in 0usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut batch = recompressed(&encode_batch(&records, None).unwrap(), CODECS[codec]).to_vec();
        for (at, byte) in changes {
            let at = at.index(batch.len());
            batch[at] = byte;
        }
        exercise::record_batch(&batch);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), codec in 0i16..8) {
        exercise::record_batch(&bytes);
        let batch = encode_batch(&[crate::samples::record(None, b"v", 0)], None).unwrap();
        let records = seal(&[&batch[..61], &bytes].concat(), RecordBatchHeader { attributes: codec, ..header_of(&batch) });
        exercise::record_batch(&records);
        exercise::segment_footer(&bytes);
    }

    #[test]
    fn mutated_footers_never_panic(
        is_data in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let sample = if is_data { sample_data_segment() } else { sample_segment() };
        let tail = sample.chunks.last().unwrap().clone();
        let mut footer = tail.to_vec();
        let body = footer.len() - 16;
        for (at, byte) in changes {
            footer[at.index(body)] = byte;
        }
        // With its CRC made right, so that the fields themselves are read.
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &footer[..body]);
        footer[body + 4..body + 8].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
        exercise::segment_footer(&footer);
    }

    #[test]
    fn producer_entries_come_back(entries in proptest::collection::vec(any::<(i64, i16, i32, i32, i64, i64, i64)>(), 0..20)) {
        let entries: Vec<ProducerBatch> = entries
            .into_iter()
            .map(|(producer_id, producer_epoch, base_sequence, last_sequence, base_offset, last_offset, timestamp)| {
                ProducerBatch { producer_id, producer_epoch, base_sequence, last_sequence, base_offset, last_offset, timestamp }
            })
            .collect();
        prop_assert_eq!(decode_producer_entries(&encode_producer_entries(&entries)).unwrap(), entries);
    }
}
