//! Replays the seeds and findings of the fuzz targets (fuzz/corpus) as a plain test.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails its test")]

mod exercise;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "{target} has seeds");
}

#[test]
fn record_batches_of_the_corpus_do_not_panic() {
    replay("record_batch", exercise::record_batch);
}

#[test]
fn segment_footers_of_the_corpus_do_not_panic() {
    replay("segment_footer", exercise::segment_footer);
}
