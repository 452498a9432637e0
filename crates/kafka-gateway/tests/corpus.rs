//! Replays the seeds and findings of the fuzz target `request` (fuzz/corpus/request) as a plain test, and some mutations of
//! them. `MUTATIONS=n` runs more of those, `MUTATIONS_SEED=s` others; the last input is kept in the target folder.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]
#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails its test")]

mod exercise;

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use exercise::Exercise;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Panics of all threads, also of tasks that nobody waits for.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            report(panic);
        }));
    });
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/request");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut corpus: Vec<_> = files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect();
    corpus.sort();
    assert!(corpus.len() > 180, "{} seeds: at least one for each API and version", corpus.len());
    corpus
}

#[test]
fn requests_of_the_corpus_find_nothing() {
    count_panics();
    let mut exercise = Exercise::new(20);
    for (name, input) in corpus() {
        println!("{name}"); // shown if it fails
        exercise.run(&input);
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a task panicked");
    }
}

#[test]
fn mutated_requests_of_the_corpus_find_nothing() {
    count_panics();
    let (corpus, kept) = (corpus(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("last-mutated-request"));
    let mut random = SmallRng::seed_from_u64(setting("MUTATIONS_SEED", 1));
    let mut exercise = Exercise::new(100);
    for number in 0..setting("MUTATIONS", 300) {
        let (name, seed) = &corpus[random.random_range(0..corpus.len())];
        let other = &corpus[random.random_range(0..corpus.len())].1;
        let input = mutated(seed, other, &mut random);
        println!("mutation {number} of {name}");
        std::fs::write(&kept, &input).unwrap();
        exercise.run(&input);
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a task panicked");
    }
}

#[expect(clippy::disallowed_methods, reason = "the length of a longer run")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Some of what a fuzzer does: edges in the place of numbers, bytes changed, taken out, put in, repeated, another seed behind.
fn mutated(seed: &[u8], other: &[u8], random: &mut SmallRng) -> Vec<u8> {
    const EDGES: [i32; 8] = [0, 1, -1, -2, i32::MAX, i32::MIN, 1 << 20, 0x7fff];
    let mut input = seed.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..input.len().max(1)).min(input.len());
        let end = (at + random.random_range(1..9)).min(input.len());
        match random.random_range(0..7) {
            0 => input[at..end].fill(random.random()),
            1 => drop(input.drain(at..end)),
            2 => drop(input.splice(at..at, std::iter::repeat_n(random.random(), 5)).count()),
            3 => input.extend_from_within(at..end),
            4 => input.extend_from_slice(other),
            5 => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
            _ => {
                let edge = EDGES[random.random_range(0..EDGES.len())].to_be_bytes();
                let width = [1, 2, 4][random.random_range(0..3)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&edge[4 - width..]);
            }
        }
    }
    input
}
