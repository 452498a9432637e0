//! What must always hold, and what must be able to happen (so that the model says something).

use stateright::Property;

use super::model::Topics;
use super::state::{Change, Fate, Object, State, seen, wrong};

type Condition = fn(&Topics, &State) -> bool;

pub(super) fn all() -> Vec<Property<Topics>> {
    let always: [(&'static str, Condition); 12] = [
        ("acked values are in the log of their topic", |_, state| {
            (0..).zip(&state.fates).all(|(value, fate)| match fate {
                Fate::Acked(topic) => state.topics[usize::from(*topic)].log.contains(&value),
                Fate::Unsent | Fate::Open(_) | Fate::Failed => true,
            })
        }),
        ("a deleted topic is not written to", |_, state| state.wrong & wrong::WRITTEN_WHEN_DELETED == 0),
        ("no value is in another topic", |_, state| state.wrong & wrong::OTHER_TOPIC == 0),
        ("a name has one topic", |_, state| {
            state.topics.iter().filter(|topic| topic.is_live() && !topic.is_other).count() < 2
        }),
        ("no topic is deleted that is younger than the request", |_, state| state.wrong & wrong::YOUNGER_DELETED == 0),
        ("the epochs of a name rise", |_, state| state.wrong & wrong::EPOCH_WENT_BACK == 0),
        ("who knows a version knows every change up to it", |_, state| {
            state.agents.iter().all(|agent| {
                let known = state.changes.iter().filter(|(version, _)| *version <= agent.version);
                known.map(|(_, change)| change).all(|change| match *change {
                    Change::Deleted(topic) => agent.topics & (1 << topic) == 0,
                    Change::Created(topic) => {
                        agent.topics & (1 << topic) != 0 || state.topics[usize::from(topic)].deleted
                    }
                })
            })
        }),
        ("who knows every change finds the topic by its name", |_, state| {
            let last = state.changes.iter().map(|(version, _)| *version).max();
            let mut current = state.agents.iter().filter(|agent| Some(agent.version) >= last);
            current.all(|agent| agent.named == state.live())
        }),
        ("rows have their object", |_, state| {
            let mut rows = state.topics.iter().flat_map(|topic| &topic.rows);
            rows.all(|value| state.objects[usize::from(*value)] == Object::Committed)
        }),
        ("an object without a row is known to be garbage", |_, state| {
            let has_row = |value: &u8| state.topics.iter().any(|topic| topic.rows.contains(value));
            (0..).zip(&state.objects).all(|(value, object)| *object != Object::Committed || has_row(&value))
        }),
        ("rows belong to a topic", |_, state| state.topics.iter().all(|topic| topic.is_known || topic.rows.is_empty())),
        ("no group is beyond the end of its topic", |_, state| state.wrong & wrong::BEYOND_END == 0),
    ];
    let reachable: [(&'static str, Condition); 7] = [
        ("a value is acked", |topics, state| {
            topics.bounds.values == 0 || state.fates.iter().any(|fate| matches!(fate, Fate::Acked(_)))
        }),
        ("a name is used again", |_, state| state.seen & seen::MADE_AGAIN != 0),
        ("an old id is refused", |topics, state| topics.bounds.values == 0 || state.seen & seen::OLD_ID_REFUSED != 0),
        ("a commit is refused", |topics, state| topics.bounds.values == 0 || state.seen & seen::COMMIT_REFUSED != 0),
        ("a deletion comes too late", |_, state| state.seen & seen::LATE_DELETION != 0),
        ("an object is deleted", |topics, state| topics.bounds.values == 0 || state.seen & seen::COLLECTED != 0),
        ("a topic is purged", |_, state| state.topics.iter().any(|topic| topic.deleted && !topic.is_known)),
    ];
    let always = always.map(|(name, condition)| Property::always(name, condition));
    always.into_iter().chain(reachable.map(|(name, condition)| Property::sometimes(name, condition))).collect()
}
