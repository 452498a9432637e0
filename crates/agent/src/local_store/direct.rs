//! Writes to files, directly where that is possible.
//!
//! Large objects go to the disk directly, past the page cache, where the file system can do that: copying into new pages
//! was more than half of the agent's work under load.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::pack_format::BLOCK;

/// Buffers of one gathered write; Linux's `IOV_MAX`.
const GATHER_MAX: usize = 1024;
/// Objects of at least this size are written directly.
pub(super) const DIRECT_BYTES_MIN: usize = 256 * 1024;
/// One direct write.
pub(super) const DIRECT_WRITE_BYTES: usize = 1 << 20;

/// Writes all chunks in order, from where the file is; direct writes only from a whole block on.
pub(super) fn write_object(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    match chunks.iter().map(Bytes::len).sum::<usize>() {
        ..DIRECT_BYTES_MIN => write_gathered(file, chunks),
        _ => write_large(file, chunks, write_direct),
    }
}

/// Directly where the file system can. Some take the flag and refuse the writes (EINVAL): then through the page cache, from where
/// it began.
pub(super) fn write_large(
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

/// Memory of direct writes that are over. The last one given back is lent first: it is still in the processor's cache.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// So much is kept: uploads that overlap by default.
const SPARE_MAX: usize = 4;

/// Lends so many bytes of memory for one direct write. Not the thread's own: there are dozens of threads that may block, and all
/// get their turn.
pub(super) fn with_aligned<T>(bytes: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let spare = SPARE.lock().pop().filter(|memory| memory.len() >= bytes + BLOCK);
    let mut memory = spare.unwrap_or_else(|| vec![0; bytes.max(DIRECT_WRITE_BYTES) + BLOCK]);
    let start = memory.as_ptr().align_offset(BLOCK);
    let done = work(&mut memory[start..start + bytes]);
    let mut spare = SPARE.lock();
    if spare.len() < SPARE_MAX {
        spare.push(memory);
    }
    done
}

/// Through an aligned buffer, to a file that is open for direct writes. What follows the last whole block goes through the
/// page cache.
fn write_direct(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    with_aligned(DIRECT_WRITE_BYTES, |buffer| {
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
