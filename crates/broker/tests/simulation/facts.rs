//! What a history says, indexed once: every value that was sent, every place where one was seen, every end that was known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{History, Key, Moment, Op, Outcome, Process, Record, Value, record_key};

/// A value that was sent, with all attempts to send it.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) value: Value,
    pub(crate) key: Key,
    pub(crate) process: Process,
    pub(crate) began: Moment,
    /// The best of all attempts.
    pub(crate) outcome: Outcome,
    pub(crate) unknown_attempts: usize,
    pub(crate) acked: BTreeSet<i64>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} ({:?})", self.value, self.outcome)
    }
}

/// The highest number known at a time: evidence comes in the order of its moments.
#[derive(Debug, Default)]
pub(crate) struct Highest(Vec<(Moment, i64)>);

impl Highest {
    pub(crate) fn add(&mut self, moment: Moment, number: i64) {
        if self.0.last().is_none_or(|(_, highest)| number > *highest) {
            self.0.push((moment, number));
        }
    }

    /// What was reached before that moment; -1 if nothing is known.
    pub(crate) fn before(&self, moment: Moment) -> i64 {
        let after = self.0.partition_point(|(known, _)| *known < moment);
        after.checked_sub(1).map_or(-1, |last| self.0[last].1)
    }

    fn last(&self) -> i64 {
        self.0.last().map_or(-1, |(_, highest)| *highest)
    }
}

/// Indexes over a history.
pub(crate) struct Facts<'h> {
    pub(crate) history: &'h History,
    pub(crate) written: BTreeMap<Value, Written>,
    /// Value → the offsets where it was read.
    pub(crate) places: BTreeMap<Value, BTreeSet<i64>>,
    /// Offsets that hold a value, as acked or read.
    existing: BTreeMap<Key, BTreeSet<i64>>,
    finals: BTreeMap<(Key, i64), Option<Value>>,
    /// Of topics that are compacted, where a key has values, and when the first attempt to send each began.
    of_record_key: BTreeMap<(Key, u32), BTreeMap<i64, Moment>>,
    /// And which value is where.
    placed: BTreeMap<(Key, i64), Value>,
    ends: BTreeMap<Key, Highest>,
    /// Highest log start that anybody was told, or asked for.
    starts: BTreeMap<Key, i64>,
}

impl<'h> Facts<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        let mut facts = Self {
            history,
            written: BTreeMap::new(),
            places: BTreeMap::new(),
            existing: BTreeMap::new(),
            finals: BTreeMap::new(),
            of_record_key: BTreeMap::new(),
            placed: BTreeMap::new(),
            ends: BTreeMap::new(),
            starts: BTreeMap::new(),
        };
        for event in &history.events {
            facts.take(event.process, event.began, event.ended, &event.op);
        }
        for (key, log) in &history.logs {
            facts.read(*key, &log.records);
            facts.finals.extend(log.records.iter().map(|(offset, value)| ((*key, *offset), *value)));
            facts.start(*key, log.start);
        }
        facts.place();
        facts
    }

    fn place(&mut self) {
        for written in self.written.values().filter(|written| self.history.compacted.contains(&written.key.0)) {
            for offset in self.offsets(written) {
                self.placed.insert((written.key, offset), written.value);
                let of_key = self.of_record_key.entry((written.key, record_key(written.value))).or_default();
                of_key.insert(offset, written.began);
            }
        }
    }

    fn take(&mut self, process: Process, began: Moment, ended: Moment, op: &Op) {
        match op {
            Op::Send { key, value, outcome, offset } => {
                let written = self.written.entry(*value).or_insert(Written {
                    value: *value,
                    key: *key,
                    process,
                    began,
                    outcome: *outcome,
                    unknown_attempts: 0,
                    acked: BTreeSet::new(),
                });
                written.outcome = written.outcome.max(*outcome);
                written.began = written.began.min(began);
                written.unknown_attempts += usize::from(*outcome == Outcome::Info);
                if *outcome == Outcome::Ok {
                    written.acked.insert(*offset);
                    self.existing.entry(*key).or_default().insert(*offset);
                    self.ends.entry(*key).or_default().add(ended, offset + 1);
                }
            }
            Op::Poll { key, records } => {
                self.read(*key, records);
                if let Some((last, _)) = records.last() {
                    self.ends.entry(*key).or_default().add(ended, last + 1);
                }
            }
            Op::End { key, offset } | Op::HighWatermark { key, offset } => {
                self.ends.entry(*key).or_default().add(ended, *offset)
            }
            Op::Start { key, offset } | Op::Delete { key, offset } => self.start(*key, *offset),
            _ => {}
        }
    }

    fn read(&mut self, key: Key, records: &[Record]) {
        for (offset, value) in records {
            self.existing.entry(key).or_default().insert(*offset);
            if let Some(value) = value {
                self.places.entry(*value).or_default().insert(*offset);
            }
        }
    }

    fn start(&mut self, key: Key, offset: i64) {
        let start = self.starts.entry(key).or_default();
        *start = (*start).max(offset);
    }

    /// Every place of a value, over acks and reads.
    pub(crate) fn offsets(&self, written: &Written) -> BTreeSet<i64> {
        let read = self.places.get(&written.value).into_iter().flatten();
        read.chain(&written.acked).copied().collect()
    }

    pub(crate) fn final_at(&self, key: Key, offset: i64) -> Option<Value> {
        self.finals.get(&(key, offset)).copied().flatten()
    }

    /// Whether a value is known to be at one of these offsets that was not compacted at that moment.
    pub(crate) fn any_between(&self, key: Key, first: i64, end: i64, moment: Moment) -> bool {
        let offsets = self.existing.get(&key).filter(|_| first < end);
        offsets.into_iter().flat_map(|offsets| offsets.range(first..end)).any(|offset| {
            let after = self.after(key, *offset);
            !after.is_some_and(|mut after| after.any(|(_, began)| *began < moment))
        })
    }

    /// The values that are known to be after this one in a topic that is compacted, with its key.
    fn after(&self, key: Key, offset: i64) -> Option<impl Iterator<Item = (&i64, &Moment)>> {
        let value = self.placed.get(&(key, offset))?;
        Some(self.of_record_key.get(&(key, record_key(*value)))?.range(offset + 1..))
    }

    /// Whether nothing is there in the end, and another value of its key after it.
    pub(crate) fn is_compacted(&self, key: Key, offset: i64) -> bool {
        let is_final = |offset: i64| self.finals.contains_key(&(key, offset));
        !is_final(offset) && self.after(key, offset).is_some_and(|mut after| after.any(|(offset, _)| is_final(*offset)))
    }

    /// Everything that was read.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Key, i64, Option<Value>)> + '_ {
        let polled = self.history.events.iter().filter_map(|event| match &event.op {
            Op::Poll { key, records } => Some((*key, records)),
            _ => None,
        });
        let finals = self.history.logs.iter().map(|(key, log)| (*key, &log.records));
        polled
            .chain(finals)
            .flat_map(|(key, records)| records.iter().map(move |(offset, value)| (key, *offset, *value)))
    }

    /// How long a partition was known to be before a moment.
    pub(crate) fn end_before(&self, key: Key, moment: Moment) -> i64 {
        self.ends.get(&key).map_or(-1, |ends| ends.before(moment))
    }

    /// How long it was known to be in the end.
    pub(crate) fn last_end(&self, key: Key) -> i64 {
        let known = self.ends.get(&key).map_or(0, Highest::last);
        known.max(self.history.logs.get(&key).map_or(0, |log| log.end))
    }

    /// The first offset that was certainly never deleted.
    pub(crate) fn is_whole_from(&self, key: Key) -> i64 {
        self.starts.get(&key).copied().unwrap_or(0)
    }
}
