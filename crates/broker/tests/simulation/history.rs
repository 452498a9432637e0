//! What clients asked and what they were told: the events of one run, in order, and their hash.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::checker::Anomaly;

/// A topic, by its number within the run (one that is made again has another), and a partition.
pub(crate) type Key = (u8, i32);
/// A client.
pub(crate) type Process = u16;

/// When something happened: milliseconds of the runtime's clock, then a count, so that no two moments are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) u64);

const COUNT_BITS: u32 = 24;

impl Moment {
    pub(crate) fn time(self) -> Duration {
        Duration::from_millis(self.0 >> COUNT_BITS)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    /// It did not happen.
    Fail,
    /// Nobody knows.
    Info,
    Ok,
}

/// A unique value, which says where it belongs: `(key, process, sequence)`.
pub(crate) type Value = u64;

pub(crate) fn value(key: Key, process: Process, sequence: u32) -> Value {
    let partition = u8::try_from(key.1).expect("few partitions");
    u64::from(key.0) << 56 | u64::from(partition) << 48 | u64::from(process) << 32 | u64::from(sequence)
}

pub(crate) fn key_of(value: Value) -> Key {
    let [topic, partition, ..] = value.to_be_bytes();
    (topic, i32::from(partition))
}

/// The key of a value's record: half of a producer's values have the first key, a quarter the second, and so on.
pub(crate) fn record_key(value: Value) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("masked").trailing_ones()
}

/// An offset and what was read there; `None`: no value at all.
pub(crate) type Record = (i64, Option<Value>);

/// What a client did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// One attempt to send a value; its offset, if it was acked.
    Send { key: Key, value: Value, outcome: Outcome, offset: i64 },
    /// From here on a consumer reads.
    Assign { key: Key, offset: i64 },
    /// Records that a consumer got.
    Poll { key: Key, records: Vec<Record> },
    /// A consumer was told that this offset is out of range.
    OutOfRange { key: Key, offset: i64 },
    /// ListOffsets latest.
    End { key: Key, offset: i64 },
    /// The high watermark that came with records. It may be late, but is true.
    HighWatermark { key: Key, offset: i64 },
    /// ListOffsets earliest.
    Start { key: Key, offset: i64 },
    /// DeleteRecords below this offset, however it ended.
    Delete { key: Key, offset: i64 },
    /// What a member has: all of it, each time. Of KIP-848 groups there is no generation.
    Own { group: &'static str, generation: Option<i32>, keys: BTreeSet<Key> },
    /// A member commits an offset.
    Commit { group: &'static str, key: Key, offset: i64, outcome: Outcome },
    /// A member was told its group's offset (-1: none).
    Committed { group: &'static str, key: Key, offset: i64 },
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) process: Process,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    pub(crate) op: Op,
}

/// A partition as it is in the end, read by nobody's leave but the log's.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct FinalLog {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) records: Vec<Record>,
}

impl FinalLog {
    /// Offsets that have no record.
    pub(crate) fn holes(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(0).saturating_sub(self.records.len())
    }
}

/// Everything that happened.
pub(crate) struct History {
    started: Instant,
    count: u64,
    hasher: DefaultHasher,
    pub(crate) events: Vec<Event>,
    /// Attempts to send that were not answered yet.
    sending: BTreeMap<Value, (Process, Moment)>,
    /// Producers whose values are never there twice.
    pub(crate) idempotent: BTreeSet<Process>,
    /// Topics in which only the last value of each key has to stay.
    pub(crate) compacted: BTreeSet<u8>,
    /// Topics of which nothing is ever deleted are whole; others lose their beginning.
    pub(crate) logs: BTreeMap<Key, FinalLog>,
    /// What was seen to be wrong while it happened.
    pub(crate) noted: Vec<Anomaly>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            count: 0,
            hasher: DefaultHasher::new(),
            events: Vec::new(),
            sending: BTreeMap::new(),
            idempotent: BTreeSet::new(),
            compacted: BTreeSet::new(),
            logs: BTreeMap::new(),
            noted: Vec::new(),
        }
    }

    pub(crate) fn now(&mut self) -> Moment {
        self.count += 1;
        let ms = u64::try_from(self.started.elapsed().as_millis()).expect("short");
        Moment(ms << COUNT_BITS | self.count)
    }

    /// An attempt to send begins; `record` ends it.
    pub(crate) fn begin_send(&mut self, process: Process, value: Value) -> Moment {
        let began = self.now();
        self.sending.insert(value, (process, began));
        began
    }

    /// Nobody will hear what became of attempts that were not answered.
    pub(crate) fn end(&mut self) {
        for (value, (process, began)) in std::mem::take(&mut self.sending) {
            let (key, outcome) = (key_of(value), Outcome::Info);
            self.record(process, began, Op::Send { key, value, outcome, offset: -1 });
        }
    }

    pub(crate) fn record(&mut self, process: Process, began: Moment, op: Op) {
        let ended = self.now();
        if let Op::Send { value, .. } = op {
            self.sending.remove(&value);
        }
        (process, began, ended, &op).hash(&mut self.hasher);
        self.events.push(Event { process, began, ended, op });
    }

    pub(crate) fn note(&mut self, kind: &'static str, what: String) {
        self.noted.push(Anomaly { kind, what });
    }

    /// Of all events, and of the logs in the end.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = self.hasher.clone();
        self.logs.hash(&mut hasher);
        hasher.finish()
    }
}
