//! The bytes of ranges, not verified: from memory, from the disk cache, or by one large read of the store.
//!
//! An object is read in blocks where more than one range of it is wanted, and by exact ranges otherwise; all who want the same
//! block at the same time share one request. Consumers, what is read ahead for them, and background work each have a bound of
//! their own on bytes in flight, so that none waits behind the others.

use std::ops::Range;
use std::sync::Arc;

use futures::future::try_join_all;
use metadata::RangeRow;
use opendal::{Buffer, ErrorKind, Operator};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cold::ColdError;
use super::sharing::Sharing;
use super::single_flight::SingleFlight;
use crate::cache::{BLOCK_BYTES, DiskCache, Piece, blocks};
use crate::memory_budget::MemoryBudget;
use crate::metrics::Metrics;

/// An object up to this size is read whole.
const OBJECT_BYTES_SMALL: u64 = 1 << 20;
/// A range of this size is worth a request of its own: each byte of it is fetched once, whoever reads its neighbours, whenever.
const RANGE_BYTES_LARGE: u64 = BLOCK_BYTES / 8;
/// The same where the disk does not keep the rest of its blocks: its readers are often further apart than the blocks that memory
/// holds.
const RANGE_BYTES_LARGE_IN_MEMORY: u64 = BLOCK_BYTES / 16;
/// Largest range: what one flush may hold (`FLUSH_BYTES` is at most 1 GiB), and some.
const RANGE_BYTES_MAX: u64 = 2 << 30;
/// Blocks that memory must have room for.
const BLOCKS_MIN: u64 = 4;

/// For whom something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A consumer waits for it.
    Consumer,
    /// A consumer will want it.
    Ahead,
    /// Nobody waits.
    Background,
}

/// See the module.
pub(super) struct Objects {
    store: Operator,
    disk: DiskCache,
    metrics: Arc<Metrics>,
    /// Blocks that are being loaded, and those that the disk did not take.
    blocks: Arc<SingleFlight<Piece, Block>>,
    sharing: Mutex<Sharing>,
    /// Bytes in flight, by class.
    gets: [MemoryBudget; 3],
}

/// A block as it was loaded.
#[derive(Clone)]
struct Block {
    bytes: Buffer,
    /// The disk has it, or will have.
    on_disk: bool,
}

/// Bytes as they were found.
pub(super) struct Found {
    pub(super) bytes: Buffer,
    /// They are part of something larger, which they keep in memory.
    pub(super) is_part: bool,
}

/// Where a range is, checked.
struct Place<'a> {
    object_key: &'a str,
    range: Range<u64>,
    /// 0: not known.
    object_bytes: u64,
}

impl Objects {
    /// `bytes_max`: blocks in memory; twice as much is in flight for consumers at most, three times ahead of them.
    pub(super) fn new(store: Operator, disk: DiskCache, metrics: Arc<Metrics>, bytes_max: usize) -> Self {
        let gets = [2 * bytes_max, 3 * bytes_max, bytes_max / 2].map(MemoryBudget::new);
        Self { store, disk, metrics, blocks: SingleFlight::of_loaded(bytes_max), sharing: Mutex::default(), gets }
    }

    /// The bytes of a range.
    pub(super) async fn find(&self, row: &RangeRow, class: Class) -> Result<Found, ColdError> {
        let place = Place::of(row)?;
        let blocks = place.blocks();
        if !blocks.is_empty() && blocks.iter().all(|block| self.blocks.contains(block)) {
            return self.read_blocks(&place, blocks, class).await;
        }
        if let Some(bytes) = self.disk.read(place.object_key, place.range.clone(), place.object_bytes).await {
            self.sharing.lock().paid(place.object_key);
            return Ok(Found { bytes: bytes.into(), is_part: false });
        }
        // Who rewrites a partition comes back for the next one when memory has forgotten the block.
        if class != Class::Background && self.blocks_pay(row, &place, &blocks) {
            return self.read_blocks(&place, blocks, class).await;
        }
        let piece = Piece::new(place.object_key, place.range);
        let Block { bytes, .. } = self.get(&piece, class).await?;
        Ok(Found { bytes, is_part: false })
    }

    /// What was found did not verify: the next one to look finds none of it here.
    pub(super) fn forget(&self, row: &RangeRow) {
        if let Ok(place) = Place::of(row) {
            place.blocks().iter().for_each(|block| self.blocks.forget(block));
            self.disk.forget(place.object_key, &place.range, place.object_bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn forget_in_memory(&self, row: &RangeRow) {
        Place::of(row).expect("a place").blocks().iter().for_each(|block| self.blocks.forget(block));
    }

    /// Whether a range may be read with all that is around it.
    pub(super) fn is_in_blocks(&self, row: &RangeRow) -> bool {
        let Ok(place) = Place::of(row) else { return false };
        let blocks = place.blocks();
        self.has_room_for(&place) && !blocks.is_empty() && !self.is_large(&place, &blocks)
    }

    fn has_room_for(&self, place: &Place<'_>) -> bool {
        self.blocks.bytes_max() as u64 >= BLOCKS_MIN * BLOCK_BYTES.min(place.object_bytes)
    }

    /// Whether a range is worth a request of its own.
    fn is_large(&self, place: &Place<'_>, blocks: &[Piece]) -> bool {
        let is_kept = self.disk.takes(blocks.iter().map(|block| block.len).sum());
        let large = if is_kept { RANGE_BYTES_LARGE } else { RANGE_BYTES_LARGE_IN_MEMORY };
        place.range.end - place.range.start >= large
    }

    /// Whether to read blocks instead of the range alone.
    fn blocks_pay(&self, row: &RangeRow, place: &Place<'_>, blocks: &[Piece]) -> bool {
        let block_bytes: u64 = blocks.iter().map(|block| block.len).sum();
        if block_bytes == 0 || !self.has_room_for(place) {
            return false;
        }
        let wanted = place.range.end - place.range.start;
        if blocks.len() > 1 && 10 * wanted >= 9 * block_bytes {
            return true; // hardly more than what is wanted, in several requests at the same time
        }
        !self.is_large(place, blocks)
            && (place.object_bytes <= OBJECT_BYTES_SMALL || self.sharing.lock().is_shared(row))
    }

    async fn read_blocks(&self, place: &Place<'_>, blocks: Vec<Piece>, class: Class) -> Result<Found, ColdError> {
        let ranges: Vec<_> = blocks.iter().map(Piece::range).collect();
        let loaded = try_join_all(blocks.into_iter().map(|block| self.block(block, class))).await?;
        let mut chunks = Vec::new();
        for (of_block, bytes) in ranges.iter().zip(loaded) {
            let wanted = place.range.start.max(of_block.start)..place.range.end.min(of_block.end);
            chunks.extend(bytes.slice(at(wanted.start - of_block.start)..at(wanted.end - of_block.start)));
        }
        Ok(Found { bytes: chunks.into(), is_part: true })
    }

    async fn block(&self, block: Piece, class: Class) -> Result<Buffer, ColdError> {
        let entered = self.blocks.enter(block.clone(), at(block.len));
        match entered.is_shared {
            true => self.sharing.lock().paid(&block.object_key),
            false => self.sharing.lock().spent(&block.object_key),
        }
        let Block { bytes, on_disk } =
            entered.loading.cell.get_or_try_init(|| self.load_block(&block, class)).await?.clone();
        match on_disk {
            true => self.blocks.forget(&block),
            false => entered.loading.loaded(),
        }
        Ok(bytes)
    }

    /// The disk may have this block, if not all that a range wants.
    async fn load_block(&self, block: &Piece, class: Class) -> Result<Block, ColdError> {
        match self.disk.piece(block).await {
            Some(bytes) => Ok(Block { bytes: bytes.into(), on_disk: true }),
            None => self.get(block, class).await,
        }
    }

    /// One request; what it brings goes to the disk too.
    async fn get(&self, piece: &Piece, class: Class) -> Result<Block, ColdError> {
        let of_class = match class {
            Class::Consumer => &self.gets[0],
            Class::Ahead => &self.gets[1],
            Class::Background => &self.gets[2],
        };
        let _in_flight = of_class.acquire(at(piece.len)).await;
        let started = Instant::now();
        let read = self.store.read_with(&piece.object_key).range(piece.range()).await;
        self.metrics.object_get(started.elapsed().as_secs_f64(), piece.len, read.is_ok());
        let bytes = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ColdError::Gone(piece.object_key.to_string()),
            _ => ColdError::Store(error.to_string()),
        })?;
        let on_disk = self.disk.offer(piece.clone(), bytes.clone());
        Ok(Block { bytes, on_disk })
    }
}

impl<'a> Place<'a> {
    fn of(row: &'a RangeRow) -> Result<Self, ColdError> {
        let start = u64::try_from(row.byte_start).ok();
        let len = u64::try_from(row.byte_len).ok().filter(|len| (1..=RANGE_BYTES_MAX).contains(len));
        let (Some(start), Some(end)) = (start, start.zip(len).and_then(|(start, len)| start.checked_add(len))) else {
            let (object_key, reason) = (row.object_key.clone(), "no such range can be".to_owned());
            return Err(ColdError::Damaged { object_key, reason });
        };
        let object_bytes = u64::try_from(row.object_bytes).unwrap_or(0);
        Ok(Self { object_key: &row.object_key, range: start..end, object_bytes })
    }

    /// The blocks that hold it; none if the object's size is not known.
    fn blocks(&self) -> Vec<Piece> {
        blocks(self.object_key, &self.range, self.object_bytes)
    }
}

/// Ranges and blocks are far smaller than an address space.
fn at(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
