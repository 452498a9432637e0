//! Writers: an object is one blocking task, or a few if it comes in parts.
//!
//! Of an object that is handed over in parts (`Writer::write` more than once) each part goes to a temporary file as it comes, so
//! that no more than a part is in memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use opendal::raw::{new_std_io_error, oio};
use opendal::{Buffer, Error, ErrorKind, Metadata, MetadataBuilder, Result};
use parking_lot::Mutex;

use super::folder::{Folder, Temporary};
use super::pack_format::BLOCK;

/// Parts of an object are collected up to this before they are written to its temporary file.
pub(super) const PART_BYTES: usize = 4 << 20;

/// Takes references to chunks until `close`, which writes them in one blocking task; of a large object that comes in several
/// writes the parts go to a temporary file before. Dropped before `close`: nothing happened.
/// A `close` that is given up on (time-out) may still happen; one that failed may be repeated, and so may a `write`.
pub(super) struct LocalWriter {
    folder: Arc<Folder>,
    key: String,
    if_not_exists: bool,
    /// What is not in the temporary file yet, and its length.
    chunks: Vec<Bytes>,
    waiting: usize,
    /// Bytes in the temporary file, whole blocks.
    written: u64,
    /// The temporary file of an object that comes in parts. Locked by one task at a time, for as long as it writes.
    parts: Arc<Mutex<Option<Temporary>>>,
}

impl LocalWriter {
    pub(super) fn new(folder: Arc<Folder>, key: &str, if_not_exists: bool) -> Self {
        Self {
            folder,
            key: key.to_owned(),
            if_not_exists,
            chunks: Vec::new(),
            waiting: 0,
            written: 0,
            parts: Arc::default(),
        }
    }

    /// Writes whole blocks of what waits to the temporary file, so that the next part begins at one.
    async fn write_part(&mut self) -> Result<()> {
        let bytes = self.waiting / BLOCK * BLOCK;
        let (part, rest) = split(&self.chunks, bytes);
        let (folder, parts, start) = (Arc::clone(&self.folder), Arc::clone(&self.parts), self.written);
        blocking(move || {
            let mut parts = parts.lock();
            let temporary = match &mut *parts {
                Some(temporary) => temporary,
                none => none.insert(folder.scratch.new_temporary()?),
            };
            temporary.write_at(start, &part)
        })
        .await?;
        self.chunks = rest;
        self.waiting -= bytes;
        self.written += bytes as u64;
        Ok(())
    }
}

/// The first so many bytes, and the rest.
fn split(chunks: &[Bytes], mut bytes: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let now = chunk.len().min(bytes);
        bytes -= now;
        first.extend((now > 0).then(|| chunk.slice(..now)));
        rest.extend((now < chunk.len()).then(|| chunk.slice(now..)));
    }
    (first, rest)
}

/// Runs on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Error::new(ErrorKind::Unexpected, "writer task").set_source(error))?;
    done.map_err(into_store_error)
}

impl oio::Write for LocalWriter {
    async fn write(&mut self, buffer: Buffer) -> Result<()> {
        // The first write is mostly the only one: its chunks wait for `close`, however large it is.
        if !self.chunks.is_empty() && self.waiting >= PART_BYTES {
            self.write_part().await?;
        }
        self.waiting += buffer.len();
        self.chunks.extend(buffer);
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        let (folder, key, if_not_exists) = (Arc::clone(&self.folder), self.key.clone(), self.if_not_exists);
        let (chunks, parts, start) = (self.chunks.clone(), Arc::clone(&self.parts), self.written);
        blocking(move || match &mut *parts.lock() {
            Some(temporary) => folder.put_parts(temporary, &key, start, &chunks, if_not_exists),
            None => folder.put(&key, &chunks, if_not_exists),
        })
        .await?;
        Ok(MetadataBuilder::file(self.written + self.waiting as u64).build())
    }

    async fn abort(&mut self) -> Result<()> {
        self.chunks.clear();
        (self.waiting, self.written) = (0, 0);
        let parts = Arc::clone(&self.parts);
        blocking(move || {
            parts.lock().take();
            Ok(())
        })
        .await
    }
}

/// A full disk is not worth a retry here: the producer's own retry comes later and says more.
fn into_store_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::ConditionNotMatch, "the object exists already").set_source(error)
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::InvalidInput => {
            Error::new(ErrorKind::Unexpected, error.kind().to_string()).set_source(error)
        }
        _ => new_std_io_error(error),
    }
}
