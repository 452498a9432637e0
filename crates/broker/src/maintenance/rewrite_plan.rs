//! What of a partition's ranges is worth rewriting. Plain functions on rows as metadata has them.
//!
//! Only small ranges are rewritten, and only those that are not larger than all that come after them in their run: so each
//! time a byte is written again, the range it is in becomes at least twice as large, until it is small no more. The last
//! row that was read is left alone: it may be the newest of its partition, and what precedes it must know its object.

use std::ops::Range;

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
/// Bytes of others that are read for the sake of one request less.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// What is read at once, at most, unless it is one range.
const SPAN_BYTES_MAX: u64 = 8 << 20;
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

/// A part of an object that is read at once, and the rows in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) object_key: &'a str,
    pub(super) bytes: Range<u64>,
    pub(super) rows: Vec<&'a RangeRow>,
}

/// What to read for these rows, in any order: ranges that lie near each other in one object are read together.
pub(super) fn spans<'a>(rows: impl Iterator<Item = &'a RangeRow>) -> Vec<Span<'a>> {
    let mut rows: Vec<&RangeRow> = rows.collect();
    rows.sort_unstable_by_key(|row| (&row.object_key, row.byte_start));
    let mut spans: Vec<Span<'a>> = Vec::new();
    for row in rows {
        let start = unsigned(row.byte_start);
        let end = start.saturating_add(unsigned(row.byte_len));
        let is_near = |span: &&mut Span<'a>| {
            let gap = start.saturating_sub(span.bytes.end);
            span.object_key == row.object_key && gap <= GAP_BYTES_MAX && end - span.bytes.start <= SPAN_BYTES_MAX
        };
        match spans.last_mut().filter(is_near) {
            Some(span) => {
                span.bytes.end = span.bytes.end.max(end);
                span.rows.push(row);
            }
            None => spans.push(Span { object_key: &row.object_key, bytes: start..end, rows: vec![row] }),
        }
    }
    spans
}

#[cfg(test)]
#[path = "rewrite_plan_tests.rs"]
mod tests;
