//! `fuzz/run.sh request 60`; findings go to `corpus/request`, which crates/kafka-gateway/tests/corpus.rs replays.
#![no_main]

#[path = "../../crates/kafka-gateway/tests/exercise/mod.rs"]
mod exercise;
mod largest;

use std::cell::RefCell;

use exercise::Exercise;

thread_local!(static EXERCISE: RefCell<Exercise> = RefCell::new(Exercise::new(500)));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| EXERCISE.with_borrow_mut(|exercise| exercise.run(bytes)));
