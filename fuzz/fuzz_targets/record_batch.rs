//! `fuzz/run.sh record_batch 60`; findings go to `corpus/record_batch`, which crates/segment/tests/corpus.rs replays.
#![no_main]

#[path = "../../crates/segment/tests/exercise/mod.rs"]
mod exercise;
mod largest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::record_batch(bytes));
