//! What of a partition's ranges is worth rewriting. Plain functions on rows as metadata has them.
//!
//! Only small ranges are rewritten, and only those that are not larger than all that come after them in their run: so each
//! time a byte is written again, the range it is in becomes at least twice as large, until it is small no more. The last
//! row that was read is left alone: it may be the newest of its partition, and what precedes it must know its object.

use metadata::RangeRow;
use segment::Offset;

use super::upkeep::unsigned;

/// A range that readers fetch and verify, at most.
pub(super) const RANGE_BYTES_MAX: u64 = 4 << 20;
/// Ranges below are small.
pub(super) const SMALL_BYTES: i64 = 2 << 20;
/// So many small ranges of a partition are worth a rewrite, however few their bytes.
pub(super) const ROWS_MIN: u32 = 256;
/// An object that a rewrite makes, at most, but for its last range.
pub(super) const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Rows that one object replaces, but for those of its last partition: they are held in memory meanwhile.
pub(super) const ROWS_PER_JOB: usize = 16_384;

/// Consecutive ranges that become fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) rows: Vec<RangeRow>,
    /// The object that holds the range after them.
    pub(super) successor: String,
}

impl Run {
    pub(super) fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| unsigned(row.byte_len)).sum()
    }
}

/// The runs among rows that follow one another.
pub(super) fn runs(rows: Vec<RangeRow>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut small: Vec<RangeRow> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(row) = rows.next() {
        let is_last = rows.peek().is_none();
        if !is_last && row.byte_len < SMALL_BYTES {
            small.push(row);
        } else {
            take_run(std::mem::take(&mut small), &row.object_key, &mut runs);
        }
    }
    runs
}

/// Splits small rows where one is larger than all behind it, and keeps the parts that become fewer.
fn take_run(mut small: Vec<RangeRow>, successor: &str, runs: &mut Vec<Run>) {
    let mut parts = Vec::new();
    let mut behind = 0;
    let mut successor = successor.to_owned();
    for position in (0..small.len()).rev() {
        let bytes = small[position].byte_len;
        if behind > 0 && bytes > behind {
            parts.push(Run { rows: small.split_off(position + 1), successor: std::mem::take(&mut successor) });
            successor.clone_from(&small[position].object_key);
            small.truncate(position);
        }
        behind += bytes;
    }
    parts.push(Run { rows: small, successor });
    runs.extend(parts.into_iter().rev().filter(|run| run.rows.len() > 1));
}

/// Where the small rows at the end begin: they are looked at again when there are more. The last row's beginning if it comes
/// after a large one.
pub(super) fn tail_start(rows: &[RangeRow]) -> Option<Offset> {
    let (last, before) = rows.split_last()?;
    let small = before.iter().rev().take_while(|row| row.byte_len < SMALL_BYTES);
    Some(small.last().map_or(last.base_offset, |first| first.base_offset))
}

#[cfg(test)]
#[path = "rewrite_plan_tests.rs"]
mod tests;
