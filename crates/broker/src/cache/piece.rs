//! A piece of an object, and the name of the file that holds it.
//!
//! Objects never change and no two ever have the same key, so a piece is told by where it is; nothing about it can be old. Large
//! objects are cut at multiples of [`BLOCK_BYTES`], so that all readers of an object ask for the same pieces.

use std::ops::Range;
use std::sync::Arc;

/// What objects are cut into.
pub(crate) const BLOCK_BYTES: u64 = 4 << 20;
/// Longest file name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Some bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Piece {
    /// Which object.
    pub(crate) object_key: Arc<str>,
    /// Where it begins.
    pub(crate) start: u64,
    /// Its length.
    pub(crate) len: u64,
}

impl Piece {
    pub(crate) fn new(object_key: &str, range: Range<u64>) -> Self {
        Self { object_key: object_key.into(), start: range.start, len: range.end.saturating_sub(range.start) }
    }

    /// Where it is in its object.
    pub(crate) const fn range(&self) -> Range<u64> {
        self.start..self.start + self.len
    }

    /// `{key}@{start}-{len}`, where `+` stands for `/` and `%xx` for what file names should not have. `None`: too long.
    pub(crate) fn file_name(&self) -> Option<String> {
        use std::fmt::Write as _;
        let mut name = String::new();
        for byte in self.object_key.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                b'/' => name.push('+'),
                _ => write!(name, "%{byte:02x}").ok()?,
            }
        }
        write!(name, "@{}-{}", self.start, self.len).ok()?;
        (name.len() <= NAME_BYTES_MAX).then_some(name)
    }

    /// The piece whose file has this name; `None` for every other name.
    pub(crate) fn of_file_name(name: &str) -> Option<Self> {
        let (escaped, place) = name.split_once('@')?;
        let (start, len) = place.split_once('-')?;
        let mut key = Vec::new();
        let mut bytes = escaped.bytes();
        while let Some(byte) = bytes.next() {
            key.push(match byte {
                b'+' => b'/',
                b'%' => 16 * hex(bytes.next()?)? + hex(bytes.next()?)?,
                byte => byte,
            });
        }
        let key = String::from_utf8(key).ok()?;
        let (start, len): (u64, u64) = (start.parse().ok()?, len.parse().ok()?);
        let piece = Self::new(&key, start..start.checked_add(len)?);
        (piece.len > 0 && piece.file_name().as_deref() == Some(name)).then_some(piece)
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The blocks of an object that hold these bytes of it; the last one ends with the object. None: it does not go that far.
pub(crate) fn blocks(object_key: &str, range: &Range<u64>, object_bytes: u64) -> Vec<Piece> {
    let object_key: Arc<str> = object_key.into();
    let mut blocks = Vec::new();
    if range.end > object_bytes {
        return blocks;
    }
    let mut start = range.start - range.start % BLOCK_BYTES;
    while start < range.end {
        let len = BLOCK_BYTES.min(object_bytes - start);
        blocks.push(Piece { object_key: Arc::clone(&object_key), start, len });
        start += BLOCK_BYTES;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_says_which_piece_it_holds() {
        for key in ["org-1/flush/0000000000000000007/0000000000000000042-9f86d081884c7d65", "a b/ü%@+", ""] {
            let piece = Piece::new(key, 4..9);
            let name = piece.file_name().expect("short enough");
            assert!(!name.contains('/') && name.is_ascii(), "{name}");
            assert_eq!(Piece::of_file_name(&name), Some(piece));
        }
        assert_eq!(Piece::new(&"x".repeat(252), 0..4).file_name(), None);
    }

    #[test]
    fn a_name_that_is_not_ours_is_not_a_piece() {
        for name in [
            "",
            ".",
            "..",
            ".lock",
            "cluster",
            "notes.txt",
            "a@1-0",
            "a@01-2",
            "a@1-2-3",
            "a@b@1-2",
            "a/b@1-2",
            "a%4@1-2",
            "a%41@1-2",
            "a%FF@1-2",
            "a@-1-2",
            "a@1-18446744073709551615",
            "a@1-+2",
            "../etc@1-2",
            "a@1-2 ",
        ] {
            assert_eq!(Piece::of_file_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn blocks_are_cut_at_the_same_places_for_everybody() {
        let at = |range, object_bytes| -> Vec<(u64, u64)> {
            blocks("a", &range, object_bytes).iter().map(|block| (block.start, block.len)).collect()
        };
        assert_eq!(at(8..100, 1000), [(0, 1000)]);
        assert_eq!(
            at(BLOCK_BYTES - 1..BLOCK_BYTES + 1, 2 * BLOCK_BYTES),
            [(0, BLOCK_BYTES), (BLOCK_BYTES, BLOCK_BYTES)]
        );
        assert_eq!(at(BLOCK_BYTES..BLOCK_BYTES + 5, BLOCK_BYTES + 7), [(BLOCK_BYTES, 7)]);
        assert!(at(10..20, 10).is_empty(), "beyond the object");
    }
}
