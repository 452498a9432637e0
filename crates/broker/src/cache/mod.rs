//! The disk cache: what this agent wrote to a remote store or read from it, in files of its own folder.
//!
//! It is never the only copy of anything and nobody waits for a write to it: one task writes, from a queue of bounded bytes, and
//! what does not fit the queue is left out. Its bytes are checked by whoever reads them exactly as those of the store; what does
//! not verify is forgotten. Trouble with the disk turns writing off for a while, with one WARN in the life of the process.

mod files;
mod index;
mod piece;

use std::collections::HashMap;
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
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

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
    _memory: MemoryPermit,
}

/// What is on disk.
struct Shelf {
    files: Files,
    /// Locked before `waiting`, where both are.
    index: Mutex<Index>,
    /// What waits to be written.
    waiting: Mutex<HashMap<Piece, Buffer>>,
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

    /// Whether so many bytes would be taken now.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        self.0.as_ref().is_some_and(|handle| !handle.shelf.is_paused() && handle.queued.available() as u64 >= bytes)
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
            waiting: Mutex::default(),
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

    /// A piece of an object; left out (false) when the disk is behind. Never waits.
    pub(crate) fn offer(&self, piece: Piece, bytes: Buffer) -> bool {
        let Some(Handle { shelf, queue, queued }) = &self.0 else { return false };
        if shelf.is_paused() || shelf.has(&piece) {
            return !shelf.is_paused();
        }
        let len = bytes.len();
        let offered = queued.try_acquire(len).zip(queue.try_reserve().ok());
        let Some((memory, place)) = offered else {
            shelf.metrics.cache_dropped(len as u64);
            return false;
        };
        shelf.waiting.lock().insert(piece.clone(), bytes);
        place.send(Offer { piece, _memory: memory });
        true
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

    /// One piece, not verified, if it is there. A miss is not counted: its reader was, before.
    pub(crate) async fn piece(&self, piece: &Piece) -> Option<Bytes> {
        let shelf = &self.0.as_ref()?.shelf;
        shelf.index.lock().touch(piece);
        if !shelf.has(piece) {
            return None;
        }
        Arc::clone(shelf).read(vec![piece.clone()], piece.range()).await
    }

    /// These bytes were not what they should be: what holds any of them is removed.
    pub(crate) fn forget(&self, object_key: &str, range: &Range<u64>, object_bytes: u64) {
        let Some(Handle { shelf, .. }) = &self.0 else { return };
        let mut pieces = blocks(object_key, range, object_bytes);
        pieces.push(Piece::new(object_key, range.clone()));
        pieces.iter().for_each(|piece| drop(shelf.waiting.lock().remove(piece)));
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
        // What is there is not counted: nothing may be added to it.
        return shelf.pause("list", &error, FOREVER);
    }
    while let Some(offer) = offers.recv().await {
        let shelf = Arc::clone(&shelf);
        let _ = spawn_blocking(move || shelf.write(&offer)).await;
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

    fn has(&self, piece: &Piece) -> bool {
        let index = self.index.lock();
        index.contains(piece) || self.waiting.lock().contains_key(piece)
    }

    /// The pieces that hold a range, each of them used now; `None` if any is missing.
    fn find(&self, object_key: &str, range: &Range<u64>, object_bytes: u64) -> Option<Vec<Piece>> {
        let mut pieces = blocks(object_key, range, object_bytes);
        if pieces.is_empty() || !pieces.iter().all(|block| self.has(block)) {
            pieces = vec![Piece::new(object_key, range.clone())];
        }
        let mut index = self.index.lock();
        let is_there = |piece: &Piece| index.touch(piece) || self.waiting.lock().contains_key(piece);
        pieces.iter().all(is_there).then_some(pieces)
    }

    async fn read(self: Arc<Self>, pieces: Vec<Piece>, range: Range<u64>) -> Option<Bytes> {
        let shelf = Arc::clone(&self);
        let _turn = self.reads.acquire().await.ok()?;
        let read = spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(at(range.end - range.start));
            for piece in &pieces {
                let wanted = range.start.max(piece.start)..range.end.min(piece.range().end);
                let waiting = shelf.waiting.lock().get(piece).cloned();
                if let Some(waiting) = waiting {
                    let part = waiting.slice(at(wanted.start - piece.start)..at(wanted.end - piece.start));
                    Iterator::for_each(part, |chunk| bytes.extend_from_slice(&chunk));
                } else if let Err(error) = shelf.files.read(piece, &wanted, &mut bytes) {
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

    fn write(&self, offer: &Offer) {
        let bytes = self.waiting.lock().get(&offer.piece).cloned();
        if let Some(bytes) = bytes.filter(|_| !self.is_paused())
            && let Err(error) = self.try_write(&offer.piece, &bytes)
        {
            self.pause("write", &error, PAUSE);
        }
        // Only now: a reader finds it here or there.
        self.waiting.lock().remove(&offer.piece);
    }

    fn try_write(&self, piece: &Piece, bytes: &Buffer) -> std::io::Result<()> {
        let missing = (FREE_BYTES_MIN + index::charge(piece)).saturating_sub(self.files.free()?);
        if missing > 0 {
            // Somebody else needs the disk: give room first, then see.
            let evicted = self.index.lock().evict(missing);
            self.remove(&evicted);
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.files.write(piece, bytes)?;
        self.metrics.cache_written(piece.len);
        let evicted = self.index.lock().insert(piece.clone());
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

    fn pause(&self, what: &'static str, error: &std::io::Error, pause: Duration) {
        *self.paused.lock() = Some(Instant::now() + pause);
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
