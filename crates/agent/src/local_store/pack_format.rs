//! The bytes of a pack file: a head, entries that each begin at a block, and, once it is full, a directory of them. The
//! tables are in docs/format.md.
//!
//! Each entry repeats the pack's id, which is random and told to nobody: whatever records hold, an entry is never found
//! inside another one's content, nor a directory. Everything read is checked; what does not check is no entry.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;

/// Entries begin at a multiple of it, and direct writes are aligned to it, in memory and in the file: no disk asks for more.
pub(super) const BLOCK: usize = 4096;
/// The longest key that is packed: a head fits a block.
pub(super) const KEY_BYTES_MAX: usize = 1024;

const HEAD_MAGIC: [u8; 6] = *b"SHPACK";
const ENTRY_MAGIC: [u8; 8] = *b"SHPENTRY";
const TRAILER_MAGIC: [u8; 8] = *b"SHPACKED";
const VERSION: u16 = 1;
/// So much is copied and summed up at a time.
const PIECE: usize = 64 * 1024;
/// Magic, id, written at, content length, content CRC, key length; the key and the head's CRC follow.
const ENTRY_FIXED_BYTES: usize = 8 + 16 + 8 + 4 + 4 + 2;
/// First block of the directory, its length, id, CRC, magic.
pub(super) const TRAILER_BYTES: usize = 4 + 4 + 16 + 4 + 8;

/// What tells a pack's own bytes from all others.
pub(super) type PackId = [u8; 16];

/// An object in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) block: u32,
    /// Length of the object.
    pub(super) length: u32,
    /// When it was written, ms since the epoch.
    pub(super) written_at: i64,
    pub(super) key: String,
}

impl Entry {
    /// Blocks it takes.
    pub(super) fn blocks(&self) -> u32 {
        blocks_of(self.content_start() + u64::from(self.length))
    }

    /// Where the object begins, counted from the entry's begin.
    pub(super) fn content_start(&self) -> u64 {
        (ENTRY_FIXED_BYTES + self.key.len() + 4) as u64
    }

    /// Where it begins in the file.
    pub(super) fn position(&self) -> u64 {
        position_of(self.block)
    }
}

/// Where a block begins in the file.
pub(super) fn position_of(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}

/// Blocks that so many bytes take.
pub(super) fn blocks_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK as u64)).unwrap_or(u32::MAX)
}

fn crc32c(bytes: &[u8]) -> u32 {
    low_half(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// The whole checksum: the algorithm is 32 bits wide.
fn low_half(crc: u64) -> u32 {
    u32::try_from(crc & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The first block of a pack, without the zeros that fill it.
pub(super) fn encode_head(id: &PackId) -> Vec<u8> {
    let mut head = [&HEAD_MAGIC[..], &VERSION.to_be_bytes(), id].concat();
    head.extend(crc32c(&head).to_be_bytes());
    head
}

/// The id of a pack that begins so; `None`: damaged, or of a newer version.
pub(super) fn decode_head(mut bytes: &[u8]) -> Option<PackId> {
    let checked = bytes.get(..HEAD_MAGIC.len() + 2 + 16)?;
    let known = take(&mut bytes)? == HEAD_MAGIC && u16::from_be_bytes(take(&mut bytes)?) == VERSION;
    let id = take(&mut bytes)?;
    (known && u32::from_be_bytes(take(&mut bytes)?) == crc32c(checked)).then_some(id)
}

/// Puts an entry into a buffer that holds its blocks; the bytes that are left of the last one become zero. How many bytes that is.
pub(super) fn encode_entry(buffer: &mut [u8], id: &PackId, entry: &Entry, chunks: &[Bytes]) -> usize {
    let start = ENTRY_FIXED_BYTES + entry.key.len() + 4;
    let mut end = start;
    let mut content = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
    // Piece by piece, so that the checksum reads what is in the processor's cache.
    for piece in chunks.iter().flat_map(|chunk| chunk.chunks(PIECE)) {
        let place = &mut buffer[end..end + piece.len()];
        place.copy_from_slice(piece);
        content.update(place);
        end += piece.len();
    }
    let whole = end.next_multiple_of(BLOCK);
    buffer[end..whole].fill(0);
    let mut head = Vec::with_capacity(start);
    head.extend(ENTRY_MAGIC);
    head.extend(id);
    head.extend(entry.written_at.to_be_bytes());
    head.extend(entry.length.to_be_bytes());
    head.extend(low_half(content.finalize()).to_be_bytes());
    push_key(&mut head, &entry.key);
    head.extend(crc32c(&head).to_be_bytes());
    buffer[..start].copy_from_slice(&head);
    whole
}

/// The entry that begins with these bytes, and its content's checksum.
pub(super) fn decode_entry(whole: &[u8], block: u32, id: &PackId) -> Option<(Entry, u32)> {
    let mut bytes = whole;
    if take(&mut bytes)? != ENTRY_MAGIC || take(&mut bytes)? != *id {
        return None;
    }
    let written_at = i64::from_be_bytes(take(&mut bytes)?);
    let length = u32::from_be_bytes(take(&mut bytes)?);
    let content_crc = u32::from_be_bytes(take(&mut bytes)?);
    let key = take_key(&mut bytes)?;
    let head = whole.get(..ENTRY_FIXED_BYTES + key.len())?;
    let is_sound = u32::from_be_bytes(take(&mut bytes)?) == crc32c(head);
    is_sound.then_some((Entry { block, length, written_at, key }, content_crc))
}

/// All whole entries of a pack without a directory, wherever the others are.
pub(super) fn scan(pack: &[u8], id: &PackId) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut block = 1;
    while let Some(bytes) =
        usize::try_from(position_of(block)).ok().and_then(|start| pack.get(start..)).filter(|b| !b.is_empty())
    {
        match decode_entry(bytes, block, id).filter(|(entry, crc)| holds(bytes, entry, *crc)) {
            Some((entry, _)) => {
                block += entry.blocks();
                entries.push(entry);
            }
            None => block += 1,
        }
    }
    entries
}

fn holds(bytes: &[u8], entry: &Entry, crc: u32) -> bool {
    let content = usize::try_from(entry.content_start()).ok().and_then(|start| bytes.get(start..));
    content.and_then(|content| content.get(..entry.length as usize)).is_some_and(|content| crc32c(content) == crc)
}

/// What follows the entries of a full pack, from this block on to the end of the file: whole blocks.
pub(super) fn encode_directory(id: &PackId, block: u32, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(entry.block.to_be_bytes());
        bytes.extend(entry.length.to_be_bytes());
        bytes.extend(entry.written_at.to_be_bytes());
        push_key(&mut bytes, &entry.key);
    }
    let length = bytes.len();
    bytes.resize((length + TRAILER_BYTES).next_multiple_of(BLOCK) - TRAILER_BYTES, 0);
    bytes.extend(block.to_be_bytes());
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(id);
    bytes.extend(crc32c(&bytes).to_be_bytes());
    bytes.extend(TRAILER_MAGIC);
    bytes
}

/// Where the directory begins, by the last bytes of the file; `None`: there is none.
pub(super) fn decode_trailer(mut trailer: &[u8], id: &PackId) -> Option<u32> {
    let block = u32::from_be_bytes(take(&mut trailer)?);
    let _length: [u8; 4] = take(&mut trailer)?;
    let is_ours = take(&mut trailer)? == *id;
    let _crc: [u8; 4] = take(&mut trailer)?;
    (is_ours && take(&mut trailer)? == TRAILER_MAGIC).then_some(block)
}

/// The entries of a directory, given all bytes from its begin to the end of the file.
pub(super) fn decode_directory(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (checked, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4 + TRAILER_MAGIC.len())?)?;
    if u32::from_be_bytes(take(&mut crc)?) != crc32c(checked) {
        return None;
    }
    let mut trailer = checked.get(checked.len().checked_sub(4 + 4 + 16)?..)?;
    let _block: [u8; 4] = take(&mut trailer)?;
    let length = usize::try_from(u32::from_be_bytes(take(&mut trailer)?)).ok()?;
    let mut rest = checked.get(..length)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let block = u32::from_be_bytes(take(&mut rest)?);
        let length = u32::from_be_bytes(take(&mut rest)?);
        let written_at = i64::from_be_bytes(take(&mut rest)?);
        entries.push(Entry { block, length, written_at, key: take_key(&mut rest)? });
    }
    Some(entries)
}

fn push_key(bytes: &mut Vec<u8>, key: &str) {
    bytes.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(key.as_bytes());
}

fn take_key(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::from(u16::from_be_bytes(take(bytes)?));
    let (key, rest) = bytes.split_at_checked(length).filter(|_| length <= KEY_BYTES_MAX)?;
    *bytes = rest;
    String::from_utf8(key.to_vec()).ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
#[path = "pack_format_tests.rs"]
mod tests;
