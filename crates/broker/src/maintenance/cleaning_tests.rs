//! What stays of histories of keys, whatever is cleaned when.

use std::collections::BTreeMap;

use proptest::prelude::*;
use segment::{NewRecord, encode_batch, place, slice_batches};

use super::*;

const NOW: TimestampMs = 1_700_000_000_000;
/// `delete.retention.ms`.
const RETENTION: i64 = 100;

type Batch = (RecordBatchHeader, Bytes);
type Row = Vec<Batch>;

/// A record by its key and value; no value = a tombstone.
type Entry = (u8, Option<u8>);

/// One batch of these records, the first at `base_offset`.
fn batch(base_offset: Offset, entries: &[Entry]) -> Batch {
    let record = |(key, value): &Entry| NewRecord {
        key: Some(vec![*key].into()),
        value: value.map(|value| vec![value].into()),
        timestamp: NOW,
        headers: Vec::new(),
    };
    let records: Vec<NewRecord> = entries.iter().map(record).collect();
    let bytes = encode_batch(&records, Some((7, 0, 0))).unwrap();
    let header = RecordBatchHeader::parse(&bytes).unwrap();
    let (placed, stored) = place(&bytes, &header, base_offset, 3, None);
    (stored, [placed.header, placed.records].concat().into())
}

/// Every record: offset, key, value is there.
fn records<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<(Offset, u8, bool)> {
    let mut found = Vec::new();
    for (header, bytes) in rows.into_iter().flatten() {
        assert!(segment::crc_matches(bytes));
        assert_eq!(slice_batches(bytes).next().unwrap().unwrap().0, *header);
        visit_records(bytes, header, |record| found.push((record.offset, record.key.unwrap()[0], record.has_value)))
            .unwrap();
    }
    found
}

/// One that knows the keys from one offset up to another.
fn cleaner(rows: &[Row], from: Offset, known_to: Offset, now: TimestampMs) -> Cleaner {
    let mut last_offsets = LastOffsets::new(0, 0);
    for (header, bytes) in rows.iter().flatten() {
        visit_records(bytes, header, |record| {
            if (from..known_to).contains(&record.offset) {
                assert!(record.key.is_none_or(|key| last_offsets.put(key, record.offset)));
            }
        })
        .unwrap();
    }
    Cleaner { last_offsets, known_to, now, delete_retention_ms: RETENTION }
}

#[test]
fn of_each_key_the_last_record_stays() {
    let rows = vec![vec![batch(0, &[(1, Some(1)), (2, Some(1)), (1, Some(2))])], vec![batch(3, &[(2, Some(2))])]];
    let cleaner = cleaner(&rows, 0, 4, NOW);
    let first = cleaner.clean(&rows[0]).unwrap();
    assert_eq!((first.is_changed, first.records_removed), (true, 2));
    assert_eq!(records([&first.batches]), [(2, 1, true)]);
    let (header, before) = (first.batches[0].0, rows[0][0].0);
    assert_eq!((header.base_offset, header.next_offset()), (0, 3), "it covers what it covered");
    let producer = |header: RecordBatchHeader| (header.producer_id, header.base_sequence, header.last_sequence());
    assert_eq!(producer(header), producer(before));
    let second = cleaner.clean(&rows[1]).unwrap();
    assert_eq!((second.is_changed, second.batches), (false, rows[1].clone()));
}

#[test]
fn a_tombstone_stays_for_a_time_after_what_it_deletes_is_gone() {
    let rows = vec![vec![batch(0, &[(1, Some(1))]), batch(1, &[(1, None), (2, Some(1))])]];
    let first = cleaner(&rows, 0, 3, NOW).clean(&rows[0]).unwrap();
    assert_eq!(records([&first.batches]), [(1, 1, false), (2, 2, true)]);
    assert_eq!(first.batches[0].0.delete_horizon(), Some(NOW + RETENTION));
    let left = vec![first.batches];
    for (later, expected) in [(0, 2), (RETENTION - 1, 2), (RETENTION, 1)] {
        let again = cleaner(&left, 3, 3, NOW + later).clean(&left[0]).unwrap();
        assert_eq!(records([&again.batches]).len(), expected, "{later} ms later");
        assert_eq!(again.is_changed, expected == 1, "nor is its horizon moved");
    }
}

#[test]
fn records_whose_keys_are_not_known_stay() {
    let rows = vec![vec![batch(0, &[(1, None), (1, None), (1, None), (1, None)]), batch(4, &[(1, None)])]];
    let half = cleaner(&rows, 0, 2, NOW).clean(&rows[0]).unwrap();
    let offsets: Vec<_> = records([&half.batches]).iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, [1, 2, 3, 4]);
    assert!(half.batches.iter().all(|(header, _)| header.delete_horizon().is_none()));
    let rest = cleaner(std::slice::from_ref(&half.batches), 2, 5, NOW).clean(&half.batches).unwrap();
    assert_eq!(records([&rest.batches]), [(4, 1, false)]);
}

#[test]
fn records_without_a_key_and_batches_without_records_go() {
    let record = NewRecord { key: None, value: Some("v".into()), timestamp: NOW, headers: Vec::new() };
    let bytes = encode_batch(&[record], None).unwrap();
    let header = RecordBatchHeader::parse(&bytes).unwrap();
    let row = vec![(header, bytes)];
    let cleaned = cleaner(std::slice::from_ref(&row), 0, 1, NOW).clean(&row).unwrap();
    assert!(cleaned.batches.is_empty() && cleaned.is_changed);
}

#[test]
fn a_full_table_says_where_it_was_full() {
    let mut table = LastOffsets::new(0, 1 << 40);
    let key = |number: u16| number.to_be_bytes();
    let room = u16::try_from(SLOTS_MIN / 10 * 9).unwrap();
    assert!((0..room).all(|number| table.put(&key(number), number.into())));
    assert!(!table.put(&key(room), room.into()));
    assert!(table.put(&key(0), 5_000), "a key that it has is still noted");
    assert_eq!((table.last_of(&key(0)), table.last_of(&key(1))), (Some(5_000), Some(1)));
    assert_eq!(table.last_of(&key(room)), None);
    let mut small = LastOffsets::new(0, 0);
    for number in 0..room {
        small.put(&key(number), number.into());
    }
    let row = vec![batch(7_000, &[(1, None), (2, None)])];
    assert_eq!(small.note(&row, 0).unwrap(), Some(7_000));
    assert_eq!(small.note(&row, 7_001).unwrap(), Some(7_001));
    assert_eq!(small.note(&row, 7_002).unwrap(), None);
    assert_eq!(small.last_of(&[1]), None);
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    /// A row of batches is appended.
    Append(Vec<Vec<Entry>>),
    /// A pass that knows so many records of those that are dirty; the swap of this and every later row is refused.
    Clean { records: i64, refused_at: usize },
    /// Time passes.
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entry = (0..6_u8, proptest::option::weighted(0.7, any::<u8>()));
    let batches = prop::collection::vec(prop::collection::vec(entry, 1..5), 1..4);
    let step = prop_oneof![
        4 => batches.prop_map(Step::Append),
        3 => (0..40_i64, prop_oneof![Just(usize::MAX), 0..6_usize])
            .prop_map(|(records, refused_at)| Step::Clean { records, refused_at }),
        1 => (0..2 * RETENTION).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

/// A log, and what its consumers must find in it.
#[derive(Default)]
struct Log {
    rows: Vec<Row>,
    next_offset: Offset,
    cleaned_to: Offset,
    /// Everything that was appended.
    history: Vec<(Offset, u8, bool)>,
}

impl Log {
    fn append(&mut self, batches: &[Vec<Entry>]) {
        let mut row = Row::new();
        for entries in batches {
            row.push(batch(self.next_offset, entries));
            self.next_offset = row.last().unwrap().0.next_offset();
        }
        self.history.extend(records([&row]));
        self.rows.push(row);
    }

    /// Cleans all rows but the newest, whose records may be known; rows before one that is refused are swapped.
    fn clean(&mut self, known: i64, refused_at: usize, now: TimestampMs) {
        let known_to = (self.cleaned_to + known).min(self.next_offset);
        let cleaner = cleaner(&self.rows, self.cleaned_to, known_to, now);
        let Some((newest, rows)) = self.rows.split_last_mut() else { return };
        let newest_base = newest[0].0.base_offset;
        let cleaned: Vec<Row> = rows.iter().map(|row| cleaner.clean(row).unwrap().batches).collect();
        let is_refused = refused_at < rows.len();
        for (row, cleaned) in rows.iter_mut().zip(cleaned).take(refused_at) {
            *row = cleaned;
            assert!(!cleaner.clean(row).unwrap().is_changed, "clean is clean");
        }
        if !is_refused {
            self.cleaned_to = self.cleaned_to.max(known_to.min(newest_base));
        }
    }

    /// The state that the log tells: the last record of each key, where that has a value.
    fn state(found: &[(Offset, u8, bool)]) -> BTreeMap<u8, Offset> {
        let mut state = BTreeMap::new();
        for (offset, key, has_value) in found {
            match has_value {
                true => state.insert(*key, *offset),
                false => state.remove(key),
            };
        }
        state
    }
}

proptest! {
    #[test]
    fn whatever_is_cleaned_when_a_reader_from_the_start_finds_the_same(steps in steps()) {
        let (mut log, mut now) = (Log::default(), NOW);
        for step in steps {
            match step {
                Step::Append(batches) => log.append(&batches),
                Step::Clean { records, refused_at } => log.clean(records, refused_at, now),
                Step::Wait(ms) => now += ms,
            }
            let found = records(&log.rows);
            prop_assert_eq!(Log::state(&found), Log::state(&log.history), "the last value of each key");
            prop_assert!(found.iter().all(|record| log.history.contains(record)), "nothing moves");
            prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0));
            // What is clean has each key once.
            let clean = found.iter().filter(|(offset, ..)| *offset < log.cleaned_to);
            let keys: Vec<u8> = clean.map(|(_, key, _)| *key).collect();
            prop_assert!(keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key)));
        }
    }
}
