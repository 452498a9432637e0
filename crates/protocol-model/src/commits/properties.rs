//! What must always hold, and what must be able to happen (so that the model says something).

use stateright::Property;

use super::model::Protocol;
use super::state::{Fate, State, seen};

type Condition = fn(&Protocol, &State) -> bool;

pub(crate) fn all() -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always("acked values are in the log, at their offset", |_, state: &State| {
            every_ack(state, |state, value, offset| {
                log_of(state, value).get(usize::from(offset)).is_some_and(|(found, _)| *found == value)
            })
        }),
        Property::always("values in the log have their object", |_, state: &State| {
            state.rows.iter().flat_map(|row| &row.log).all(|(_, attempt)| state.attempts[usize::from(*attempt)].object)
        }),
        Property::always("what was told to have failed is not in the log", |protocol: &Protocol, state: &State| {
            // An idempotent producer sends it again, and then it may be.
            protocol.bounds.idempotent
                || (0..).zip(&state.fates).all(|(value, fate)| *fate != Fate::Failed || !contains(state, value))
        }),
        Property::always("no value is in the log twice", |_, state: &State| {
            state
                .rows
                .iter()
                .all(|row| (1..row.log.len()).all(|at| row.log[..at].iter().all(|(value, _)| *value != row.log[at].0)))
        }),
        Property::always("values of a producer are in order", |_, state: &State| {
            state.rows.iter().all(|row| row.log.is_sorted_by_key(|(value, _)| *value))
        }),
        Property::always("no leader knows of more than is committed", |_, state: &State| {
            state.agents.iter().flat_map(|agent| (0..).zip(&agent.led)).all(|(partition, led): (usize, _)| {
                led.as_ref().is_none_or(|led| usize::from(led.high_watermark) <= state.rows[partition].log.len())
            })
        }),
        Property::always("nobody is told out of order that is not", |_, state: &State| !state.false_refusal),
        Property::sometimes("a value is acked", |_, state: &State| {
            state.fates.iter().any(|fate| matches!(fate, Fate::Acked(_)))
        }),
    ];
    // Plain functions, as the checker wants them: each names its bit.
    let reachable: [(&'static str, Condition); 7] = [
        ("a duplicate is answered", |protocol, state| !protocol.bounds.idempotent || state.seen & seen::DUPLICATE != 0),
        ("a lost reply was a commit", |_, state| state.seen & seen::RESOLVED_COMMITTED != 0),
        ("a lost reply was nothing", |_, state| state.seen & seen::RESOLVED_FAILED != 0),
        ("a partition is handed over", |protocol, state| {
            !protocol.bounds.hand_over || state.seen & seen::HANDED_OVER != 0
        }),
        ("garbage is deleted", |protocol, state| !protocol.bounds.garbage || state.seen & seen::COLLECTED != 0),
        ("a segment is accepted in part", |protocol, state| {
            protocol.bounds.partitions == 1 || state.seen & seen::PARTIAL != 0
        }),
        ("an agent takes over from another", |_, state| state.seen & seen::TAKEN_OVER != 0),
    ];
    all.extend(reachable.map(|(name, condition)| Property::sometimes(name, condition)));
    all
}

fn every_ack(state: &State, holds: impl Fn(&State, u8, u8) -> bool) -> bool {
    (0..).zip(&state.fates).all(|(value, fate)| match fate {
        Fate::Acked(offset) => holds(state, value, *offset),
        Fate::Unsent | Fate::Open | Fate::Failed => true,
    })
}

fn log_of(state: &State, value: u8) -> &[(u8, u8)] {
    &state.rows[usize::from(value) % state.rows.len()].log
}

fn contains(state: &State, value: u8) -> bool {
    log_of(state, value).iter().any(|(found, _)| *found == value)
}
