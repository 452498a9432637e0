//! What must always hold, and what must be able to happen (so that the model says something).

use stateright::Property;

use super::model::Reads;
use super::state::{State, seen, wrong};

type Condition = fn(&Reads, &State) -> bool;

pub(super) fn all() -> Vec<Property<Reads>> {
    let always: [(&'static str, Condition); 8] = [
        ("no consumer passes over a value without a word", |_, state| state.wrong & wrong::SKIPPED == 0),
        ("no consumer gets a value twice", |_, state| state.wrong & wrong::REPEATED == 0),
        ("nobody is told out of range that is not", |_, state| state.wrong & wrong::OUT_OF_RANGE == 0),
        ("the end that is told does not go back", |_, state| state.wrong & wrong::END_WENT_BACK == 0),
        ("the beginning that is told does not go back", |_, state| state.wrong & wrong::START_WENT_BACK == 0),
        ("the leader knows where the log begins", |_, state| state.wrong & wrong::START_UNKNOWN == 0),
        ("what a follower knows does not go back", |_, state| state.wrong & wrong::FOLLOWER_WENT_BACK == 0),
        ("nobody knows of more than is committed", |_, state| {
            let ends = state.leaders.iter().flatten().map(|led| led.high_watermark);
            ends.chain(state.known.map(|known| known.2)).all(|end| end <= state.next)
        }),
    ];
    let reachable: [(&'static str, Condition); 10] = [
        ("the leader is read", |reads, state| !reads.bounds.reads || state.seen & seen::READ_OF_LEADER != 0),
        ("a zombie is read", |reads, state| !reads.bounds.reads || state.seen & seen::READ_OF_ZOMBIE != 0),
        ("the follower is read", |reads, state| {
            !(reads.bounds.reads && reads.bounds.follows) || state.seen & seen::READ_OF_FOLLOWER != 0
        }),
        ("an object of a plan is gone", |reads, state| {
            !(reads.bounds.reads && reads.bounds.rewrites > 0) || state.seen & seen::PLANNED_AGAIN != 0
        }),
        ("a plan begins too late", |reads, state| {
            !(reads.bounds.reads && reads.bounds.moves) || state.seen & seen::FOUND_NOTHING != 0
        }),
        ("somebody is told out of range", |reads, state| {
            !(reads.bounds.reads && reads.bounds.moves) || state.seen & seen::OUT_OF_RANGE != 0
        }),
        ("told rows have a gap", |reads, state| !reads.bounds.follows || state.seen & seen::GAP != 0),
        ("old news arrive", |reads, state| !reads.bounds.follows || state.seen & seen::OLD_NEWS != 0),
        ("a question is answered", |reads, state| !reads.bounds.asks || state.seen & seen::ANSWERED != 0),
        ("a zombie's answer is refused", |_, state| state.seen & seen::REFUSED != 0),
    ];
    let always = always.map(|(name, condition)| Property::always(name, condition));
    always.into_iter().chain(reachable.map(|(name, condition)| Property::sometimes(name, condition))).collect()
}
