//! Who reads one range after the other, and how far ahead of it to read.
//!
//! A fetch does not say who asks. A reader is known by where it left off: the read that begins there is its next one. Its ranges
//! are kept with it, so that metadata is asked once for many reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metadata::RangeRow;
use segment::{Offset, PartitionKey, TopicId};
use tokio::time::Instant;

use super::answers::Pace;

/// Objects up to this size are read ahead as a whole, if readers want all of it.
const WHOLE_BYTES_MAX: i64 = 4 * BLOCK_BYTES;
/// As ranges say it.
const BLOCK_BYTES: i64 = crate::cache::BLOCK_BYTES.cast_signed();
/// Readers that are remembered.
const READERS_MAX: usize = 512;
/// How much is read ahead at first, in parts of what the reader takes at once.
const FIRST_WINDOW: usize = 4;
/// How long fetches may pass over a reader.
const PASSED_OVER_MAX: Duration = Duration::from_secs(1);
/// One that was not seen for longer needs no share.
const ACTIVE: Duration = Duration::from_secs(5);

/// One reader of one partition.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Its last read, from here…
    from: Offset,
    /// … to here: the client takes all of it or less.
    to: Offset,
    /// Bytes to be read ahead; 0 until a second read goes on where the first ended.
    pub(super) window: usize,
    /// The ranges from `from` on, without a gap, as far as they are known.
    pub(super) rows: VecDeque<RangeRow>,
    /// When the first of them was looked up, or told.
    pub(super) planned: Option<Instant>,
    /// Since when fetches go on without it.
    passed_over: Option<Instant>,
    /// How its client took what was read last.
    pub(super) pace: Option<Arc<Pace>>,
    /// When it was put back last.
    seen: Option<Instant>,
}

/// All readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// In order, so that neighbours are.
    of: BTreeMap<PartitionKey, Vec<Reader>>,
    count: usize,
}

impl Readers {
    /// The reader that goes on at `offset`, taken out; a new one if there is none.
    pub(super) fn take(&mut self, key: PartitionKey, offset: Offset) -> Reader {
        let known = self.of.get_mut(&key);
        let found = known.and_then(|known| {
            let position = known.iter().position(|reader| reader.is_at(offset))?;
            Some(known.swap_remove(position))
        });
        let Some(mut reader) = found else {
            return Reader { from: offset, to: offset, ..Reader::default() };
        };
        self.count -= 1;
        let passed = reader.rows.partition_point(|row| row.next_offset <= offset);
        reader.rows.drain(..passed);
        reader
    }

    /// The reader that goes on at `offset`.
    pub(super) fn at(&self, key: PartitionKey, offset: Offset) -> Option<&Reader> {
        self.of.get(&key)?.iter().find(|reader| reader.is_at(offset))
    }

    /// What other readers will want of the blocks that hold this range; of the whole object if it is not large, as some ranges are in
    /// two blocks.
    pub(super) fn neighbours(&self, of: &RangeRow) -> Vec<(TopicId, RangeRow)> {
        let is_whole = of.object_bytes <= WHOLE_BYTES_MAX;
        let block = |at: i64| at / BLOCK_BYTES;
        let (first, last) = (block(of.byte_start), block(of.byte_start + of.byte_len - 1));
        let is_near = |row: &&RangeRow| {
            row.object_key == of.object_key
                && row.byte_start != of.byte_start
                && (is_whole || block(row.byte_start) <= last && block(row.byte_start + row.byte_len - 1) >= first)
        };
        let mut near = Vec::new();
        for (key, known) in &self.of {
            for reader in known.iter().filter(|reader| reader.is_active()) {
                near.extend(reader.rows.iter().find(is_near).map(|row| (key.topic_id, row.clone())));
            }
        }
        near
    }

    /// Whether a fetch goes on without the reader at `offset`, as the first range it wants is late: not for ever.
    pub(super) fn passes_over(
        &mut self,
        key: PartitionKey,
        offset: Offset,
        is_late: impl Fn(&RangeRow) -> bool,
    ) -> bool {
        let mut known = self.of.get_mut(&key).into_iter().flatten();
        let Some(reader) = known.find(|reader| reader.is_at(offset)) else { return false };
        let since = reader.passed_over.unwrap_or_else(Instant::now);
        let passes = since.elapsed() < PASSED_OVER_MAX && reader.next_row(offset).is_some_and(is_late);
        reader.passed_over = passes.then_some(since);
        passes
    }

    /// Puts it back after a read. The one that was not seen for longest makes room.
    pub(super) fn put(&mut self, key: PartitionKey, mut reader: Reader) {
        reader.seen = Some(Instant::now());
        self.of.entry(key).or_default().push(reader);
        self.count += 1;
        if self.count > READERS_MAX {
            self.drop_oldest();
        }
    }

    /// What readers know of ranges that were replaced.
    pub(super) fn forget_rows(&mut self, key: PartitionKey) {
        self.of.get_mut(&key).into_iter().flatten().for_each(|reader| reader.rows.clear());
    }

    /// Readers for whom something may be read ahead now, with one that was taken out.
    pub(super) fn active(&self) -> usize {
        let is_active = |reader: &&Reader| reader.window > 0 && reader.is_active();
        1 + self.of.values().flatten().filter(is_active).count()
    }

    fn drop_oldest(&mut self) {
        // Half of them at once, so that the search is rare.
        let mut seen: Vec<_> = self.of.values().flatten().map(|reader| reader.seen).collect();
        let middle = seen.len() / 2;
        let (_, threshold, _) = seen.select_nth_unstable(middle);
        let threshold = *threshold;
        for known in self.of.values_mut() {
            known.retain(|reader| reader.seen > threshold);
        }
        self.of.retain(|_, known| !known.is_empty());
        self.count = self.of.values().map(Vec::len).sum();
    }
}

impl Reader {
    fn is_active(&self) -> bool {
        self.seen.is_some_and(|at| at.elapsed() < ACTIVE)
    }

    /// Whether a read from there may be its next.
    fn is_at(&self, offset: Offset) -> bool {
        self.from <= offset && offset <= self.to
    }

    /// The first range that a read from there will want, if it is known.
    pub(super) fn next_row(&self, offset: Offset) -> Option<&RangeRow> {
        self.rows.iter().find(|row| row.next_offset > offset)
    }

    /// A read of `bytes` from `offset` begins: how many bytes after it to read ahead, at most `window_max`.
    pub(super) fn begins(&mut self, offset: Offset, bytes: usize, window_max: usize) -> usize {
        let goes_on = offset > self.from && offset <= self.to;
        if goes_on {
            self.window = (2 * self.window).max(FIRST_WINDOW * bytes).min(window_max);
        }
        self.window
    }

    /// It ended at `to`; its client will take it at some pace.
    pub(super) fn ended(&mut self, offset: Offset, to: Offset, pace: Arc<Pace>) {
        (self.from, self.to, self.pace) = (offset, to, Some(pace));
    }
}

#[cfg(test)]
mod tests {
    use segment::OrganizationId;

    use super::*;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { organization: OrganizationId::DEFAULT, topic_id: TopicId(uuid::Uuid::nil()), partition }
    }

    fn read(readers: &mut Readers, offset: Offset, to: Offset) -> usize {
        let mut reader = readers.take(key(0), offset);
        let window = reader.begins(offset, 100, 1000);
        (reader.from, reader.to) = (offset, to);
        readers.put(key(0), reader);
        window
    }

    #[test]
    fn nothing_is_read_ahead_until_a_reader_goes_on_where_it_left_off() {
        let mut readers = Readers::default();
        assert_eq!(read(&mut readers, 0, 10), 0);
        assert_eq!(read(&mut readers, 0, 10), 0, "the same again");
        assert_eq!(read(&mut readers, 10, 20), 400);
        assert_eq!(read(&mut readers, 15, 30), 800, "the client took less than was read");
        for _ in 0..5 {
            readers.put(key(0), Reader::default());
        }
        assert_eq!(read(&mut readers, 30, 50), 1000, "bounded");
        assert_eq!(read(&mut readers, 500, 510), 0, "somewhere else: another reader");
        assert_eq!(read(&mut readers, 50, 60), 1000, "which does not disturb the first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_whose_range_is_late_is_not_passed_over_for_ever() {
        let mut readers = Readers::default();
        assert!(!readers.passes_over(key(0), 0, |_| true), "nobody knows what it wants");
        let row = RangeRow {
            base_offset: 0,
            next_offset: 10,
            leader_epoch: 0,
            object_key: "org-1/flush/7/a".to_owned(),
            byte_start: 8,
            byte_len: 10,
            checksum: 0,
            max_timestamp: 0,
            object_bytes: 100,
        };
        readers.put(key(0), Reader { rows: [row].into(), ..Reader::default() });
        assert!(!readers.passes_over(key(0), 0, |_| false));
        for _ in 0..3 {
            assert!((0..1000).all(|_| readers.passes_over(key(0), 0, |_| true)));
            tokio::time::advance(PASSED_OVER_MAX).await;
            assert!(!readers.passes_over(key(0), 0, |_| true));
        }
    }

    #[test]
    fn readers_that_are_remembered_are_bounded() {
        let mut readers = Readers::default();
        for partition in 0..5_000 {
            readers.put(key(partition), Reader::default());
            assert!(readers.count <= READERS_MAX);
        }
        assert_eq!(readers.of.values().flatten().count(), readers.count);
        assert!(readers.of.contains_key(&key(4_999)));
    }
}
