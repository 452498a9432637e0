//! What a rewrite writes (version 2): golden file byte for byte, all of it readable, and damage that is always noticed.

#![expect(clippy::unwrap_used, reason = "a sample that cannot be read fails its test")]

use bytes::Bytes;
use segment::{Footer, FormatError, ObjectKey, ObjectPurpose, verify_range};

use crate::samples::{data_identity, partition, sample_data_segment};

fn object() -> Bytes {
    sample_data_segment().chunks.concat().into()
}

fn with_crc(mut footer: Vec<u8>) -> Vec<u8> {
    let body = footer.len() - 16;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &footer[..body]);
    footer[body + 4..body + 8].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
    footer
}

fn footer_of(object: &Bytes) -> Vec<u8> {
    let (start, _) = Footer::locate(object, u64::try_from(object.len()).unwrap()).unwrap();
    object[usize::try_from(start).unwrap()..].to_vec()
}

#[test]
fn the_segment_is_the_golden_one() {
    assert_eq!(object(), &include_bytes!("../golden/segment-v2.bin")[..]);
}

#[test]
fn a_segment_tells_all_about_itself() {
    let finished = sample_data_segment();
    let object = object();
    assert_eq!(finished.object_bytes, u64::try_from(object.len()).unwrap());
    let footer = Footer::decode(&object).unwrap();
    let purpose = ObjectPurpose::Data;
    assert_eq!(footer, Footer { purpose, identity: data_identity(), ranges: finished.ranges });
    let places: Vec<_> = footer.ranges.iter().map(|r| (r.key, r.leader_epoch, r.base_offset, r.next_offset)).collect();
    let (first, second) = (partition(1, 0), partition(2, 5));
    assert_eq!(places, [(first, 3, 0, 4), (first, 4, 4, 6), (second, 8, 100, 102)]);
    let successors: Vec<_> = footer.ranges.iter().map(|range| range.successor.as_str()).collect();
    assert_eq!(successors[0], "", "the range after it is in the same object");
    assert!(successors[1..].iter().all(|key| ObjectKey::parse(key).is_ok()));
    for range in &footer.ranges {
        let from = usize::try_from(range.byte_start).unwrap();
        let bytes = object.slice(from..from + usize::try_from(range.byte_len).unwrap());
        let batches = verify_range(&bytes, range.checksum).unwrap();
        assert_eq!(batches.first().unwrap().0.base_offset, range.base_offset);
        assert_eq!(batches.last().unwrap().0.next_offset(), range.next_offset);
        assert_eq!(batches.iter().map(|(header, _)| header.max_timestamp).max(), Some(range.max_timestamp));
    }
}

#[test]
fn what_is_taken_in_between_and_the_rest_are_the_object() {
    let mut builder = segment::DataBuilder::new(data_identity());
    let mut taken = Vec::new();
    let batch = crate::samples::plain_batch(1, 1, None);
    let header = crate::samples::header_of(&batch);
    builder.begin_range(partition(1, 0), 0, 0);
    builder.push(&header, batch.clone());
    assert_eq!(builder.range_bytes(), u64::try_from(batch.len()).unwrap());
    taken.extend(builder.take_chunks());
    builder.begin_range(partition(1, 1), 0, 0);
    assert_eq!(builder.range_bytes(), 0);
    builder.push(&header, batch);
    let finished = builder.finish();
    taken.extend(finished.chunks);
    let object = Bytes::from(taken.concat());
    assert_eq!(finished.object_bytes, u64::try_from(object.len()).unwrap());
    assert_eq!(Footer::decode(&object).unwrap().ranges, finished.ranges);
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    let object = object();
    let good = Footer::decode(&object).unwrap();
    let payload_end = object.len() - footer_of(&object).len();
    for at in 8..object.len() {
        let mut flipped = object.to_vec();
        flipped[at] ^= 0x10;
        let flipped = Bytes::from(flipped);
        if at >= payload_end {
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
fn one_version_is_not_read_as_the_other() {
    let mut footer = footer_of(&object());
    let at = footer.len() - 7;
    assert_eq!(footer[at], 2);
    footer[at] = 1;
    assert!(matches!(Footer::decode(&footer), Err(FormatError::Damaged { .. })));
}

#[test]
fn a_footer_that_claims_much_allocates_little() {
    let mut lie = footer_of(&object());
    lie[56..60].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Footer::decode(&with_crc(lie)), Err(FormatError::Damaged { .. })));
    // One range less than there are: it goes on after its last.
    let mut lie = footer_of(&object());
    lie[56..60].copy_from_slice(&2u32.to_be_bytes());
    assert!(matches!(Footer::decode(&with_crc(lie)), Err(FormatError::Damaged { .. })));
}
