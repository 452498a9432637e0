//! Packs: segments appended to files that exist, instead of a file each.
//!
//! A new file costs three commits of the file system's journal (its blocks, its size, its name), and the file itself most of a
//! flush's CPU. An entry costs one write and one flush of the disk; a larger one, whose pack is not written over beforehand, one
//! commit of the journal more. Of either kind one pack is appended to, the next one is made ready meanwhile; where none is ready,
//! or the disk is nearly full, a segment becomes a file as before.
//!
//! The index is in memory, rebuilt at a start: from a sealed pack's directory, or by walking through a pack that has none. An
//! entry that is not whole is never found. A delete forgets the entry and gives its blocks back; it is not synced: an entry that
//! comes back is garbage, as a file would be. A pack in which nothing lives is removed.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use opendal::raw::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::folder::{Scratch, Temporary};
use super::pack::{self, Filling, Pack};
use super::pack_format::{self, Entry, KEY_BYTES_MAX, PackId, blocks_of};

/// Of small segments the flush is what costs, so their bytes are written twice.
const SMALL: Kind = Kind { entry_bytes_max: (256 << 10) - 1, pack_bytes: 32 << 20, filling: Filling::Zeros };
/// The others, but for those that are worth a file: an entry is one direct write, and in memory twice meanwhile.
const LARGE: Kind = Kind { entry_bytes_max: 2 << 20, pack_bytes: 64 << 20, filling: Filling::SetAside };
/// Objects in packs, each some 20 to 40 bytes of memory; further ones are files.
const INDEXED_MAX: usize = 1_800_000;
/// Where less than this is free, there are no new packs.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Pause after a pack that could not be made.
const PREPARE_PAUSE: Duration = Duration::from_secs(10);

/// What is alike in packs: of two kinds, two packs each are open at most.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Largest object.
    entry_bytes_max: usize,
    /// Length of a pack.
    pack_bytes: u64,
    filling: Filling,
}

/// All packs of a folder.
#[derive(Debug)]
pub(super) struct Packs {
    path: PathBuf,
    directory: File,
    scratch: Arc<Scratch>,
    /// The smaller first.
    kinds: [Kind; 2],
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the key's hash; the entry itself says the key.
    index: HashMap<u64, Place>,
    packs: BTreeMap<u32, Known>,
    /// One for each kind.
    lines: [Line; 2],
    /// Not sealed yet.
    full: Vec<Appended>,
    /// Numbers are given out once, and not those of packs that could not be read.
    next_number: u32,
}

/// Where entries of one kind go.
#[derive(Debug, Default)]
struct Line {
    active: Option<Appended>,
    ready: Option<Arc<Pack>>,
    preparing: bool,
    not_before: Option<Instant>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    pack: u32,
    block: u32,
}

/// What is kept of each pack.
#[derive(Debug)]
struct Known {
    id: PackId,
    /// Entries in the index.
    live: u32,
}

/// A pack without a directory.
#[derive(Debug)]
struct Appended {
    pack: Arc<Pack>,
    next_block: u32,
    /// Appends under way.
    writing: u32,
    entries: Vec<Entry>,
}

/// An object in a pack, with its file open.
pub(super) struct Found {
    file: File,
    hash: u64,
    place: Place,
    pub(super) entry: Entry,
}

impl Packs {
    /// Reads what packs there are. Blocks.
    pub(super) fn open(path: PathBuf, scratch: Arc<Scratch>) -> io::Result<Self> {
        Self::open_kinds(path, scratch, [SMALL, LARGE])
    }

    fn open_kinds(path: PathBuf, scratch: Arc<Scratch>, kinds: [Kind; 2]) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let directory = File::open(&path)?;
        let packs = Self { path, directory, scratch, kinds, hasher: RandomState::new(), state: Mutex::default() };
        let names = fs::read_dir(&packs.path)?.map(|file| Ok(file?.file_name().into_string().ok()));
        let numbers = names.filter_map(|name| name.map(|name| number_of(&name?)).transpose());
        let mut numbers = numbers.collect::<io::Result<Vec<u32>>>()?;
        numbers.sort_unstable();
        packs.state.lock().next_number = numbers.last().map_or(0, |last: &u32| last.saturating_add(1));
        for number in numbers {
            packs.load(number)?;
        }
        let dead: Vec<u32> =
            packs.state.lock().packs.iter().filter(|(_, pack)| pack.live == 0).map(|(n, _)| *n).collect();
        for number in dead {
            packs.state.lock().packs.remove(&number);
            packs.unlink(number);
        }
        Ok(packs)
    }

    fn load(&self, number: u32) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(self.path_of(number))?;
        let Some(id) = pack::read_id(&file)? else {
            tracing::error!(pack = %self.path_of(number).display(), "a pack is damaged; what is in it cannot be read");
            return Ok(());
        };
        let mut entries = match pack::read_directory(&file, &id)? {
            Some(entries) => entries,
            None => {
                let mut entries = pack_format::scan(&fs::read(self.path_of(number))?, &id);
                if let Err(error) = pack::seal(&file, &id, &mut entries) {
                    tracing::warn!(%error, pack = number, "a pack could not be sealed; the next start walks through it again");
                }
                entries
            }
        };
        pack::retain_unpunched(&file, &mut entries);
        let mut state = self.state.lock();
        state.packs.insert(number, Known { id, live: 0 });
        for entry in entries {
            if let Some(former) = state.place(self.hash(&entry.key), Place { pack: number, block: entry.block }) {
                state.leave(former.pack);
            }
        }
        Ok(())
    }

    fn path_of(&self, number: u32) -> PathBuf {
        self.path.join(name_of(number))
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Whether an object of this name is probably here; without touching the disk.
    pub(super) fn may_hold(&self, key: &str) -> bool {
        self.state.lock().index.contains_key(&self.hash(key))
    }

    /// Writes an object, durable when this returns; false: it has no place here. Blocks.
    pub(super) fn put(self: &Arc<Self>, key: &str, chunks: &[Bytes]) -> io::Result<bool> {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        let kind = self.kinds.iter().position(|kind| length <= kind.entry_bytes_max);
        let (Some(kind), Ok(length)) = (kind, u32::try_from(length)) else { return Ok(false) };
        let another_has_its_hash = || self.may_hold(key) && matches!(self.find(key), Ok(None));
        if key.len() > KEY_BYTES_MAX || another_has_its_hash() {
            return Ok(false);
        }
        let written_at = Timestamp::now().into_inner().as_millisecond();
        let mut entry = Entry { block: 0, length, written_at, key: key.to_owned() };
        let Some((pack, block)) = self.reserve(kind, entry.blocks()) else { return Ok(false) };
        entry.block = block;
        let written = pack.append(&entry, chunks);
        self.settle(&pack, entry, written)?;
        Ok(true)
    }

    /// Blocks that are the caller's until it settles.
    fn reserve(self: &Arc<Self>, kind: usize, blocks: u32) -> Option<(Arc<Pack>, u32)> {
        let size = blocks_of(self.kinds[kind].pack_bytes);
        let mut state = self.state.lock();
        if state.index.len() >= INDEXED_MAX {
            return None;
        }
        let State { lines, full, .. } = &mut *state;
        let line = &mut lines[kind];
        if line.active.as_ref().is_none_or(|active| active.next_block + blocks > size) {
            full.extend(line.active.take());
            line.active =
                line.ready.take().map(|pack| Appended { pack, next_block: 1, writing: 0, entries: Vec::new() });
        }
        if line.ready.is_none() && line.active.as_ref().is_none_or(|active| active.next_block > size / 2) {
            self.prepare_soon(kind, line);
        }
        let active = line.active.as_mut()?;
        let block = active.next_block;
        active.next_block += blocks;
        active.writing += 1;
        Some((Arc::clone(&active.pack), block))
    }

    fn settle(&self, pack: &Arc<Pack>, entry: Entry, written: io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        if written.is_err() {
            // What a disk refused once is not tried again in the same place.
            state.retire(pack.number);
        }
        if let Some(appended) = state.appended(pack.number) {
            appended.writing -= 1;
            if written.is_ok() {
                appended.entries.push(entry.clone());
            }
        }
        written?;
        let place = Place { pack: pack.number, block: entry.block };
        let former = state.place(self.hash(&entry.key), place);
        drop(state);
        former.map_or(Ok(()), |former| self.bury(former, None))
    }

    /// Makes the next pack on a thread of its own, unless one does.
    fn prepare_soon(self: &Arc<Self>, kind: usize, line: &mut Line) {
        let now = Instant::now();
        if line.preparing || line.not_before.is_some_and(|then| now < then) {
            return;
        }
        line.preparing = true;
        let packs = Arc::clone(self);
        let thread = std::thread::Builder::new().name("packs".to_owned()).spawn(move || packs.prepare(kind));
        if thread.is_err() {
            line.preparing = false;
        }
    }

    /// Makes the next pack of a kind ready, and seals full ones. Blocks.
    fn prepare(&self, kind: usize) {
        self.seal_full();
        let made = self.new_pack(self.kinds[kind]);
        let mut state = self.state.lock();
        let line = &mut state.lines[kind];
        line.preparing = false;
        match made {
            Ok(Some(pack)) => {
                let (number, known) = (pack.number, Known { id: pack.id, live: 0 });
                line.ready = Some(Arc::new(pack));
                state.packs.insert(number, known);
            }
            Ok(None) => line.not_before = Some(Instant::now() + PREPARE_PAUSE),
            Err(error) => {
                tracing::warn!(%error, "no pack could be made; objects become files");
                line.not_before = Some(Instant::now() + PREPARE_PAUSE);
            }
        }
    }

    /// `None`: the disk is nearly full.
    fn new_pack(&self, kind: Kind) -> io::Result<Option<Pack>> {
        let disk = rustix::fs::fstatvfs(&self.directory)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
            return Ok(None);
        }
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number = number.saturating_add(1);
        drop(state);
        let temporary: Temporary = self.scratch.new_temporary()?;
        let path = self.path_of(number);
        Pack::create(number, kind.pack_bytes, kind.filling, temporary, &path, &self.directory).map(Some)
    }

    fn seal_full(&self) {
        let mut state = self.state.lock();
        let (written, writing) = std::mem::take(&mut state.full).into_iter().partition(|pack| pack.writing == 0);
        state.full = writing;
        drop(state);
        let written: Vec<Appended> = written;
        for mut appended in written {
            let sealed = appended.pack.seal(&mut appended.entries);
            let mut state = self.state.lock();
            if let Err(error) = sealed {
                tracing::warn!(%error, pack = appended.pack.number, "a pack could not be sealed; it is tried again");
                state.full.push(appended);
            } else if state.packs.get(&appended.pack.number).is_some_and(|pack| pack.live == 0) {
                state.packs.remove(&appended.pack.number);
                drop(state);
                self.unlink(appended.pack.number);
            }
        }
    }

    /// The object of this name. Blocks.
    pub(super) fn find(&self, key: &str) -> io::Result<Option<Found>> {
        let hash = self.hash(key);
        let state = self.state.lock();
        let Some(place) = state.index.get(&hash).copied() else { return Ok(None) };
        let Some(id) = state.packs.get(&place.pack).map(|pack| pack.id) else { return Ok(None) };
        drop(state);
        let opened = File::open(self.path_of(place.pack));
        let entry = opened.and_then(|file| Ok((pack::read_entry(&file, place.block, &id)?, file)));
        match entry {
            Ok((Some(entry), file)) if entry.key == key => Ok(Some(Found { file, hash, place, entry })),
            Ok((Some(_), _)) => Ok(None),
            _ if !self.is_at(hash, place) => Ok(None),
            Ok((None, _)) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{key} is damaged in its pack"))),
            Err(error) => Err(error),
        }
    }

    fn is_at(&self, hash: u64, place: Place) -> bool {
        self.state.lock().index.get(&hash) == Some(&place)
    }

    /// Bytes of an object that is there; `None`: it was deleted meanwhile. Blocks.
    pub(super) fn read(&self, found: &Found, start: u64, length: usize) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::zeroed(length);
        found.file.read_exact_at(&mut bytes, found.entry.position() + found.entry.content_start() + start)?;
        Ok(self.is_at(found.hash, found.place).then(|| bytes.freeze()))
    }

    /// Deletes the object of this name, if it is here. Blocks.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        if !self.may_hold(key) {
            return Ok(());
        }
        let found = match self.find(key) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Ok(None) => return Ok(()),
            found => found?,
        };
        let hash = self.hash(key);
        let mut state = self.state.lock();
        match state.index.get(&hash).copied() {
            Some(place) if found.as_ref().is_none_or(|found| found.place == place) => {
                state.index.remove(&hash);
                drop(state);
                self.bury(place, found)
            }
            _ => Ok(()),
        }
    }

    /// Gives back what an entry took that is not in the index any more.
    fn bury(&self, place: Place, found: Option<Found>) -> io::Result<()> {
        let mut state = self.state.lock();
        let is_appended = state.appended(place.pack).is_some();
        let Some((id, live)) = state.leave(place.pack) else { return Ok(()) };
        if live == 0 && !is_appended {
            state.packs.remove(&place.pack);
            drop(state);
            self.unlink(place.pack);
            return Ok(());
        }
        drop(state);
        let file = OpenOptions::new().read(true).write(true).open(self.path_of(place.pack))?;
        let entry = match found {
            Some(found) => Some(found.entry),
            None => pack::read_entry(&file, place.block, &id)?,
        };
        if let Some(Err(error)) = entry.map(|entry| pack::punch(&file, &entry)) {
            tracing::debug!(%error, pack = place.pack, "blocks stay until the whole pack goes");
        }
        Ok(())
    }

    fn unlink(&self, number: u32) {
        if let Err(error) = fs::remove_file(self.path_of(number)) {
            tracing::warn!(%error, pack = number, "a pack without objects could not be removed");
        }
    }

    /// The packs there are now.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.state.lock().packs.keys().copied().collect()
    }

    /// What lives in a pack. Blocks.
    pub(super) fn list(&self, number: u32) -> io::Result<Vec<Entry>> {
        let mut state = self.state.lock();
        let appended = state.appended(number).map(|appended| appended.entries.clone());
        let id = state.packs.get(&number).map(|pack| pack.id);
        drop(state);
        let entries = match (appended, id) {
            (Some(entries), _) => entries,
            (None, None) => Vec::new(),
            (None, Some(id)) => match File::open(self.path_of(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                file => pack::read_directory(&file?, &id)?.unwrap_or_default(),
            },
        };
        let lives = |entry: &Entry| self.is_at(self.hash(&entry.key), Place { pack: number, block: entry.block });
        Ok(entries.into_iter().filter(lives).collect())
    }
}

fn name_of(number: u32) -> String {
    format!("{number:010}")
}

/// `None`: a file that is no pack.
fn number_of(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number| name_of(*number) == name)
}

impl State {
    /// Puts an entry into the index; where its key was before.
    fn place(&mut self, hash: u64, place: Place) -> Option<Place> {
        if let Some(pack) = self.packs.get_mut(&place.pack) {
            pack.live += 1;
        }
        self.index.insert(hash, place)
    }

    /// An entry of this pack is in the index no more; the pack's id and how many are.
    fn leave(&mut self, pack: u32) -> Option<(PackId, u32)> {
        let pack = self.packs.get_mut(&pack)?;
        pack.live -= 1;
        Some((pack.id, pack.live))
    }

    fn appended(&mut self, number: u32) -> Option<&mut Appended> {
        let active = self.lines.iter_mut().filter_map(|line| line.active.as_mut());
        self.full.iter_mut().chain(active).find(|appended| appended.pack.number == number)
    }

    /// Nothing more goes into this pack.
    fn retire(&mut self, number: u32) {
        let is_it = |active: &mut Appended| active.pack.number == number;
        self.full.extend(self.lines.iter_mut().filter_map(|line| line.active.take_if(is_it)));
    }
}

#[cfg(test)]
#[path = "packs_tests.rs"]
mod tests;
