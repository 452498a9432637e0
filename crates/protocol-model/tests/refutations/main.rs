//! With all rules no state breaks an invariant; without any one of them some state breaks the invariant that it is for. With
//! `PROTOCOL_MODEL=long` further bounds are explored.

#![expect(clippy::print_stdout, clippy::panic, reason = "figures for people; helpers outside of test functions")]

mod commits;
mod groups;
mod reads;
mod swaps;
mod topics;

use std::collections::BTreeSet;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Explores everything; returns how many states there are.
fn explore<M>(name: &str, model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    println!("{name}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.unique_state_count()
}

/// Some state must break this invariant.
fn refute<M>(model: M, invariant: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([invariant]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let path = checker.discovery(invariant);
    let steps = path.unwrap_or_else(|| panic!("without the rule nothing breaks: {invariant}")).into_actions();
    println!("{invariant}: broken after {} steps: {steps:?}", steps.len());
}

fn assert_at_least(enough: usize, states: usize) {
    println!("{states} states in all");
    assert!(states >= enough, "only {states} states: the bounds say little");
}

fn is_long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    std::env::var("PROTOCOL_MODEL").is_ok_and(|form| form == "long")
}
