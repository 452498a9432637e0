//! What must always hold, and what must be able to happen (so that the model says something).

use stateright::Property;

use super::model::Swaps;
use super::state::{Kind, Log, PARTITIONS, State, bits, seen};

type Condition = fn(&Swaps, &State) -> bool;

pub(super) fn all() -> Vec<Property<Swaps>> {
    let always: [(&'static str, Condition); 6] = [
        ("rows follow one another, from the log start or below it to the end", |_, state| {
            state.logs.iter().filter(|log| !log.deleted).all(is_whole)
        }),
        ("rows have their object", |_, state| {
            let mut rows = state.logs.iter().flat_map(|log| &log.ranges);
            rows.all(|row| state.segment(row.segment).object)
        }),
        ("values can be read, but for those with a successor", |swaps, state| {
            live(state).all(|partition| {
                let log = state.log(partition);
                let missing = bits(log.start, log.next) & !state.readable(partition);
                missing & !may_be_gone(swaps, log) == 0
            })
        }),
        ("what was deleted does not come back", |swaps, state| {
            let Some((keys, marker)) = swaps.bounds.keys.and_then(|keys| Some((keys, keys.marker?))) else {
                return true;
            };
            live(state).filter(|partition| state.log(*partition).next > marker).all(|partition| {
                let readable = state.readable(partition);
                readable & keys.deleted_by(marker) == 0 || readable & bits(marker, marker + 1) != 0
            })
        }),
        ("what producers wrote is known, from rows or from a snapshot", |_, state| {
            state.logs.iter().filter(|log| !log.deleted).all(|log| {
                let told =
                    log.ranges.iter().filter(|row| row.entries).fold(0, |all, row| all | bits(row.base, row.next));
                bits(log.snapshot.min(log.next), log.next) & !told == 0
            })
        }),
        ("a segment without rows is known to be garbage", |_, state| {
            (0..)
                .zip(&state.segments)
                .all(|(number, found)| found.kind != Kind::Committed || state.is_referenced(number))
        }),
    ];
    let reachable: [(&'static str, Condition); 10] = [
        ("rows are swapped", |_, state| state.seen & seen::SWAPPED != 0),
        ("a swap is refused", |_, state| state.seen & seen::REFUSED != 0),
        ("a swap happens after its sender went on", |swaps, state| {
            swaps.bounds.keys.is_some() || state.seen & seen::LATE != 0
        }),
        ("a lost reply was nothing", |_, state| state.seen & seen::RESOLVED_FAILED != 0),
        ("a lost reply was a commit", |_, state| state.seen & seen::RESOLVED_COMMITTED != 0),
        ("an object is deleted", |swaps, state| !swaps.bounds.garbage || state.seen & seen::COLLECTED != 0),
        ("the row of an object is forgotten", |swaps, state| {
            !swaps.bounds.garbage || state.seen & seen::FORGOTTEN != 0
        }),
        ("a topic is purged", |swaps, state| !swaps.bounds.deletes || state.seen & seen::PURGED != 0),
        ("a log start moves", |swaps, state| !swaps.bounds.moves || state.seen & seen::MOVED != 0),
        ("a value is dropped", |swaps, state| swaps.bounds.keys.is_none() || state.seen & seen::COMPACTED != 0),
    ];
    let always = always.map(|(name, condition)| Property::always(name, condition));
    always.into_iter().chain(reachable.map(|(name, condition)| Property::sometimes(name, condition))).collect()
}

/// Partitions whose topic is not deleted.
fn live(state: &State) -> impl Iterator<Item = u8> + '_ {
    (0..PARTITIONS).filter(|partition| !state.log(*partition).deleted)
}

fn is_whole(log: &Log) -> bool {
    let first = log.ranges.first().map_or(log.next, |row| row.base);
    let last = log.ranges.last().map_or(log.next, |row| row.next);
    let follow = log.ranges.windows(2).all(|pair| pair[0].next == pair[1].base);
    // A log without rows is one whose start is its end.
    follow && last == log.next && first <= log.start
}

/// The values that a compaction may drop.
fn may_be_gone(swaps: &Swaps, log: &Log) -> u8 {
    let Some(keys) = swaps.bounds.keys else { return 0 };
    let superseded = (0..log.next).filter(|offset| keys.is_superseded(*offset, log.next));
    superseded.fold(0, |all, at| all | bits(at, at + 1)) | keys.marker.map_or(0, |at| bits(at, at + 1))
}
