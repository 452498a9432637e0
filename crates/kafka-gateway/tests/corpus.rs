//! Replays the seeds and findings of the fuzz target `request` (fuzz/corpus/request) as a plain test.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in tests are small")]
#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails its test")]

mod exercise;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use exercise::Exercise;

/// Panics of all threads, also of tasks that nobody waits for.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn requests_of_the_corpus_find_nothing() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        report(panic);
    }));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/request");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 180, "{} seeds: at least one for each API and version", files.len());
    let mut exercise = Exercise::new(20);
    for file in files {
        println!("{}", file.display()); // shown if it fails
        exercise.run(&std::fs::read(&file).unwrap());
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a task panicked");
    }
}
