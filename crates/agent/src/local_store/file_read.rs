//! Reads a range of a file in one blocking task, into memory that nobody filled before.
//!
//! OpenDAL's `fs` opens in one task and reads in another, and in between fills the memory with zeros on a worker of the runtime: for
//! MiBs that is longer than a tail fetch takes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

/// Larger ranges are read by `fs`, piece by piece.
pub(super) const BYTES_MAX: u64 = 16 << 20;

/// The bytes of a range; it is an error if the file ends before. Blocks.
pub(super) fn read(path: &Path, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let wanted = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let at = range.start + bytes.len() as u64;
        if retry_on_intr(|| pread(&file, spare_capacity(&mut bytes), at))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.truncate(wanted);
    Ok(bytes)
}
