//! Three brokers, their clients and everything that can go wrong, on a paused single-thread runtime over the in-memory metadata model
//! and a faulty object store. One seed decides everything: the same seed twice gives the same events. What is simulated, what is
//! checked and what it found: docs/simulation.md.
//!
//! `SIMULATION_SEEDS=n` runs the seeds 1 to n, `SIMULATION_SEED=s` one. Those that `SIMULATION_REPEAT` divides, 20 if it is not set, are
//! run twice, and must repeat.

mod admins;
mod audit;
mod checker;
mod checker_tests;
mod client;
mod consumers;
mod database;
mod facts;
mod faulty_store;
mod history;
mod members;
mod members_classic;
mod members_consumer;
mod producers;
mod run;
mod seeded_bugs;
mod seeds;
mod trouble;
mod world;

use run::Counts;
use tokio::time::Instant;

/// Seeds of an ordinary run; a build without optimization is ten times slower.
const SEEDS: u64 = if cfg!(debug_assertions) { 2 } else { 200 };
/// Of so many seeds one is run twice.
const REPEAT: u64 = 20;
/// Seeds beyond the usual ones that found something.
const KEPT_SEEDS: [u64; 5] = [260, 637, 680, 780, 920];

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_that_was_promised_is_broken() {
    let seeds: Vec<u64> = match setting("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (1..=setting("SIMULATION_SEEDS").unwrap_or(SEEDS)).chain(KEPT_SEEDS).collect(),
    };
    let began = Instant::now();
    let ran = seeds::run_all(&seeds, setting("SIMULATION_REPEAT").unwrap_or(REPEAT).max(1));
    let mut all = Counts::default();
    ran.iter().for_each(|ran| all.add(ran.counts));
    let anomalies: usize = ran.iter().map(|ran| ran.anomalies.len()).sum();
    println!(
        "{} seeds, {} simulated seconds in {} s: {} events, {} fault windows, sends {} acked {} failed {} unknown, {} records \
         read, {} compacted, {} offset commits; {anomalies} anomalies",
        ran.len(),
        all.simulated_ms / 1_000,
        began.elapsed().as_secs(),
        all.events,
        all.fault_windows,
        all.acked,
        all.failed,
        all.unknown,
        all.reads,
        all.compacted,
        all.commits,
    );
    let mut failing: Vec<u64> = ran.iter().filter(|ran| !ran.anomalies.is_empty()).map(|ran| ran.seed).collect();
    failing.sort_unstable();
    assert!(failing.is_empty(), "failing seeds: {failing:?}");
    let counts = [all.acked, all.failed, all.unknown, all.reads, all.compacted, all.commits];
    assert!(counts.iter().all(|count| *count > 0), "{all:?}");
}
