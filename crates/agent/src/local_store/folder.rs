//! The folder of a store: names, temporary files, and which directories are known to be on disk.
//!
//! Segments of up to 2 MiB go into packs (`packs.rs`). What becomes a file of its own:
//! - a segment, whose name nothing has: create under that name, gathered write of all chunks, sync of the data, then
//!   of the directory, which costs one journal commit where a rename in between costs two;
//! - all else: temporary file in `.tmp`, data sync, rename (or link, which never replaces, for `if_not_exists`), directory
//!   sync. So is an object that is handed over in parts.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::direct::write_object;
use super::packs::Packs;

/// Holds temporary files, inside the store's folder so that a rename never crosses file systems.
pub(super) const SCRATCH: &str = ".tmp";
/// Holds packs.
pub(super) const PACKS: &str = ".packs";
/// Where segments are: each has a name of its own, and nobody reads it before metadata names it.
const SEGMENTS: &str = "org-";
/// Directories kept open; beyond it the memory starts anew, which costs a few syncs.
const KNOWN_DIRECTORIES_MAX: usize = 64;

/// A larger file is not deleted at once: the disk would hold up every sync for as long as it takes to free its blocks (256 MiB: some
/// 100 ms where the file system discards them).
const DELETED_AT_ONCE: u64 = 8 << 20;
/// Pause between two pieces of a file that is taken apart.
const TAKE_APART_PAUSE: Duration = Duration::from_millis(20);
/// How long a file without its name is left as it is, for those who have it open.
const READERS_PATIENCE: Duration = Duration::from_secs(1);

/// The folder and what is known about it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) scratch: Arc<Scratch>,
    /// `None`: another process may use the folder too, and would not see what is in them.
    pub(super) packs: Option<Arc<Packs>>,
    /// Directories whose names are known to be on disk.
    durable_directories: Mutex<HashMap<PathBuf, Arc<File>>>,
}

impl Folder {
    /// `alone`: no other process uses the folder, so that segments may be packed.
    pub(super) fn open(root: &Path, alone: bool) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let scratch = Arc::new(Scratch::new(root.join(SCRATCH))?);
        let packs = match alone && scratch.lock.is_some() {
            true => Some(Arc::new(Packs::open(root.join(PACKS), Arc::clone(&scratch))?)),
            false => None,
        };
        for directory in root.ancestors() {
            match File::open(directory).and_then(|directory| directory.sync_all()) {
                // A directory above ours that we may not read, or that cannot be synced, is not one that we made.
                Err(error) if directory != root && is_not_ours(&error) => break,
                other => other?,
            }
        }
        let folder = Self { root, scratch, packs, durable_directories: Mutex::default() };
        let probe = folder.scratch.new_temporary()?;
        drop(probe);
        Ok(folder)
    }

    /// Writes one object; when it returns, the object is durable under its name. Blocks.
    pub(super) fn put(&self, key: &str, chunks: &[Bytes], if_not_exists: bool) -> io::Result<()> {
        let target = self.path_of(key)?;
        let Some(packs) = self.packs.as_ref().filter(|_| key.starts_with(SEGMENTS)) else {
            return self.put_file(key, &target, chunks, if_not_exists);
        };
        match if_not_exists {
            true if packs.find(key)?.is_some() => return Err(io::ErrorKind::AlreadyExists.into()),
            false if packs.put(key, chunks)? => return Ok(()),
            _ => self.put_file(key, &target, chunks, if_not_exists)?,
        }
        // What had the name before.
        packs.remove(key)
    }

    /// Deletes an object, if it is there; not synced. A large one takes a while, but is out of sight at once. Blocks.
    pub(super) fn delete(&self, key: &str) -> io::Result<()> {
        if let Some(packs) = &self.packs {
            packs.remove(key)?;
        }
        // There may be a file as well: a write that failed, before the one that did not.
        let target = self.path_of(key)?;
        let deleted = match fs::metadata(&target) {
            Ok(found) if found.len() > DELETED_AT_ONCE => self.scratch.take_apart(&target),
            Ok(_) => fs::remove_file(&target),
            Err(error) => Err(error),
        };
        match deleted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
    }

    fn put_file(&self, key: &str, target: &Path, chunks: &[Bytes], if_not_exists: bool) -> io::Result<()> {
        let parent = target.parent().unwrap_or(&self.root);
        let directory = self.durable_directory(parent)?;
        let created = match key.starts_with(SEGMENTS) && !if_not_exists {
            true => create_in(&directory, target),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        };
        let put = match created {
            Ok(file) => put_new(file, &directory, chunks),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.put_whole(target, &directory, chunks, if_not_exists)
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
        let mut temporary = self.scratch.new_temporary()?;
        write_object(&mut temporary.file, chunks)?;
        temporary.become_object(target, directory, if_not_exists)
    }

    /// Ends an object that came in parts with these chunks, from `start` on, and gives it its name. May be repeated.
    pub(super) fn put_parts(
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

    /// The file of an object. Keys never leave the folder, nor enter what is the store's own.
    pub(super) fn path_of(&self, key: &str) -> io::Result<PathBuf> {
        let relative = Path::new(key);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || is_internal(key) || key.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{key:?} is not the key of an object")));
        }
        Ok(self.root.join(relative))
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

/// Where temporary files are made.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Held while anything uses the folder: who has it may remove leftovers. `None`: another process uses the folder too (the
    /// broker decides whether that is allowed), so its temporary files are left alone.
    lock: Option<File>,
    next: AtomicU64,
    /// Held while a file is taken apart: one after the other.
    taking_apart: Mutex<()>,
}

impl Scratch {
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let lock = File::open(&path)?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        if lock.is_some() {
            for leftover in fs::read_dir(&path)? {
                fs::remove_file(leftover?.path())?;
            }
        }
        Ok(Self { path, lock, next: AtomicU64::new(0), taking_apart: Mutex::default() })
    }

    fn new_path(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{}-{number}", std::process::id()))
    }

    /// Deletes a file piece by piece. Should it end in between, the next start removes the rest. Blocks.
    #[expect(clippy::disallowed_methods, reason = "on a thread for what blocks, as all of the folder")]
    fn take_apart(&self, target: &Path) -> io::Result<()> {
        // A link, and no rename, never takes a name that another process has. Where there are none, it goes at once.
        let path = self.new_path();
        if fs::hard_link(target, &path).is_err() {
            return fs::remove_file(target);
        }
        if let Err(error) = fs::remove_file(target) {
            // Somebody else deletes it.
            fs::remove_file(&path)?;
            return Err(error);
        }
        std::thread::sleep(READERS_PATIENCE);
        let _one_after_the_other = self.taking_apart.lock();
        let file = OpenOptions::new().write(true).open(&path)?;
        let mut left = file.metadata()?.len();
        while left > DELETED_AT_ONCE {
            left -= DELETED_AT_ONCE;
            file.set_len(left)?;
            std::thread::sleep(TAKE_APART_PAUSE);
        }
        fs::remove_file(&path)
    }

    pub(super) fn new_temporary(&self) -> io::Result<Temporary> {
        loop {
            let path = self.new_path();
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { path, file, moved: false }),
                // Process ids repeat (in a container it is always 1); take the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
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
pub(super) struct Temporary {
    path: PathBuf,
    pub(super) file: File,
    moved: bool,
}

impl Temporary {
    /// Lets the file end with these chunks, from `start` on: what an attempt that failed left behind it goes.
    pub(super) fn write_at(&mut self, start: u64, chunks: &[Bytes]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        self.file.set_len(start)?;
        write_object(&mut self.file, chunks)
    }

    /// Syncs the file and gives it the name of an object.
    pub(super) fn become_object(&mut self, target: &Path, directory: &File, if_not_exists: bool) -> io::Result<()> {
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

/// Whether a path is the store's own and no object's.
pub(super) fn is_internal(path: &str) -> bool {
    [SCRATCH, PACKS].iter().any(|own| Path::new(path).starts_with(own))
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
}
