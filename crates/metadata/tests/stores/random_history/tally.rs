//! What random histories really did.

use std::{collections::BTreeMap, fmt::Write};

use super::Step;

/// What each kind of step says when it has an effect, and some refusals: counted, so that histories say something. A kind that is
/// never taken, or never has its effect, would compare nothing.
const EFFECTS: [(&str, &str); 32] = [
    ("Open", "Ok("),
    ("Renew", "Ok("),
    ("Renew", "Fenced"),
    ("Close", "Ok("),
    ("Create", "name-"),
    ("Delete", "Ok("),
    ("Grow", "Ok("),
    ("Acquire", "LeaseRow"),
    ("Commit", "Accepted"),
    ("Commit", "OffsetMismatch"),
    ("Commit", "NotLeader"),
    ("Commit", "SlotTaken"),
    ("Resolve", "Committed"),
    ("Resolve", "Failed"),
    ("Purge", "Ok(1)"),
    ("Suspect", "Ok("),
    ("Fence", "Ok(true)"),
    ("HandOver", "[LeaseHolder"),
    ("HandOver", "[LeaseRow"),
    ("Claim", "Garbage"),
    ("Collect", "FoundObject"),
    ("MoveLogStarts", "Done"),
    ("MoveLogStarts", "Stale"),
    ("Replace", "Done"),
    ("Replace", "Stale"),
    ("ResolveRewrite", "Committed"),
    ("Write", "Written"),
    ("Write", "SequenceMismatch"),
    ("Rows", "CoordinatorRow"),
    ("Alter", "Ok("),
    ("Changes", "TopicRow"),
    ("Read", "RangeRow"),
];
/// How often each of these is there at least, in all histories together.
const EFFECTS_MIN: usize = 5;

/// How often each kind of step was taken, and had the effects that are counted.
#[derive(Default)]
pub(super) struct Tally {
    steps: BTreeMap<String, usize>,
    effects: [usize; EFFECTS.len()],
}

impl Tally {
    pub(super) fn count(&mut self, step: &Step, said: &str) {
        let step = format!("{step:?}");
        let kind = step.split([' ', '(']).next().unwrap_or_default();
        *self.steps.entry(kind.to_owned()).or_default() += 1;
        for (count, (of, word)) in self.effects.iter_mut().zip(EFFECTS) {
            *count += if of == kind { said.matches(word).count() } else { 0 };
        }
    }

    /// A table for people.
    pub(super) fn assert_says_something(&self) -> String {
        let mut table = String::new();
        for ((kind, word), effects) in EFFECTS.iter().zip(self.effects) {
            let steps = self.steps.get(*kind).copied().unwrap_or_default();
            let _ = writeln!(table, "{kind:<14} {steps:>5} steps, {effects:>5} × {word}");
        }
        assert!(self.effects.iter().all(|effects| *effects >= EFFECTS_MIN), "the histories say little:\n{table}");
        let uncounted = self.steps.keys().filter(|kind| EFFECTS.iter().all(|(of, _)| of != kind));
        assert_eq!(uncounted.collect::<Vec<_>>(), [""; 0], "kinds of steps whose effect nobody counts");
        table
    }
}
