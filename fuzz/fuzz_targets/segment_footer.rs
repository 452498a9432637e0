//! `fuzz/run.sh segment_footer 60`; findings go to `corpus/segment_footer`, which crates/segment/tests/corpus.rs replays.
#![no_main]

#[path = "../../crates/segment/tests/exercise/mod.rs"]
mod exercise;
mod largest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::segment_footer(bytes));
