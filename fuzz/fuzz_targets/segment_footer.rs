//! `cargo fuzz run segment_footer`; new findings go to `corpus/segment_footer`, which crates/segment/tests/corpus.rs replays.
#![no_main]

#[path = "../../crates/segment/tests/exercise/mod.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::segment_footer(bytes));
