//! What must always hold, and what must be able to happen (so that the model says something).

use stateright::Property;

use super::model::Groups;
use super::state::{Phase, Rows, State, seen, wrong};

type Condition = fn(&Groups, &State) -> bool;

pub(super) fn all() -> Vec<Property<Groups>> {
    let always: [(&'static str, Condition); 5] = [
        ("what was acked or told of offsets is durable", |_, state| state.rows.offset >= state.promised),
        ("no fetch is older than what was acked or told before it", |_, state| state.wrong & wrong::OLD_OFFSET == 0),
        ("a generation has one member", |_, state| state.wrong & wrong::TWO_MEMBERS == 0),
        ("no commit of an older generation counts", |_, state| state.wrong & wrong::OLD_GENERATION == 0),
        ("who has the count knows the rows", |_, state| {
            (0..).zip(&state.shards).all(|(agent, shard)| {
                let Some(shard) = shard.as_ref().filter(|shard| shard.phase == Phase::Serving) else { return true };
                let is_idle = shard.writing.is_none() && shard.unsent.is_empty();
                let has_the_count = shard.sequence == state.sequence && state.is_held(agent, shard.epoch);
                let Rows { group, offset } = shard.rows;
                !(is_idle && has_the_count) || (group, offset) == (state.rows.group, state.rows.offset)
            })
        }),
    ];
    let reachable: [(&'static str, Condition); 8] = [
        ("an offset is told", |groups, state| !groups.bounds.fetches || state.seen & seen::TOLD != 0),
        ("a member has its generation", |groups, state| {
            groups.bounds.generations == 0 || state.told.iter().any(Option::is_some)
        }),
        ("a zombie answers what it wrote in time", |_, state| state.seen & seen::ZOMBIE_SERVED != 0),
        ("a write happens that nobody waits for", |_, state| state.seen & seen::LATE_WRITE != 0),
        ("a write is refused", |_, state| state.seen & seen::REFUSED != 0),
        ("a coordinator reads everything again", |_, state| state.seen & seen::RELOADED != 0),
        ("an agent takes over from another", |_, state| state.seen & seen::TAKEN_OVER != 0),
        ("a fetch is refused", |groups, state| !groups.bounds.fetches || state.seen & seen::FETCH_REFUSED != 0),
    ];
    let always = always.map(|(name, condition)| Property::always(name, condition));
    always.into_iter().chain(reachable.map(|(name, condition)| Property::sometimes(name, condition))).collect()
}
