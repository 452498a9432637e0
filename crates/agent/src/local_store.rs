//! Makes the `file` object store durable: an OpenDAL layer over its `fs` service that does the writes itself.
//!
//! OpenDAL's `fs` never syncs a directory, syncs files on a runtime worker, and its `atomic_write_dir` is not atomic
//! under `if_not_exists`. Here a write is one blocking task:
//! - a segment, whose name nothing has: create under that name, gathered write of all chunks, sync of the data, then
//!   of the directory, which costs one journal commit where a rename in between costs two;
//! - all else: temporary file in `.tmp`, data sync, rename (or link, which never replaces, for `if_not_exists`), directory
//!   sync. So is an object that is handed over in parts (`Writer::write` more than once): each part goes to its temporary
//!   file as it comes, so that no more than a part is in memory.
//!
//! So when the write returns `Ok`, object and name survive a power loss, and so do the directories above it; all but
//! segments are whole at every moment. What a crash or an error (ENOSPC, EIO) leaves: a segment with part of its bytes,
//! which nothing refers to, since it is named in metadata only after its write returned; and files in `.tmp`, removed
//! at the next start; `.tmp` is not listed.
//!
//! Large objects go to the disk directly, past the page cache, where the file system can do that: copying into new pages
//! was more than half of the agent's work under load.
//!
//! Reads, lists and deletes are those of `fs`. Deletes are not synced: an object that comes back after a power loss
//! is deleted again by whoever wanted it gone, and nothing refers to it meanwhile. Copy, rename and append are
//! refused, as nothing here would make them durable.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign, RpRename,
    RpStat, Service, ServiceInfo, Servicer, new_std_io_error, oio,
};
use opendal::{Buffer, Capability, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext, Result};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

/// Holds temporary files, inside the store's folder so that a rename never crosses file systems.
const SCRATCH: &str = ".tmp";
/// Where segments are: each has a name of its own, and nobody reads it before metadata names it.
const SEGMENTS: &str = "org-";
/// Buffers of one gathered write; Linux's `IOV_MAX`.
const GATHER_MAX: usize = 1024;
/// Objects of at least this size are written directly.
const DIRECT_BYTES_MIN: usize = 256 * 1024;
/// What direct writes are aligned to, in memory and in the file: no disk asks for more.
const BLOCK: usize = 4096;
/// Parts of an object are collected up to this before they are written to its temporary file.
const PART_BYTES: usize = 4 << 20;
/// One direct write.
const DIRECT_WRITE_BYTES: usize = 1 << 20;
/// Directories kept open; beyond it the memory starts anew, which costs a few syncs.
const KNOWN_DIRECTORIES_MAX: usize = 64;

/// Opens (and creates) the folder of a store and makes writes to it durable; to be laid directly over `fs`.
#[derive(Clone, Debug)]
pub(crate) struct DurableWrites {
    folder: Arc<Folder>,
}

impl DurableWrites {
    /// Creates `root` if needed, proves that it can be written, and removes what an earlier process left half-written.
    ///
    /// # Errors
    /// The folder cannot be created, read or written. Blocks; called once at start.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { folder: Arc::new(Folder::open(root)?) })
    }

    /// The folder, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.folder.root
    }
}

impl Layer for DurableWrites {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(LocalStore { inner, folder: Arc::clone(&self.folder) })
    }
}

/// The folder and what is known about it.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    scratch: PathBuf,
    /// Held while the process lives: who has it may remove leftovers. `None`: another process uses the folder too (the
    /// broker decides whether that is allowed), so its temporary files are left alone.
    _lock: Option<File>,
    /// Directories whose names are known to be on disk.
    durable_directories: Mutex<HashMap<PathBuf, Arc<File>>>,
    next_temporary: AtomicU64,
}

impl Folder {
    fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let scratch = root.join(SCRATCH);
        fs::create_dir_all(&scratch)?;
        let lock = File::open(&scratch)?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        if lock.is_some() {
            for leftover in fs::read_dir(&scratch)? {
                fs::remove_file(leftover?.path())?;
            }
        }
        for directory in root.ancestors() {
            match File::open(directory).and_then(|directory| directory.sync_all()) {
                // A directory above ours that we may not read, or that cannot be synced, is not one that we made.
                Err(error) if directory != root && is_not_ours(&error) => break,
                other => other?,
            }
        }
        let folder = Self {
            root,
            scratch,
            _lock: lock,
            durable_directories: Mutex::default(),
            next_temporary: AtomicU64::new(0),
        };
        let probe = folder.new_temporary()?;
        drop(probe);
        Ok(folder)
    }

    /// Writes one object; when it returns, the object is durable under its name. Blocks.
    fn put(&self, key: &str, chunks: &[Bytes], if_not_exists: bool) -> io::Result<()> {
        let target = self.path_of(key)?;
        let parent = target.parent().unwrap_or(&self.root);
        let directory = self.durable_directory(parent)?;
        let created = match key.starts_with(SEGMENTS) && !if_not_exists {
            true => create_in(&directory, &target),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        };
        let put = match created {
            Ok(file) => put_new(file, &directory, chunks),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.put_whole(&target, &directory, chunks, if_not_exists)
            }
            Err(error) => Err(error),
        };
        if put.is_err() {
            // Perhaps someone removed the directory: the next write makes it anew.
            self.durable_directories.lock().remove(parent);
        }
        put
    }

    /// Replaces an object, or creates it if nobody else does: whole before it has its name.
    fn put_whole(&self, target: &Path, directory: &File, chunks: &[Bytes], if_not_exists: bool) -> io::Result<()> {
        let mut temporary = self.new_temporary()?;
        write_object(&mut temporary.file, chunks)?;
        temporary.become_object(target, directory, if_not_exists)
    }

    /// Ends an object that came in parts with these chunks, from `start` on, and gives it its name. May be repeated.
    fn put_parts(
        &self,
        temporary: &mut Temporary,
        key: &str,
        start: u64,
        last: &[Bytes],
        if_not_exists: bool,
    ) -> io::Result<()> {
        let target = self.path_of(key)?;
        let parent = target.parent().unwrap_or(&self.root);
        let directory = self.durable_directory(parent)?;
        let named = match temporary.moved {
            true => directory.sync_all(),
            false => temporary
                .write_at(start, last)
                .and_then(|()| temporary.become_object(&target, &directory, if_not_exists)),
        };
        if named.is_err() {
            self.durable_directories.lock().remove(parent);
        }
        named
    }

    /// The file of an object. Keys never leave the folder, nor enter `.tmp`.
    fn path_of(&self, key: &str) -> io::Result<PathBuf> {
        let relative = Path::new(key);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || relative.starts_with(SCRATCH) || key.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{key:?} is not the key of an object")));
        }
        Ok(self.root.join(relative))
    }

    fn new_temporary(&self) -> io::Result<Temporary> {
        loop {
            let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
            let path = self.scratch.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { path, file, moved: false }),
                // Process ids repeat (in a container it is always 1); take the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The directory, created if needed, once its name and those of all directories between it and the root are synced:
    /// one that is found may be there since a process died before it synced it.
    fn durable_directory(&self, path: &Path) -> io::Result<Arc<File>> {
        if let Some(known) = self.durable_directories.lock().get(path) {
            return Ok(Arc::clone(known));
        }
        fs::create_dir_all(path)?;
        let above = path.ancestors().skip(1).take_while(|a| a.starts_with(&self.root));
        for ancestor in above {
            File::open(ancestor)?.sync_all()?;
        }
        let directory = Arc::new(File::open(path)?);
        let mut known = self.durable_directories.lock();
        if known.len() >= KNOWN_DIRECTORIES_MAX {
            known.clear();
        }
        known.insert(path.to_owned(), Arc::clone(&directory));
        Ok(directory)
    }
}

/// Creates a file that is not there, in this very directory: if somebody replaced it, syncing it would prove nothing.
fn create_in(directory: &File, target: &Path) -> io::Result<File> {
    let name = target.file_name().unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o666))?;
    Ok(file.into())
}

/// Writes an object under a name that nothing had: file and name reach the disk in one journal commit. An attempt that
/// fails frees its own file's space and leaves the name alone, which may be another attempt's by now.
fn put_new(mut file: File, directory: &File, chunks: &[Bytes]) -> io::Result<()> {
    let written = write_object(&mut file, chunks).and_then(|()| file.sync_data()).and_then(|()| directory.sync_all());
    if written.is_err() {
        let _ = file.set_len(0);
    }
    written
}

/// A file without its final name; removed when dropped unless it was moved there.
struct Temporary {
    path: PathBuf,
    file: File,
    moved: bool,
}

impl Temporary {
    /// Lets the file end with these chunks, from `start` on: what an attempt that failed left behind it goes.
    fn write_at(&mut self, start: u64, chunks: &[Bytes]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        self.file.set_len(start)?;
        write_object(&mut self.file, chunks)
    }

    /// Syncs the file and gives it the name of an object.
    fn become_object(&mut self, target: &Path, directory: &File, if_not_exists: bool) -> io::Result<()> {
        self.file.sync_data()?;
        if if_not_exists {
            fs::hard_link(&self.path, target)?;
        } else {
            fs::rename(&self.path, target)?;
            self.moved = true;
        }
        directory.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}

/// Writes all chunks in order, from where the file is; direct writes only from a whole block on.
fn write_object(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    match chunks.iter().map(Bytes::len).sum::<usize>() {
        ..DIRECT_BYTES_MIN => write_gathered(file, chunks),
        _ => write_large(file, chunks, write_direct),
    }
}

/// Directly where the file system can. Some take the flag and refuse the writes (EINVAL): then through the page cache, from where
/// it began.
fn write_large(
    file: &mut File,
    chunks: &[Bytes],
    direct: impl FnOnce(&mut File, &[Bytes]) -> io::Result<()>,
) -> io::Result<()> {
    let start = file.stream_position()?;
    if start.is_multiple_of(BLOCK as u64) && rustix::fs::fcntl_setfl(&*file, OFlags::DIRECT).is_ok() {
        match direct(file, chunks) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                rustix::fs::fcntl_setfl(&*file, OFlags::empty())?;
                file.seek(SeekFrom::Start(start))?;
                file.set_len(start)?;
            }
            written => return written,
        }
    }
    write_gathered(file, chunks)
}

thread_local! {
    /// Where direct writes are gathered; goes with its thread, which is not kept when idle.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Through an aligned buffer, to a file that is open for direct writes. What follows the last whole block goes through the
/// page cache.
fn write_direct(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    GATHERED.with_borrow_mut(|memory| {
        memory.resize(DIRECT_WRITE_BYTES + BLOCK, 0);
        let start = memory.as_ptr().align_offset(BLOCK);
        let buffer = &mut memory[start..start + DIRECT_WRITE_BYTES];
        let mut filled = 0;
        for chunk in chunks {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(buffer.len() - filled));
                buffer[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == buffer.len() {
                    file.write_all(buffer)?;
                    filled = 0;
                }
            }
        }
        let (blocks, rest) = buffer[..filled].split_at(filled / BLOCK * BLOCK);
        file.write_all(blocks)?;
        rustix::fs::fcntl_setfl(&*file, OFlags::empty())?;
        file.write_all(rest)
    })
}

/// Writes all chunks in order without joining them.
fn write_gathered(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    for group in chunks.chunks(GATHER_MAX) {
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// The `fs` service with writes of our own.
#[derive(Debug)]
struct LocalStore {
    inner: Servicer,
    folder: Arc<Folder>,
}

fn not_durable_here() -> Error {
    Error::new(ErrorKind::Unsupported, "the local store makes whole-object writes durable, nothing else")
}

impl Service for LocalStore {
    type Reader = oio::Reader;
    type Writer = LocalWriter;
    type Lister = VisibleEntries;
    type Deleter = oio::Deleter;
    type Copier = oio::Copier;
    type Composer = oio::Composer;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        Capability {
            create_dir: false,
            copy: false,
            rename: false,
            write_can_append: false,
            write_with_user_metadata: false,
            ..self.inner.capability()
        }
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        Err(not_durable_here())
    }

    async fn stat(&self, context: &OperationContext, path: &str, arguments: OpStat) -> Result<RpStat> {
        self.inner.stat(context, path, arguments).await
    }

    fn read(&self, context: &OperationContext, path: &str, arguments: OpRead) -> Result<Self::Reader> {
        self.inner.read(context, path, arguments)
    }

    fn write(&self, _: &OperationContext, path: &str, arguments: OpWrite) -> Result<Self::Writer> {
        if arguments.append() {
            return Err(not_durable_here());
        }
        let if_not_exists = arguments.if_not_exists();
        Ok(LocalWriter {
            folder: Arc::clone(&self.folder),
            key: path.to_owned(),
            if_not_exists,
            chunks: Vec::new(),
            waiting: 0,
            written: 0,
            parts: Arc::default(),
        })
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        self.inner.delete(context)
    }

    fn list(&self, context: &OperationContext, path: &str, arguments: OpList) -> Result<Self::Lister> {
        Ok(VisibleEntries { inner: self.inner.list(context, path, arguments)? })
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        Err(not_durable_here())
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        Err(not_durable_here())
    }

    async fn presign(&self, context: &OperationContext, path: &str, arguments: OpPresign) -> Result<RpPresign> {
        self.inner.presign(context, path, arguments).await
    }
}

/// Takes references to chunks until `close`, which writes them in one blocking task; of a large object that comes in several
/// writes the parts go to a temporary file before. Dropped before `close`: nothing happened.
/// A `close` that is given up on (time-out) may still happen; one that failed may be repeated, and so may a `write`.
struct LocalWriter {
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
    /// Writes whole blocks of what waits to the temporary file, so that the next part begins at one.
    async fn write_part(&mut self) -> Result<()> {
        let bytes = self.waiting / BLOCK * BLOCK;
        let (part, rest) = split(&self.chunks, bytes);
        let (folder, parts, start) = (Arc::clone(&self.folder), Arc::clone(&self.parts), self.written);
        blocking(move || {
            let mut parts = parts.lock();
            let temporary = match &mut *parts {
                Some(temporary) => temporary,
                none => none.insert(folder.new_temporary()?),
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
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
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

/// A listing without `.tmp`.
struct VisibleEntries {
    inner: oio::Lister,
}

impl oio::List for VisibleEntries {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        while let Some(entry) = self.inner.next().await? {
            if !Path::new(entry.path()).starts_with(SCRATCH) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "local_store_tests.rs"]
mod tests;
