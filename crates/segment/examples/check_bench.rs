//! What the check of a batch costs for each MiB of records, by codec: CRC, and one pass over the records.
//!
//! `cargo run --release -p segment --example check_bench` prints the least of many runs, as other work only adds to it.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people to read")]

#[path = "../tests/encoding/samples.rs"]
mod samples;

use std::time::Duration;

use segment::{NewRecord, RecordRules, check_records, crc_matches, encode_batch};

/// Batches of about this size, as producers in bulk send them.
const BATCH_BYTES: usize = 1_000_000;
const RUNS: usize = 200;

fn main() {
    println!("records of  codec    CRC us/MiB  records us/MiB");
    for value_bytes in [100, 1_024] {
        // Text that repeats a little, so that codecs have something to do.
        let mut state = 1_u32;
        let mut value = || -> Vec<u8> {
            let mut letter = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"aaaabbbcdefgh   "[(state >> 28) as usize]
            };
            (0..value_bytes).map(&mut letter).collect()
        };
        let record =
            |i| NewRecord { key: None, value: Some(value().into()), timestamp: 1_000 + i / 100, headers: Vec::new() };
        let records: Vec<_> = (0..(BATCH_BYTES / value_bytes) as i64).map(record).collect();
        let plain = encode_batch(&records, None).expect("fits");
        let mebibytes = plain.len() as f64 / f64::from(1 << 20);
        for codec in samples::CODECS {
            let batch = samples::recompressed(&plain, codec);
            let header = samples::header_of(&batch);
            let crc = least(|| assert!(crc_matches(&batch)));
            let checked = least(|| assert!(check_records(&batch, &header, &RecordRules::ANY).is_ok()));
            let per_mebibyte = |time: Duration| time.as_secs_f64() * 1e6 / mebibytes;
            println!(
                "{value_bytes:>6} B    {:<8}{:>11.1}{:>16.1}",
                format!("{codec:?}"),
                per_mebibyte(crc),
                per_mebibyte(checked)
            );
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing to pause")]
fn least(mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let began = std::time::Instant::now();
        work();
        began.elapsed()
    };
    (0..RUNS).map(once).min().unwrap_or_default()
}
