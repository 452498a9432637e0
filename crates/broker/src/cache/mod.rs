//! The disk cache: what this agent wrote to a remote store or read from it, in files of its own folder.
//!
//! It is never the only copy of anything and nobody waits for a write to it: one task writes, from a queue of bounded bytes, and
//! what does not fit the queue is left out. Its bytes are checked by whoever reads them exactly as those of the store; what does
//! not verify is forgotten. Trouble with the disk turns writing off for a while, with one WARN in the life of the process.

mod files;
mod index;
mod piece;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opendal::Buffer;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use crate::memory_budget::{MemoryBudget, MemoryPermit};
use crate::metrics::Metrics;
use files::Files;
use index::Index;
pub(crate) use piece::{BLOCK_BYTES, Piece, blocks};

/// Pieces that wait to be written, beside the bound on their bytes.
const QUEUED_MAX: usize = 256;
/// Files read at the same time.
const READS_MAX: usize = 8;
/// What the cache leaves free on its disk: the metadata store may be on the same one.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// How long nothing is written after the disk made trouble.
const PAUSE: Duration = Duration::from_secs(60);

/// Where the cache is, and how large it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Its folder; created at start.
    pub folder: PathBuf,
    /// Most bytes on disk.
    pub bytes_max: u64,
}

/// The cache; cheap to clone. One that is off holds nothing.
#[derive(Clone)]
pub(crate) struct DiskCache(Option<Handle>);

#[derive(Clone)]
struct Handle {
    shelf: Arc<Shelf>,
    queue: mpsc::Sender<Offer>,
    queued: MemoryBudget,
}

/// A piece on its way to the disk.
struct Offer {
    piece: Piece,
    bytes: Buffer,
    _memory: MemoryPermit,
}

/// What is on disk.
struct Shelf {
    files: Files,
    index: Mutex<Index>,
    reads: Semaphore,
    /// Nothing is written until then.
    paused: Mutex<Option<Instant>>,
    warned: AtomicBool,
    metrics: Arc<Metrics>,
}

impl DiskCache {
    /// None.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// Opens the folder; what is in it is listed in the background. A folder that cannot be used is no reason not to start.
    pub(crate) async fn open(
        settings: Option<&CacheSettings>,
        cluster_id: Uuid,
        queue_bytes: usize,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let Some(settings) = settings.filter(|settings| settings.bytes_max > 0) else { return Self::off() };
        Self::open_on(settings, cluster_id, queue_bytes, metrics, files::free_bytes).await
    }

    async fn open_on(
        settings: &CacheSettings,
        cluster_id: Uuid,
        queue_bytes: usize,
        metrics: &Arc<Metrics>,
        free: fn(&Path) -> std::io::Result<u64>,
    ) -> Self {
        let folder = settings.folder.clone();
        let opened = spawn_blocking(move || Files::open(&folder, cluster_id, free)).await;
        let files = match opened.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            Ok(files) => files,
            Err(error) => {
                let folder = settings.folder.display();
                tracing::warn!(%folder, %error, "the read cache is off: its folder cannot be used");
                return Self::off();
            }
        };
        let shelf = Arc::new(Shelf {
            files,
            index: Mutex::new(Index::new(settings.bytes_max)),
            reads: Semaphore::new(READS_MAX),
            paused: Mutex::default(),
            warned: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        });
        let (queue, offers) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(fill(Arc::clone(&shelf), offers));
        Self(Some(Handle { shelf, queue, queued: MemoryBudget::new(queue_bytes) }))
    }

    /// A whole object that is durable: its blocks are written when the disk gets to it.
    pub(crate) fn offer_object(&self, object_key: &str, object: &Buffer) {
        if self.0.is_some() {
            let object_bytes = object.len() as u64;
            for block in blocks(object_key, &(0..object_bytes), object_bytes) {
                let bytes = object.slice(at(block.start)..at(block.start + block.len));
                self.offer(block, bytes);
            }
        }
    }

    /// A piece of an object; left out when the disk is behind. Never waits.
    pub(crate) fn offer(&self, piece: Piece, bytes: Buffer) {
        let Some(Handle { shelf, queue, queued }) = &self.0 else { return };
        if shelf.is_paused() || shelf.index.lock().contains(&piece) {
            return;
        }
        let len = bytes.len();
        let offered = queued.try_acquire(len);
        let sent = offered.is_some_and(|memory| queue.try_send(Offer { piece, bytes, _memory: memory }).is_ok());
        if !sent {
            shelf.metrics.cache_dropped(len as u64);
        }
    }

    /// These bytes of an object, not verified, if all of them are there.
    pub(crate) async fn read(&self, object_key: &str, range: Range<u64>, object_bytes: u64) -> Option<Bytes> {
        let shelf = &self.0.as_ref()?.shelf;
        let len = range.end.saturating_sub(range.start);
        let pieces = shelf.find(object_key, &range, object_bytes);
        let read = match pieces {
            Some(pieces) => Arc::clone(shelf).read(pieces, range).await,
            None => None,
        };
        shelf.metrics.cache_read(read.is_some(), len);
        read
    }

    /// These bytes were not what they should be: what holds any of them is removed.
    pub(crate) fn forget(&self, object_key: &str, range: &Range<u64>, object_bytes: u64) {
        let Some(Handle { shelf, .. }) = &self.0 else { return };
        let mut pieces = blocks(object_key, range, object_bytes);
        pieces.push(Piece::new(object_key, range.clone()));
        pieces.retain(|piece| shelf.index.lock().remove(piece));
        shelf.remove_later(pieces);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.0.as_ref().map_or(0, |handle| handle.shelf.index.lock().used())
    }
}

/// Lists what is there, then writes what is offered, one piece after the other, until nobody offers any more.
async fn fill(shelf: Arc<Shelf>, mut offers: mpsc::Receiver<Offer>) {
    let listing = Arc::clone(&shelf);
    let listed = spawn_blocking(move || listing.list()).await;
    if let Err(error) = listed.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
        shelf.pause("list", &error);
    }
    while let Some(offer) = offers.recv().await {
        let shelf = Arc::clone(&shelf);
        let _ = spawn_blocking(move || shelf.write(offer)).await;
    }
}

impl Shelf {
    fn list(&self) -> std::io::Result<()> {
        let pieces = self.files.list()?;
        for piece in pieces {
            let evicted = self.index.lock().insert(piece);
            evicted.iter().for_each(|piece| self.files.remove(piece));
        }
        self.metrics.cache_bytes(self.index.lock().used());
        Ok(())
    }

    /// The pieces that hold a range, each of them used now; `None` if any is missing.
    fn find(&self, object_key: &str, range: &Range<u64>, object_bytes: u64) -> Option<Vec<Piece>> {
        let exact = Piece::new(object_key, range.clone());
        let blocks = blocks(object_key, range, object_bytes);
        let mut index = self.index.lock();
        if !blocks.is_empty() && blocks.iter().all(|block| index.contains(block)) {
            for block in &blocks {
                index.touch(block);
            }
            return Some(blocks);
        }
        index.touch(&exact).then(|| vec![exact])
    }

    async fn read(self: Arc<Self>, pieces: Vec<Piece>, range: Range<u64>) -> Option<Bytes> {
        let shelf = Arc::clone(&self);
        let _turn = self.reads.acquire().await.ok()?;
        let read = spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(at(range.end - range.start));
            for piece in &pieces {
                let wanted = range.start.max(piece.start)..range.end.min(piece.range().end);
                if let Err(error) = shelf.files.read(piece, &wanted, &mut bytes) {
                    tracing::debug!(%error, object = %piece.object_key, "a file of the read cache is lost");
                    shelf.index.lock().remove(piece);
                    shelf.files.remove(piece);
                    return None;
                }
            }
            Some(Bytes::from(bytes))
        });
        read.await.ok()?
    }

    fn write(&self, offer: Offer) {
        if self.is_paused() || self.index.lock().contains(&offer.piece) {
            return;
        }
        if let Err(error) = self.try_write(&offer) {
            self.pause("write", &error);
        }
    }

    fn try_write(&self, offer: &Offer) -> std::io::Result<()> {
        let missing = (FREE_BYTES_MIN + index::charge(&offer.piece)).saturating_sub(self.files.free()?);
        if missing > 0 {
            // Somebody else needs the disk: give room first, then see.
            let evicted = self.index.lock().evict(missing);
            self.remove(&evicted);
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.files.write(&offer.piece, &offer.bytes)?;
        self.metrics.cache_written(offer.piece.len);
        let evicted = self.index.lock().insert(offer.piece.clone());
        self.remove(&evicted);
        Ok(())
    }

    fn remove(&self, evicted: &[Piece]) {
        evicted.iter().for_each(|piece| self.files.remove(piece));
        self.metrics.cache_evicted(evicted.len() as u64);
        self.metrics.cache_bytes(self.index.lock().used());
    }

    fn remove_later(self: &Arc<Self>, pieces: Vec<Piece>) {
        let shelf = Arc::clone(self);
        drop(spawn_blocking(move || pieces.iter().for_each(|piece| shelf.files.remove(piece))));
    }

    fn is_paused(&self) -> bool {
        self.paused.lock().is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self, what: &'static str, error: &std::io::Error) {
        *self.paused.lock() = Some(Instant::now() + PAUSE);
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(what, %error, "the read cache takes nothing while its disk is full or in trouble");
        }
    }
}

/// Pieces are far smaller than an address space.
fn at(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
