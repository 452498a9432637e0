//! What a pack's bytes say, whole and damaged: an entry is found as it was written, or not at all.

use super::*;

const ID: PackId = [7; 16];
const OTHER_ID: PackId = [8; 16];

/// A pack in memory: entries of these lengths, one after the other.
fn pack_of(contents: &[Vec<u8>]) -> (Vec<u8>, Vec<Entry>) {
    let mut pack = encode_head(&ID);
    pack.resize(BLOCK, 0);
    let mut entries = Vec::new();
    for (n, content) in contents.iter().enumerate() {
        let entry = Entry {
            block: blocks_of(pack.len() as u64),
            length: u32::try_from(content.len()).unwrap(),
            written_at: 1_800_000_000_000 + i64::try_from(n).unwrap(),
            key: format!("org-1/flush/0000000000000000007/{n:019}-00000000000000ff"),
        };
        pack.extend(encode(&ID, &entry, content));
        entries.push(entry);
    }
    (pack, entries)
}

fn encode(id: &PackId, entry: &Entry, content: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0xEE; entry.blocks() as usize * BLOCK];
    let bytes = encode_entry(&mut buffer, id, entry, &[Bytes::copy_from_slice(content)]);
    assert_eq!(bytes, buffer.len());
    buffer
}

fn contents() -> Vec<Vec<u8>> {
    [0, 1, 3_000, BLOCK, 2 * BLOCK + 17, 100]
        .iter()
        .map(|length| (1..=251_u8).cycle().take(*length).collect())
        .collect()
}

/// The last byte that an entry needs, and one more.
fn end_of(entry: &Entry) -> usize {
    usize::try_from(entry.position() + entry.content_start()).unwrap() + entry.length as usize
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let (mut pack, entries) = pack_of(&[b"first".to_vec(), vec![9; BLOCK]]);
    pack.extend(encode_directory(&ID, blocks_of(pack.len() as u64), &entries));
    let golden = include_bytes!("../../tests/golden/pack-v1");
    assert!(pack == golden, "pack format, version 1");
    assert_eq!(decode_head(golden), Some(ID));
    assert_eq!(scan(golden, &ID), entries);
}

#[test]
fn damage_takes_the_entry_it_is_in_and_no_other() {
    let (pack, entries) = pack_of(&contents());
    assert_eq!(scan(&pack, &ID), entries);
    for position in (BLOCK..pack.len()).filter(|p| p % BLOCK < 200 || p % 97 == 0) {
        let mut damaged = pack.clone();
        damaged[position] ^= 0x40;
        let in_it = |entry: &&Entry| !(usize::try_from(entry.position()).unwrap()..end_of(entry)).contains(&position);
        let expected: Vec<Entry> = entries.iter().filter(in_it).cloned().collect();
        assert_eq!(scan(&damaged, &ID), expected, "byte {position}");
    }
}

#[test]
fn a_pack_cut_anywhere_has_the_entries_before_the_cut() {
    let (pack, entries) = pack_of(&contents());
    for length in (0..=pack.len()).filter(|p| p % BLOCK < 200 || p % 97 == 0) {
        let expected: Vec<Entry> = entries.iter().filter(|entry| end_of(entry) <= length).cloned().collect();
        assert_eq!(scan(&pack[..length], &ID), expected, "cut at {length}");
    }
}

#[test]
fn what_a_record_holds_is_never_an_entry() {
    let inner = Entry { block: 3, length: 4, written_at: 0, key: "org-1/flush/forged".to_owned() };
    // A torn entry whose content looks like one, at a block.
    let mut content = vec![0; 3 * BLOCK];
    let (pack, entries) = pack_of(std::slice::from_ref(&content));
    let begin = 2 * BLOCK - usize::try_from(entries[0].content_start()).unwrap();
    content[begin..begin + BLOCK].copy_from_slice(&encode(&OTHER_ID, &inner, b"evil"));
    let (mut forged, _) = pack_of(&[content]);
    assert!(pack.len() == forged.len() && decode_entry(&forged[3 * BLOCK..], 3, &OTHER_ID).is_some());
    forged[BLOCK] ^= 1;
    assert_eq!(scan(&forged, &ID), []);
}

#[test]
fn a_directory_is_whole_or_none() {
    let (pack, entries) = pack_of(&contents());
    let start = blocks_of(pack.len() as u64);
    let directory = encode_directory(&ID, start, &entries);
    assert!(directory.len().is_multiple_of(BLOCK));
    let trailer = |bytes: &[u8], id| decode_trailer(&bytes[bytes.len() - TRAILER_BYTES..], id);
    assert_eq!(trailer(&directory, &ID), Some(start));
    assert_eq!(trailer(&directory, &OTHER_ID), None);
    assert_eq!(decode_directory(&directory), Some(entries));
    for position in 0..directory.len() - 8 {
        let mut damaged = directory.clone();
        damaged[position] ^= 0x10;
        assert_eq!(decode_directory(&damaged), None, "byte {position}");
    }
    for position in directory.len() - 8..directory.len() {
        let mut damaged = directory.clone();
        damaged[position] ^= 0x10;
        assert_eq!(trailer(&damaged, &ID), None, "byte {position}");
    }
    for length in 0..directory.len() {
        assert_eq!(decode_directory(&directory[..length]), None, "cut at {length}");
    }
    let empty = encode_directory(&ID, 1, &[]);
    assert_eq!(decode_directory(&empty), Some(Vec::new()));
}

#[test]
fn a_head_is_whole_or_none() {
    let head = encode_head(&ID);
    assert_eq!(decode_head(&head), Some(ID));
    for position in 0..head.len() {
        let mut damaged = head.clone();
        damaged[position] ^= 1;
        assert_eq!(decode_head(&damaged), None, "byte {position}");
        assert_eq!(decode_head(&head[..position]), None);
    }
}
