//! The folder of the cache: one file for each piece. Everything here blocks.
//!
//! A file gets its name when all of it is written, and is not synced: after a power loss it may hold anything, which the
//! checks of its reader find. Files that are not ours are left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use opendal::Buffer;
use uuid::Uuid;

use super::piece::Piece;

/// Held by the one agent that uses the folder.
const LOCK: &str = ".lock";
/// Whose objects they are: the cluster's id.
const CLUSTER: &str = "cluster";
/// What is being written.
const TEMPORARY: &str = ".tmp";

/// See the module.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    cluster_id: Uuid,
    /// Bytes that the file system has left for us; a test's own.
    free: fn(&Path) -> io::Result<u64>,
    _lock: File,
}

impl Files {
    /// Creates the folder if needed and takes its lock.
    pub(super) fn open(folder: &Path, cluster_id: Uuid, free: fn(&Path) -> io::Result<u64>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
        lock.try_lock().map_err(|_| io::Error::other("another agent uses this folder"))?;
        Ok(Self { folder: folder.to_owned(), cluster_id, free, _lock: lock })
    }

    /// What is there, oldest first. What belongs to another cluster, or was not finished, is removed.
    pub(super) fn list(&self) -> io::Result<Vec<Piece>> {
        let marker = self.folder.join(CLUSTER);
        let is_ours = fs::read_to_string(&marker).is_ok_and(|id| id == self.cluster_id.to_string());
        let mut pieces = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (name, Ok(about)) = (entry.file_name(), entry.metadata()) else { continue };
            let Some(name) = name.to_str().filter(|_| about.is_file()) else { continue };
            match Piece::of_file_name(name) {
                Some(piece) if is_ours && about.len() == piece.len => pieces.push((about.modified()?, piece)),
                None if name != TEMPORARY => {}
                _ => fs::remove_file(entry.path())?,
            }
        }
        if !is_ours {
            fs::write(&marker, self.cluster_id.to_string())?;
        }
        pieces.sort_unstable();
        Ok(pieces.into_iter().map(|(_, piece)| piece).collect())
    }

    /// Bytes that the file system has left.
    pub(super) fn free(&self) -> io::Result<u64> {
        (self.free)(&self.folder)
    }

    /// Writes a piece. One at a time.
    pub(super) fn write(&self, piece: &Piece, bytes: &Buffer) -> io::Result<()> {
        let temporary = self.folder.join(TEMPORARY);
        let mut file = File::create(&temporary)?;
        let written = bytes.clone().try_for_each(|chunk| file.write_all(&chunk));
        let named = written.and_then(|()| fs::rename(&temporary, self.path(piece)?));
        if named.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        named
    }

    /// Appends some bytes of a piece (a range of its object) to `into`.
    pub(super) fn read(&self, piece: &Piece, range: &Range<u64>, into: &mut Vec<u8>) -> io::Result<()> {
        let wanted = range.end - range.start;
        let mut file = File::open(self.path(piece)?)?;
        file.seek(SeekFrom::Start(range.start - piece.start))?;
        let read = file.take(wanted).read_to_end(into)?;
        if read as u64 == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Removes a piece; it is fine if it is not there.
    pub(super) fn remove(&self, piece: &Piece) {
        if let Ok(path) = self.path(piece) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, piece: &Piece) -> io::Result<PathBuf> {
        let name = piece.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        Ok(self.folder.join(name))
    }
}

/// What an unprivileged user may still write.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}
