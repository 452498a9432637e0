//! Judges a history: one function for each promise that can be broken. The same rules as compat-tests/checker, for the
//! operations of a simulation.
//!
//! | anomaly | meaning |
//! | --- | --- |
//! | lost-write | acked, or seen by someone, and not in the log in the end (above its start; compacted: and no later value of its key is) |
//! | inconsistent-offsets | one offset holds two values, over acks and reads |
//! | duplicate | one value at two offsets; allowed without idempotence after an attempt whose outcome is unknown |
//! | aborted-read | a value was read whose every attempt failed |
//! | poll-skip, nonmonotonic-poll | a consumer skips values that exist, or goes back, without an assignment between |
//! | older-value | a consumer that reads on sees an older value of a producer and a key after a newer one |
//! | nonmonotonic-send | a producer's later value lies lower, or one that began after another's ack |
//! | wrong-key, corrupt, phantom | a value of another partition, no value at all, or one that nobody sent |
//! | zero-offset | offset 0 acked for two values |
//! | high-watermark-regress | an end below what was acked, read or told before it was asked for |
//! | density | a hole in a log; compacted: its last record is not at its end |
//! | false-out-of-range | said of an offset between the log's ends |
//! | over-deleted | records are gone that nobody deleted |
//! | group-overlap | a partition has two owners: in one generation, or at one time (KIP-848) |
//! | committed-beyond-end, committed-regress | a group's offset past the end, or going back |
//!
//! Noted while it happens: unseen, not-led, no-acks, group-unsettled, false-out-of-order, panic, and those of the storage audit.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{Facts, Highest, Written};
use crate::history::{History, Key, Moment, Op, Outcome, Process, Value, key_of, record_key};

/// A broken rule, and what broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anomaly {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

/// A member of a KIP-848 group that was heard so lately is still one: sooner than this nobody is out.
const HEARD_LATELY_MS: u128 = 4_000;

/// Every anomaly, with those that were noted.
pub(crate) fn check(history: &History) -> Vec<Anomaly> {
    let facts = Facts::new(history);
    let mut found = Found(history.noted.clone());
    lost_write(&facts, &mut found);
    places(&facts, &mut found);
    aborted_read(&facts, &mut found);
    poll_order(&facts, &mut found);
    older_value(&facts, &mut found);
    nonmonotonic_send(&facts, &mut found);
    payloads(&facts, &mut found);
    high_watermark_regress(&facts, &mut found);
    density(&facts, &mut found);
    false_out_of_range(&facts, &mut found);
    group_overlap(&facts, &mut found);
    committed(&facts, &mut found);
    found.0
}

struct Found(Vec<Anomaly>);

impl Found {
    fn add(&mut self, kind: &'static str, what: String) {
        self.0.push(Anomaly { kind, what });
    }
}

fn lost_write(facts: &Facts<'_>, found: &mut Found) {
    for written in facts.written.values() {
        let Some(log) = facts.history.logs.get(&written.key) else { continue };
        for offset in facts.offsets(written).into_iter().filter(|offset| *offset >= log.start) {
            if facts.final_at(written.key, offset) != Some(written.value) && !facts.is_compacted(written.key, offset) {
                found.add("lost-write", format!("{written} at {offset} of {}..{}", log.start, log.end));
            }
        }
    }
}

/// Each offset has one value, and each value one offset.
fn places(facts: &Facts<'_>, found: &mut Found) {
    let mut values: BTreeMap<(Key, i64), u64> = BTreeMap::new();
    let mut zero: BTreeMap<Key, u64> = BTreeMap::new();
    for written in facts.written.values() {
        let offsets = facts.offsets(written);
        for offset in &offsets {
            let first = *values.entry((written.key, *offset)).or_insert(written.value);
            if first != written.value {
                found.add("inconsistent-offsets", format!("{:?}@{offset}: {first:x} and {written}", written.key));
            }
        }
        if written.acked.contains(&0) && *zero.entry(written.key).or_insert(written.value) != written.value {
            found.add("zero-offset", format!("{:?}: {:x} and {written}", written.key, zero[&written.key]));
        }
        let may_repeat = !facts.history.idempotent.contains(&written.process) && written.unknown_attempts > 0;
        if offsets.len() > 1 && !may_repeat {
            found.add("duplicate", format!("{written} at {offsets:?}"));
        }
    }
}

fn aborted_read(facts: &Facts<'_>, found: &mut Found) {
    for written in facts.written.values().filter(|written| written.outcome == Outcome::Fail) {
        if let Some(offsets) = facts.places.get(&written.value) {
            found.add("aborted-read", format!("{written} at {offsets:?}"));
        }
    }
}

fn poll_order(facts: &Facts<'_>, found: &mut Found) {
    let mut next: BTreeMap<(Process, Key), i64> = BTreeMap::new();
    for event in &facts.history.events {
        match &event.op {
            Op::Assign { key, offset } => drop(next.insert((event.process, *key), *offset)),
            Op::Poll { key, records } => {
                for (offset, _) in records {
                    let wanted = next.insert((event.process, *key), offset + 1).unwrap_or(*offset);
                    if *offset < wanted {
                        found.add(
                            "nonmonotonic-poll",
                            format!("{}: {key:?}@{offset} after {}", event.process, wanted - 1),
                        );
                    } else if facts.any_between(*key, wanted, *offset, event.ended) {
                        found.add("poll-skip", format!("{}: {key:?}@{offset}, expected {wanted}", event.process));
                    }
                }
            }
            _ => {}
        }
    }
}

fn older_value(facts: &Facts<'_>, found: &mut Found) {
    let mut newest: BTreeMap<(Process, Key), BTreeMap<(Process, u32), Value>> = BTreeMap::new();
    for event in &facts.history.events {
        match &event.op {
            Op::Assign { key, .. } => drop(newest.remove(&(event.process, *key))),
            Op::Poll { key, records } => {
                let newest = newest.entry((event.process, *key)).or_default();
                for value in records.iter().filter_map(|(_, value)| *value) {
                    let Some(written) = facts.written.get(&value) else { continue };
                    let before = newest.insert((written.process, record_key(value)), value).unwrap_or(value);
                    if value < before {
                        found.add("older-value", format!("{}: {key:?}: {written} after {before:x}", event.process));
                    }
                }
            }
            _ => {}
        }
    }
}

fn nonmonotonic_send(facts: &Facts<'_>, found: &mut Found) {
    let mut acks: BTreeMap<Key, Highest> = BTreeMap::new();
    for event in &facts.history.events {
        if let Op::Send { key, outcome: Outcome::Ok, offset, .. } = event.op {
            acks.entry(key).or_default().add(event.ended, offset);
        }
    }
    let mut placed: Vec<(&Written, i64)> =
        facts.written.values().filter_map(|written| Some((written, *facts.offsets(written).first()?))).collect();
    placed.sort_by_key(|(written, _)| written.value);
    let mut highest: BTreeMap<(Process, Key), i64> = BTreeMap::new();
    for (written, offset) in placed {
        let before = highest.insert((written.process, written.key), offset).unwrap_or(-1);
        if offset < before {
            found.add("nonmonotonic-send", format!("{written} at {offset} after {before}"));
        }
        let acked = acks.get(&written.key).map_or(-1, |acks| acks.before(written.began));
        if offset < acked {
            found.add("nonmonotonic-send", format!("{written} at {offset}, begun after {acked} was acked"));
        }
    }
}

fn payloads(facts: &Facts<'_>, found: &mut Found) {
    for (key, offset, value) in facts.records() {
        match value {
            None => found.add("corrupt", format!("{key:?}@{offset}")),
            Some(value) if key_of(value) != key => found.add("wrong-key", format!("{key:?}@{offset}: {value:x}")),
            Some(value) if !facts.written.contains_key(&value) => {
                found.add("phantom", format!("{key:?}@{offset}: {value:x}"));
            }
            Some(_) => {}
        }
    }
}

fn high_watermark_regress(facts: &Facts<'_>, found: &mut Found) {
    for event in &facts.history.events {
        if let Op::End { key, offset } = event.op {
            let known = facts.end_before(key, event.began);
            if offset < known {
                found
                    .add("high-watermark-regress", format!("{key:?}: {offset} told {}, {known} before", event.process));
            }
        }
    }
}

fn density(facts: &Facts<'_>, found: &mut Found) {
    for (key, log) in &facts.history.logs {
        let offsets: Vec<i64> = log.records.iter().map(|(offset, _)| *offset).collect();
        let is_whole = match facts.history.compacted.contains(&key.0) {
            false => offsets.iter().copied().eq(log.start..log.end),
            true => offsets.is_sorted() && offsets.last().map_or(log.start, |last| last + 1) == log.end,
        };
        if !is_whole {
            found.add("density", format!("{key:?}: {} records in {}..{}", offsets.len(), log.start, log.end));
        }
    }
}

fn false_out_of_range(facts: &Facts<'_>, found: &mut Found) {
    for event in &facts.history.events {
        let Op::OutOfRange { key, offset } = event.op else { continue };
        let end = facts.end_before(key, event.began).max(0);
        if facts.is_whole_from(key) <= offset && offset <= end {
            found.add("false-out-of-range", format!("{key:?}@{offset} told {}, the end was {end}", event.process));
        }
    }
}

fn group_overlap(facts: &Facts<'_>, found: &mut Found) {
    let mut in_generation: BTreeMap<(&str, i32, Key), Process> = BTreeMap::new();
    let mut at_a_time: BTreeMap<(&str, Process), (Moment, &BTreeSet<Key>)> = BTreeMap::new();
    for event in &facts.history.events {
        let Op::Own { group, generation, keys } = &event.op else { continue };
        if let Some(generation) = generation {
            for key in keys {
                let owner = *in_generation.entry((group, *generation, *key)).or_insert(event.process);
                if owner != event.process {
                    let what = format!("{group} {generation}: {key:?} of {owner} and {}", event.process);
                    found.add("group-overlap", what);
                }
            }
            continue;
        }
        for ((other_group, other), (began, theirs)) in &at_a_time {
            let is_member = (event.ended.time() - began.time()).as_millis() < HEARD_LATELY_MS;
            let shared = keys.intersection(theirs).next();
            if other_group == group && *other != event.process && is_member && shared.is_some() {
                found.add("group-overlap", format!("{group}: {shared:?} of {other} and {}", event.process));
            }
        }
        at_a_time.insert((group, event.process), (event.began, keys));
    }
}

fn committed(facts: &Facts<'_>, found: &mut Found) {
    let told = |op: &Op| match op {
        Op::Commit { group, key, offset, outcome: Outcome::Ok } | Op::Committed { group, key, offset } => {
            Some((*group, *key, *offset))
        }
        _ => None,
    };
    let mut known: BTreeMap<(&str, Key), Highest> = BTreeMap::new();
    for event in &facts.history.events {
        if let Some((group, key, offset)) = told(&event.op) {
            known.entry((group, key)).or_default().add(event.ended, offset);
        }
    }
    for event in &facts.history.events {
        let Some((group, key, offset)) = told(&event.op) else { continue };
        let before = known[&(group, key)].before(event.began);
        if offset < before {
            found.add("committed-regress", format!("{group} {key:?}: {offset} by {}, {before} before", event.process));
        }
        let end = facts.last_end(key);
        if offset > end {
            found.add("committed-beyond-end", format!("{group} {key:?}: {offset}, the end is {end}"));
        }
    }
}
