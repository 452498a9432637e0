//! Whether it pays to read more of an object than one reader wants.
//!
//! A flush puts many partitions into an object. Where several of them are read, one large read serves all; where one is, reading
//! the rest is waste. What was seen of a writer's objects lately tells what its next one is like.

use std::collections::{HashMap, VecDeque};

use metadata::RangeRow;

/// Writers that are remembered.
const WRITERS_MAX: usize = 256;
/// Ranges that are remembered of each, for a second one of the same object.
const RANGES_MAX: usize = 64;
/// How many large reads in a row may be in vain before only what is wanted is read again.
const PATIENCE: u8 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    writers: HashMap<String, Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    /// Above 0: large reads pay.
    score: u8,
    /// Ranges that were read alone: object and position.
    alone: VecDeque<(String, i64)>,
}

impl Sharing {
    /// Somebody wants this range: whether others want more of its object.
    pub(super) fn is_shared(&mut self, row: &RangeRow) -> bool {
        let writer = self.writer(&row.object_key);
        let is_other = |(object_key, start): &(String, i64)| *object_key == row.object_key && *start != row.byte_start;
        if writer.score == 0 && writer.alone.iter().any(is_other) {
            writer.score = PATIENCE;
            writer.alone.clear();
        }
        if writer.score == 0 {
            writer.alone.truncate(RANGES_MAX - 1);
            writer.alone.push_front((row.object_key.clone(), row.byte_start));
        }
        writer.score > 0
    }

    /// What was read of an object for one served another.
    pub(super) fn paid(&mut self, object_key: &str) {
        let writer = self.writer(object_key);
        writer.score = if writer.score > 0 { PATIENCE } else { 0 };
    }

    /// More than what was wanted of an object is read now: in vain, unless it pays later.
    pub(super) fn spent(&mut self, object_key: &str) {
        let writer = self.writer(object_key);
        writer.score = writer.score.saturating_sub(1);
    }

    fn writer(&mut self, object_key: &str) -> &mut Writer {
        let name = object_key.rsplit_once('/').map_or(object_key, |(writer, _)| writer);
        if !self.writers.contains_key(name) {
            if self.writers.len() >= WRITERS_MAX {
                self.writers.clear();
            }
            self.writers.insert(name.to_owned(), Writer::default());
        }
        self.writers.entry(name.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(object: &str, byte_start: i64) -> RangeRow {
        RangeRow {
            base_offset: 0,
            next_offset: 1,
            leader_epoch: 0,
            object_key: format!("org-1/flush/7/{object}"),
            byte_start,
            byte_len: 10,
            checksum: 0,
            max_timestamp: 0,
            object_bytes: 8 << 20,
        }
    }

    #[test]
    fn one_reader_of_one_partition_reads_what_it_wants() {
        let mut sharing = Sharing::default();
        for object in 0..1000 {
            assert!(!sharing.is_shared(&row(&object.to_string(), 8)));
            assert!(!sharing.is_shared(&row(&object.to_string(), 8)), "the same range again");
        }
        assert!(sharing.writers.values().all(|writer| writer.alone.len() <= RANGES_MAX));
    }

    #[test]
    fn a_second_range_of_an_object_makes_this_and_the_next_objects_shared() {
        let mut sharing = Sharing::default();
        assert!(!sharing.is_shared(&row("a", 8)));
        assert!(sharing.is_shared(&row("a", 18)));
        assert!(sharing.is_shared(&row("b", 8)));
        let other = RangeRow { object_key: "org-1/flush/8/a".to_owned(), ..row("a", 8) };
        assert!(!sharing.is_shared(&other), "another writer's objects may be read otherwise");
    }

    #[test]
    fn large_reads_that_are_in_vain_end() {
        let mut sharing = Sharing::default();
        sharing.paid("org-1/flush/7/a");
        assert!(!sharing.is_shared(&row("a", 8)), "nobody said that it was shared");
        assert!(sharing.is_shared(&row("a", 18)));
        for spent in 0..3 * PATIENCE {
            assert!(sharing.is_shared(&row("b", 8)));
            sharing.spent("org-1/flush/7/b");
            if spent < 2 * PATIENCE {
                sharing.paid("org-1/flush/7/b");
            }
        }
        assert!(!sharing.is_shared(&row("c", 8)));
    }

    #[test]
    fn writers_that_are_remembered_are_bounded() {
        let mut sharing = Sharing::default();
        for writer in 0..10_000 {
            sharing.paid(&format!("org-1/flush/{writer}/a"));
        }
        assert!(sharing.writers.len() <= WRITERS_MAX);
    }
}
