//! Our own formats: golden files byte for byte, round trips, and damage that is always noticed.
//!
//! Nothing here rewrites a golden file: its bytes are in buckets already. A new version gets a file beside it.

use bytes::Bytes;
use segment::{
    Footer, FormatError, ObjectKey, ObjectPurpose, OrganizationId, ProducerBatch, REWRITE_SEQUENCE_BASE, SessionId,
    decode_producer_entries, encode_producer_entries, slice_batches, verify_range,
};

use crate::samples::{identity, partition, plain_batch, sample_segment};

fn object() -> Bytes {
    sample_segment().chunks.concat().into()
}

fn entries() -> Vec<ProducerBatch> {
    vec![
        ProducerBatch {
            producer_id: 4000,
            producer_epoch: 2,
            base_sequence: i32::MAX,
            last_sequence: 1,
            base_offset: 1 << 40,
            last_offset: (1 << 40) + 2,
            timestamp: 1_790_000_000_000,
        },
        ProducerBatch {
            producer_id: 0,
            producer_epoch: 0,
            base_sequence: 0,
            last_sequence: 0,
            base_offset: 0,
            last_offset: 0,
            timestamp: -1,
        },
    ]
}

fn object_key(purpose: ObjectPurpose, organization: i64, session: i64, lane_sequence: i64, unique: u64) -> ObjectKey {
    let (organization, session) = (OrganizationId(organization), SessionId(session));
    ObjectKey { organization, purpose, session, lane_sequence, unique }
}

fn keys() -> Vec<ObjectKey> {
    let key =
        |organization, session, lane, unique| object_key(ObjectPurpose::Flush, organization, session, lane, unique);
    vec![key(1, 0, 0, 0), key(1, 7, 42, 0x9f86_d081_884c_7d65), key(12, i64::MAX, i64::MAX, u64::MAX)]
}

fn data_keys() -> Vec<ObjectKey> {
    let key = |organization, session, number, unique| {
        object_key(ObjectPurpose::Data, organization, session, REWRITE_SEQUENCE_BASE + number, unique)
    };
    vec![key(1, 0, 0, 0), key(1, 7, 42, 0x9f86_d081_884c_7d65), key(12, i64::MAX, (1 << 62) - 1, u64::MAX)]
}

#[test]
fn the_segment_is_the_golden_one() {
    assert_eq!(object(), &include_bytes!("../golden/segment-v1.bin")[..]);
}

#[test]
fn producer_entries_are_the_golden_ones() {
    let encoded = encode_producer_entries(&entries());
    assert_eq!(encoded, &include_bytes!("../golden/producer-entries-v1.bin")[..]);
    assert_eq!(decode_producer_entries(&encoded).unwrap(), entries());
    assert!(encode_producer_entries(&[]).is_empty());
    assert!(decode_producer_entries(&[]).unwrap().is_empty());
}

#[test]
fn object_keys_are_the_golden_ones() {
    let flushed = (keys(), include_str!("../golden/object-keys.txt"));
    for (keys, golden) in [flushed, (data_keys(), include_str!("../golden/object-keys-data.txt"))] {
        let golden: Vec<&str> = golden.lines().collect();
        let printed: Vec<String> = keys.iter().map(ObjectKey::to_string).collect();
        assert_eq!(printed, golden);
        for (key, text) in keys.iter().zip(golden) {
            assert_eq!(ObjectKey::parse(text), Ok(*key));
            assert!(text.starts_with(&ObjectKey::prefix(key.organization, key.purpose)));
        }
        assert!(printed[1..].is_sorted() && printed[0] < printed[1]);
    }
}

#[test]
fn a_key_has_one_spelling() {
    let good = "org-1/flush/0000000000000000007/0000000000000000042-9f86d081884c7d65";
    ObjectKey::parse(good).unwrap();
    for bad in [
        "",
        "cluster.json",
        "org-1/flush/7/42-9f86d081884c7d65",
        "org-01/flush/0000000000000000007/0000000000000000042-9f86d081884c7d65",
        "org-1/flush/0000000000000000007/0000000000000000042-9F86D081884C7D65",
        "org-1/flush/0000000000000000007/0000000000000000042-9f86d081884c7d65.tmp",
        "org-1/flush/+000000000000000007/0000000000000000042-9f86d081884c7d65",
        "org-1/other/0000000000000000007/0000000000000000042-9f86d081884c7d65",
        // A number with its base would be the slot after the last.
        "org-1/data/0000000000000000007/4611686018427387904-9f86d081884c7d65",
    ] {
        assert!(ObjectKey::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_segment_tells_all_about_itself() {
    let finished = sample_segment();
    let object = object();
    assert_eq!(finished.object_bytes, u64::try_from(object.len()).unwrap());
    let (start, length) = Footer::locate(&object[object.len() - 16..], finished.object_bytes).unwrap();
    assert_eq!(start + length, finished.object_bytes);
    let footer = Footer::decode(&object[usize::try_from(start).unwrap()..]).unwrap();
    let purpose = ObjectPurpose::Flush;
    assert_eq!(footer, Footer { purpose, identity: identity(), ranges: finished.ranges.clone() });
    assert_eq!(footer, Footer::decode(&object).unwrap());

    let [first, second] = &footer.ranges[..] else { panic!("two ranges") };
    assert_eq!((first.key, first.base_offset, first.next_offset, first.leader_epoch), (partition(1, 0), 0, 4, 3));
    assert_eq!((second.key, second.base_offset, second.next_offset), (partition(2, 5), 100, 101));
    assert_eq!(second.max_timestamp, 1_790_000_000_001);
    assert_eq!(decode_producer_entries(&first.producers).unwrap().len(), 2);
    assert!(second.producers.is_empty());
    for range in &footer.ranges {
        let from = usize::try_from(range.byte_start).unwrap();
        let bytes = object.slice(from..from + usize::try_from(range.byte_len).unwrap());
        let batches = verify_range(&bytes, range.checksum).unwrap();
        assert_eq!(batches.len(), range.batches.len());
        for ((header, whole), meta) in batches.iter().zip(&range.batches) {
            let at = usize::try_from(meta.byte_position).unwrap();
            assert_eq!(whole.as_ptr(), bytes[at..].as_ptr(), "sliced, not copied");
            assert_eq!((header.base_offset, header.next_offset()), (meta.base_offset, meta.next_offset));
        }
    }
}

#[test]
fn a_producers_older_batches_are_left_out_of_the_entries() {
    let mut builder = segment::SegmentBuilder::new(identity());
    builder.begin_range(partition(1, 0), 0, String::new());
    for offset in 0..8 {
        let batch = plain_batch(1, 1, Some((offset % 8 / 7, 0, 0)));
        let (placed, stored) = segment::place(&batch, &crate::samples::header_of(&batch), offset, 0, None);
        builder.push(placed, &stored);
    }
    let finished = builder.finish();
    let kept = decode_producer_entries(&finished.ranges[0].producers).unwrap();
    assert_eq!(kept.iter().map(|entry| entry.base_offset).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_range_without_batches_leaves_no_trace() {
    let mut builder = segment::SegmentBuilder::new(identity());
    builder.begin_range(partition(1, 0), 0, String::new());
    assert!(builder.finish().ranges.is_empty());
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    let object = object();
    let good = Footer::decode(&object).unwrap();
    let payload_end = Footer::locate(&object, u64::try_from(object.len()).unwrap()).unwrap().0;
    for at in 8..object.len() {
        let mut flipped = object.to_vec();
        flipped[at] ^= 0x10;
        let flipped = Bytes::from(flipped);
        if u64::try_from(at).unwrap() >= payload_end {
            assert!(Footer::decode(&flipped).is_err(), "footer byte {at}");
            continue;
        }
        let noticed = good.ranges.iter().any(|range| {
            let from = usize::try_from(range.byte_start).unwrap();
            let bytes = flipped.slice(from..from + usize::try_from(range.byte_len).unwrap());
            verify_range(&bytes, range.checksum).is_err()
        });
        assert!(noticed, "payload byte {at}");
    }
}

#[test]
fn newer_versions_are_told_from_damage() {
    let mut newer = object().to_vec();
    let at = newer.len() - 7;
    newer[at] = 3;
    assert_eq!(Footer::decode(&newer), Err(FormatError::Version { what: "segment", version: 3, supported: 2 }));
    let mut newer = encode_producer_entries(&entries()).to_vec();
    newer[0] = 2;
    assert!(matches!(decode_producer_entries(&newer), Err(FormatError::Version { version: 2, .. })));
}

#[test]
fn a_footer_that_claims_much_allocates_little() {
    // The count of ranges, behind 16 bytes of cluster id and five numbers, says u32::MAX; the CRC is right.
    let object = object();
    let (start, _) = Footer::locate(&object, u64::try_from(object.len()).unwrap()).unwrap();
    let mut lie = object[usize::try_from(start).unwrap()..].to_vec();
    lie[56..60].copy_from_slice(&u32::MAX.to_be_bytes());
    let footer_bytes = lie.len() - 16;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &lie[..footer_bytes]);
    lie[footer_bytes + 4..footer_bytes + 8].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
    assert!(matches!(Footer::decode(&lie), Err(FormatError::Damaged { .. })));
}

#[test]
fn a_range_cut_short_ends_with_an_error() {
    let object = object();
    let range = &Footer::decode(&object).unwrap().ranges[0];
    let from = usize::try_from(range.byte_start).unwrap();
    let cut = object.slice(from..from + usize::try_from(range.byte_len).unwrap() - 1);
    let walked: Vec<_> = slice_batches(&cut).collect();
    assert!(walked[0].is_ok() && walked[1].is_err() && walked.len() == 2);
}
