//! Reading, listing and deleting what may be in a pack or a file: the pack is asked first.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use opendal::raw::{OpDelete, RpRead, Timestamp, oio};
use opendal::{Buffer, BytesRange, Error, ErrorKind, Metadata, MetadataBuilder, Result};

use super::file_read;
use super::folder::{Folder, is_internal};
use super::pack_format::Entry;
use super::packs::Packs;
use super::writer::blocking;

/// What is known of an object in a pack; `None`: it is in none.
pub(super) async fn stat(packs: &Arc<Packs>, key: &str) -> Result<Option<Metadata>> {
    if !packs.may_hold(key) {
        return Ok(None);
    }
    let (packs, key) = (Arc::clone(packs), key.to_owned());
    let found = blocking(move || packs.find(&key)).await?;
    found.map(|found| metadata(&found.entry)).transpose()
}

fn metadata(entry: &Entry) -> Result<Metadata> {
    let mut metadata = MetadataBuilder::file(u64::from(entry.length));
    metadata.last_modified(Timestamp::from_millisecond(entry.written_at)?);
    Ok(metadata.build())
}

/// Reads an object, wherever it is.
pub(super) struct AnyReader {
    pub(super) inner: oio::Reader,
    pub(super) packs: Option<Arc<Packs>>,
    pub(super) key: String,
    /// Where it is if it is a file; `None`: it cannot be one.
    pub(super) file: Option<PathBuf>,
}

impl AnyReader {
    /// The bytes, in one task. `None`: they are `fs`'s to read.
    async fn at_once(&self, range: BytesRange) -> Result<Option<Buffer>> {
        if let Some(packed) = self.packed(range).await? {
            return Ok(Some(packed));
        }
        let size = range.size().filter(|size| *size <= file_read::BYTES_MAX && !range.is_suffix());
        let end = size.and_then(|size| range.offset().checked_add(size));
        let Some((file, end)) = self.file.clone().zip(end) else { return Ok(None) };
        let read = blocking(move || match file_read::read(&file, &(range.offset()..end)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(outside())),
            read => Ok(Ok(Some(Buffer::from(read?)))),
        });
        read.await?
    }

    /// The bytes, in one task: what is in a pack is no more than 2 MiB. `None`: it is in none.
    async fn packed(&self, range: BytesRange) -> Result<Option<Buffer>> {
        let Some(packs) = self.packs.as_ref().filter(|packs| packs.may_hold(&self.key)) else { return Ok(None) };
        let (packs, key) = (Arc::clone(packs), self.key.clone());
        let read = blocking(move || -> io::Result<_> {
            let Some(found) = packs.find(&key)? else { return Ok(Ok(None)) };
            let (start, length) = match part_of(u64::from(found.entry.length), range) {
                Ok(part) => part,
                Err(outside) => return Ok(Err(outside)),
            };
            Ok(Ok(packs.read(&found, start, length)?.map(Buffer::from)))
        });
        read.await?
    }
}

/// Where a range of an object begins, and its length.
fn part_of(length: u64, range: BytesRange) -> Result<(u64, usize)> {
    let (start, size) = match range.size() {
        Some(size) if range.is_suffix() => (length.saturating_sub(size), size.min(length)),
        Some(size) => (range.offset(), size),
        None => (range.offset().min(length), length.saturating_sub(range.offset())),
    };
    let is_inside = start.checked_add(size).is_some_and(|end| end <= length);
    match usize::try_from(size) {
        Ok(size) if is_inside => Ok((start, size)),
        _ => Err(outside()),
    }
}

fn outside() -> Error {
    Error::new(ErrorKind::RangeNotSatisfied, "range exceeds content length")
}

impl oio::Read for AnyReader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        match self.at_once(range).await? {
            Some(bytes) => Ok((RpRead::default(), Box::new(bytes))),
            None => self.inner.open(range).await,
        }
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        match self.at_once(range).await? {
            Some(bytes) => Ok((RpRead::default(), bytes)),
            None => self.inner.read(range).await,
        }
    }
}

/// Deletes an object, wherever it is.
pub(super) struct AnyDeleter(pub(super) Arc<Folder>);

impl oio::Delete for AnyDeleter {
    async fn delete(&mut self, path: &str, _: OpDelete) -> Result<()> {
        let (folder, key) = (Arc::clone(&self.0), path.to_owned());
        blocking(move || folder.delete(&key)).await
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A listing without what is the store's own: first packs, one after the other, then files.
pub(super) struct AnyLister {
    inner: oio::Lister,
    packs: Option<Arc<Packs>>,
    path: String,
    is_recursive: bool,
    unread: VecDeque<u32>,
    entries: VecDeque<Entry>,
    /// Folders that were listed.
    folders: BTreeSet<String>,
}

impl AnyLister {
    pub(super) fn new(inner: oio::Lister, packs: Option<Arc<Packs>>, path: &str, is_recursive: bool) -> Self {
        let unread = packs.as_ref().map(|packs| packs.numbers().into()).unwrap_or_default();
        let path = path.trim_start_matches('/').to_owned();
        Self { inner, packs, path, is_recursive, unread, entries: VecDeque::new(), folders: BTreeSet::new() }
    }

    async fn next_packed(&mut self) -> Result<Option<Entry>> {
        while self.entries.is_empty() {
            let (Some(packs), Some(number)) = (&self.packs, self.unread.pop_front()) else { return Ok(None) };
            let packs = Arc::clone(packs);
            self.entries = blocking(move || packs.list(number)).await?.into();
        }
        Ok(self.entries.pop_front())
    }

    /// How a packed object is listed; `None`: it is elsewhere, or in a folder that was listed.
    fn listed(&mut self, entry: &Entry) -> Result<Option<oio::Entry>> {
        let Some(rest) = entry.key.strip_prefix(&self.path) else { return Ok(None) };
        match rest.split_once('/').filter(|_| !self.is_recursive) {
            None => Ok(Some(oio::Entry::new(&entry.key, metadata(entry)?))),
            Some((folder, _)) => {
                let folder = format!("{}{folder}/", self.path);
                let is_new = self.folders.insert(folder.clone());
                Ok(is_new.then(|| oio::Entry::new(&folder, MetadataBuilder::dir().build())))
            }
        }
    }
}

impl oio::List for AnyLister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        while let Some(entry) = self.next_packed().await? {
            if let Some(listed) = self.listed(&entry)? {
                return Ok(Some(listed));
            }
        }
        while let Some(entry) = self.inner.next().await? {
            let is_listed = self.folders.contains(entry.path())
                || self.packs.as_ref().is_some_and(|packs| packs.may_hold(entry.path()));
            if !is_internal(entry.path()) && !is_listed {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}
