//! Which pieces are in the cache, and which of them goes next: least recently used, by bytes.

use std::collections::{BTreeMap, HashMap};

use super::piece::Piece;

/// What file systems allocate by.
const PAGE: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    bytes_max: u64,
    used: u64,
    /// Each piece with the time of its last use.
    pieces: HashMap<Piece, u64>,
    order: BTreeMap<u64, Piece>,
    uses: u64,
}

impl Index {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, used: 0, pieces: HashMap::new(), order: BTreeMap::new(), uses: 0 }
    }

    /// Bytes on disk, as they are charged.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn contains(&self, piece: &Piece) -> bool {
        self.pieces.contains_key(piece)
    }

    /// Notes a use; false if it is not there.
    pub(super) fn touch(&mut self, piece: &Piece) -> bool {
        let Some(last) = self.pieces.get_mut(piece) else { return false };
        self.uses += 1;
        if let Some(known) = self.order.remove(last) {
            self.order.insert(self.uses, known);
        }
        *last = self.uses;
        true
    }

    /// Adds a piece, as just used; returns what has to go for it.
    pub(super) fn insert(&mut self, piece: Piece) -> Vec<Piece> {
        if self.touch(&piece) {
            return Vec::new();
        }
        self.used += charge(&piece);
        self.uses += 1;
        self.order.insert(self.uses, piece.clone());
        self.pieces.insert(piece, self.uses);
        let surplus = self.used.saturating_sub(self.bytes_max);
        self.evict(surplus)
    }

    pub(super) fn remove(&mut self, piece: &Piece) -> bool {
        let Some(last) = self.pieces.remove(piece) else { return false };
        self.order.remove(&last);
        self.used -= charge(piece);
        true
    }

    /// Takes out the oldest until so many bytes are free.
    pub(super) fn evict(&mut self, bytes: u64) -> Vec<Piece> {
        let (mut freed, mut evicted) = (0, Vec::new());
        while freed < bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.pieces.remove(&oldest);
            self.used -= charge(&oldest);
            freed += charge(&oldest);
            evicted.push(oldest);
        }
        evicted
    }
}

/// A file costs whole pages, and one for its name.
pub(super) const fn charge(piece: &Piece) -> u64 {
    piece.len.next_multiple_of(PAGE).saturating_add(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, len: u64) -> Piece {
        Piece::new(name, 0..len)
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut index = Index::new(3 * 2 * PAGE);
        for name in ["a", "b", "c"] {
            assert!(index.insert(piece(name, 10)).is_empty());
        }
        assert!(index.touch(&piece("a", 10)) && !index.touch(&piece("a", 11)));
        assert_eq!(index.insert(piece("d", 10)), [piece("b", 10)]);
        assert_eq!(index.insert(piece("e", PAGE + 1)), [piece("c", 10), piece("a", 10)]);
        assert_eq!(index.used(), 5 * PAGE);
    }

    #[test]
    fn a_piece_larger_than_the_cache_is_not_kept() {
        let mut index = Index::new(PAGE);
        assert_eq!(index.insert(piece("a", 10)), [piece("a", 10)]);
        assert_eq!(index.used(), 0);
    }

    #[test]
    fn a_piece_counts_once_and_until_it_is_removed() {
        let mut index = Index::new(100 * PAGE);
        index.insert(piece("a", 10));
        index.insert(piece("a", 10));
        assert_eq!(index.used(), 2 * PAGE);
        assert!(index.remove(&piece("a", 10)) && !index.remove(&piece("a", 10)));
        assert_eq!((index.used(), index.evict(1).len()), (0, 0));
        assert!(!index.contains(&piece("a", 10)));
    }
}
