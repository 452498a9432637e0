//! One pack file: made ready for appends, appended to, sealed, and read back at a start.
//!
//! A write that replaces blocks which the file already has needs no entry in the file system's journal: it costs the data and
//! one flush of the disk. So a pack of small entries is written over with zeros once; a pack of large ones, where bytes count,
//! only has its blocks set aside. Both are on disk under their name before they are used.
//! Appends at the same time share flushes. After an append or flush that failed the pack takes no more.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::direct::{DIRECT_WRITE_BYTES, with_aligned};
use super::folder::Temporary;
use super::pack_format::{
    self, BLOCK, Entry, PackId, TRAILER_BYTES, decode_directory, decode_trailer, encode_directory, encode_entry,
    encode_head, position_of,
};

/// What is in a new pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// Zeros, written.
    Zeros,
    /// Nothing, but where the file system can, the blocks are its own.
    SetAside,
}

/// A pack that is appended to.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) number: u32,
    pub(super) id: PackId,
    file: File,
    flushes_begun: AtomicU64,
    /// Number of the last flush that ended; `None` after one that failed, as the next one would not say so again.
    flushed: Mutex<Option<u64>>,
}

impl Pack {
    /// Makes a pack of so many bytes, whole blocks; when it returns, it is on disk. Blocks.
    pub(super) fn create(
        number: u32,
        bytes: u64,
        filling: Filling,
        mut temporary: Temporary,
        path: &Path,
        directory: &File,
    ) -> io::Result<Self> {
        let mut id = PackId::default();
        OsRng.try_fill_bytes(&mut id).map_err(io::Error::other)?;
        // In one piece, where the file system can, and a full disk is known before anything is written.
        let set_aside = rustix::fs::fallocate(&temporary.file, FallocateFlags::empty(), 0, bytes);
        if let Err(full @ (Errno::NOSPC | Errno::DQUOT)) = set_aside {
            return Err(full.into());
        }
        temporary.file.set_len(bytes)?;
        let written = match filling {
            Filling::Zeros => bytes,
            Filling::SetAside => BLOCK as u64,
        };
        fill(&temporary.file, &id, written)?;
        // A link, which never replaces what has the name.
        temporary.become_object(path, directory, true)?;
        Ok(Self::over(number, id, temporary.file.try_clone()?))
    }

    pub(super) fn over(number: u32, id: PackId, file: File) -> Self {
        Self { number, id, file, flushes_begun: AtomicU64::new(0), flushed: Mutex::new(Some(0)) }
    }

    /// Writes an entry to blocks that nobody else writes to; it is durable when this returns. Blocks.
    pub(super) fn append(&self, entry: &Entry, chunks: &[Bytes]) -> io::Result<()> {
        with_aligned(entry.blocks() as usize * BLOCK, |buffer| {
            let bytes = encode_entry(buffer, &self.id, entry, chunks);
            match self.file.write_all_at(&buffer[..bytes], entry.position()) {
                // Direct writes of whole mebibytes went well, and of blocks do not.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                    self.file.write_all_at(&buffer[..bytes], entry.position())
                }
                written => written,
            }
        })?;
        self.flush()
    }

    /// Flushes what was written before, unless a flush did that began since.
    fn flush(&self) -> io::Result<()> {
        let begun = self.flushes_begun.load(Ordering::Acquire);
        let mut flushed = self.flushed.lock();
        match *flushed {
            None => Err(io::Error::other("the disk failed to flush this pack")),
            Some(last) if last > begun => Ok(()),
            Some(_) => {
                let number = self.flushes_begun.fetch_add(1, Ordering::AcqRel) + 1;
                let done = self.file.sync_data();
                *flushed = done.is_ok().then_some(number);
                done
            }
        }
    }

    /// Ends the pack with a directory of what it holds; nobody appends to it any more.
    pub(super) fn seal(&self, entries: &mut [Entry]) -> io::Result<()> {
        seal(&self.file, &self.id, entries)
    }
}

/// Writes the begin of a new pack, directly where the file system can; the file stays open that way.
fn fill(file: &File, id: &PackId, length: u64) -> io::Result<()> {
    let zeros = |buffer: &mut [u8]| -> io::Result<()> {
        buffer.fill(0);
        let head = encode_head(id);
        buffer[..head.len()].copy_from_slice(&head);
        let mut position = 0;
        while position < length {
            let bytes =
                usize::try_from(length - position).map_or(DIRECT_WRITE_BYTES, |rest| rest.min(DIRECT_WRITE_BYTES));
            file.write_all_at(&buffer[..bytes], position)?;
            position += bytes as u64;
            buffer[..head.len()].fill(0);
        }
        Ok(())
    };
    if rustix::fs::fcntl_setfl(file, OFlags::DIRECT).is_ok() {
        match with_aligned(DIRECT_WRITE_BYTES, zeros) {
            // Some take the flag and refuse the writes.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            filled => return filled,
        }
        rustix::fs::fcntl_setfl(file, OFlags::empty())?;
    }
    with_aligned(DIRECT_WRITE_BYTES, zeros)
}

/// Ends a pack with a directory, and cuts off what follows. A crash in between leaves a pack without one.
pub(super) fn seal(file: &File, id: &PackId, entries: &mut [Entry]) -> io::Result<()> {
    entries.sort_by_key(|entry| entry.block);
    let end = entries.last().map_or(1, |last| last.block + last.blocks());
    let directory = encode_directory(id, end, entries);
    rustix::fs::fcntl_setfl(file, OFlags::empty())?;
    file.write_all_at(&directory, position_of(end))?;
    file.set_len(position_of(end) + directory.len() as u64)?;
    file.sync_data()
}

/// The id of a pack; `None`: its head is damaged.
pub(super) fn read_id(file: &File) -> io::Result<Option<PackId>> {
    let mut head = [0; 64];
    match file.read_exact_at(&mut head, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| pack_format::decode_head(&head)),
    }
}

/// The directory of a sealed pack, in order; `None`: it is not sealed, or damaged.
pub(super) fn read_directory(file: &File, id: &PackId) -> io::Result<Option<Vec<Entry>>> {
    let length = file.metadata()?.len();
    let mut trailer = [0; TRAILER_BYTES];
    let Some(position) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    file.read_exact_at(&mut trailer, position)?;
    let Some(start) = decode_trailer(&trailer, id).map(position_of).filter(|start| *start < length) else {
        return Ok(None);
    };
    let mut directory = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut directory, start)?;
    Ok(decode_directory(&directory))
}

/// An entry's head, as it is in the file; `None`: there is none.
pub(super) fn read_entry(file: &File, block: u32, id: &PackId) -> io::Result<Option<Entry>> {
    let mut bytes = [0; BLOCK];
    file.read_exact_at(&mut bytes, position_of(block))?;
    Ok(pack_format::decode_entry(&bytes, block, id).map(|(entry, _)| entry))
}

/// Gives an entry's blocks back to the file system, which a start then knows it by. Not synced: one that comes back is garbage.
pub(super) fn punch(file: &File, entry: &Entry) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, entry.position(), position_of(entry.blocks()))?)
}

/// Leaves out entries (in order) that were punched out. Where the file system keeps no holes, all come back.
pub(super) fn retain_unpunched(file: &File, entries: &mut Vec<Entry>) {
    let mut data = 0..0;
    entries.retain(|entry| {
        if entry.position() >= data.end {
            data = next_data(file, entry.position());
        }
        data.contains(&entry.position())
    });
}

fn next_data(file: &File, position: u64) -> Range<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(start) => start..rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(u64::MAX),
        Err(Errno::NXIO) => u64::MAX..u64::MAX,
        Err(_) => 0..u64::MAX,
    }
}
